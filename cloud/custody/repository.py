"""Bins, pickups and custody in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from cloud.custody.models import Bin, Holding, Movement, Pickup, PickupBin
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_BIN = """
select b.code, d.code as drop_point, b.material
  from bins b left join drop_points d on d.id = b.drop_point_id
"""
_PICKUP = """
select p.id, p.gateway_id as gateway, p.epoch, p.seq, d.code as drop_point, p.collector, p.opened_at,
       p.closed_at, p.outcome, p.bins, p.net_g, p.received_at
  from pickups p left join drop_points d on d.id = p.drop_point_id
"""


async def insert_bin(connection: AsyncConnection, one: Bin) -> bool | None:
    """Insert; False if the code is taken, None if drop point or material do not exist."""
    try:
        async with connection.begin_nested():
            added = await execute(
                connection,
                "insert into bins (code, drop_point_id, material)"
                " select :code, d.id, :material from drop_points d where d.code = :drop_point"
                " on conflict (code) do nothing",
                {"code": one.code, "drop_point": one.drop_point, "material": one.material},
            )
    except IntegrityError:
        return None
    if added == 0:
        return False if await find_bin(connection, one.code) else None
    return True


async def find_bin(connection: AsyncConnection, code: str) -> Bin | None:
    """One bin."""
    return await fetch_one(connection, Bin, _BIN + " where b.code = :code", {"code": code})


async def bins(connection: AsyncConnection, after: str, limit: int) -> list[Bin]:
    """Bins in the order of their codes."""
    return await fetch(
        connection,
        Bin,
        _BIN + " where b.code > :after order by b.code limit :limit",
        {"after": after, "limit": limit},
    )


async def pickups(connection: AsyncConnection, after: tuple[str, UUID] | None, limit: int) -> list[Pickup]:
    """Pickups, those that arrived last first: their own clocks order nothing."""
    return await fetch(
        connection,
        Pickup,
        _PICKUP
        + " where cast(:at as timestamptz) is null or (p.received_at, p.id) < (:at, :id)"
        + " order by p.received_at desc, p.id desc limit :limit",
        {"at": after[0] if after else None, "id": after[1] if after else None, "limit": limit},
    )


async def find_pickup(connection: AsyncConnection, pickup_id: UUID) -> Pickup | None:
    """One pickup."""
    return await fetch_one(connection, Pickup, _PICKUP + " where p.id = :id", {"id": pickup_id})


async def contents(connection: AsyncConnection, pickup: Pickup) -> list[PickupBin]:
    """The bins of a pickup in order."""
    return await fetch(
        connection,
        PickupBin,
        "select id, bin, material, gross_g, tare_g, net_g, estimated, emptied, at from pickup_bins"
        " where pickup_id = :pickup order by seq, id",
        {"pickup": pickup.id},
    )


async def movements(connection: AsyncConnection, pickup: Pickup) -> list[Movement]:
    """What changed hands in a pickup, in order."""
    return await fetch(
        connection,
        Movement,
        "select id, kind, giver, taker, net_g, estimated, lines, at from custody_movements"
        " where pickup_id = :pickup order by seq, id",
        {"pickup": pickup.id},
    )


async def holdings(connection: AsyncConnection, after: tuple[str, str], limit: int) -> list[Holding]:
    """Who holds what, where it is not nothing."""
    return await fetch(
        connection,
        Holding,
        "select party, material, net_g from custody_balances"
        " where net_g <> 0 and (party, material) > (:party, :material) order by party, material limit :limit",
        {"party": after[0], "material": after[1], "limit": limit},
    )
