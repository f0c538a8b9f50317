"""Gateways in the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cloud.gateways.models import Claimable, Gateway
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT = """
select g.id, coalesce(d.code, '') as drop_point, coalesce(d.name, '') as drop_point_name,
       g.state, g.created_at, g.claimed_at, g.revoked_at, g.last_seen_at, c.acked_at,
       coalesce(c.acked, 0)::bigint as acked,
       (select count(*) from quarantine q where q.gateway_id = g.id and q.state = 'held') as held,
       (select count(*) from alarms a where a.gateway_id = g.id and a.resolved_at is null) as open_alarms,
       g.birth
  from gateways g
  left join drop_points d on d.id = g.drop_point_id
  left join lateral (select max(updated_at) as acked_at, sum(through) as acked
                       from cursors where gateway_id = g.id) c on true
"""
_CLAIMABLE = """
select id, state, code_hash, code_expires_at, coalesce(code_expires_at > :now, true) as code_valid
  from gateways
"""


async def insert(connection: AsyncConnection, gateway: str, drop_point_id: UUID, now: datetime) -> bool:
    """Insert in state `created`; False if the id is taken."""
    return (
        await execute(
            connection,
            "insert into gateways (id, drop_point_id, state, created_at)"
            " values (:id, :drop_point_id, 'created', :now) on conflict (id) do nothing",
            {"id": gateway, "drop_point_id": drop_point_id, "now": now},
        )
        == 1
    )


async def find(connection: AsyncConnection, gateway: str) -> Gateway | None:
    """One gateway."""
    return await fetch_one(connection, Gateway, _SELECT + " where g.id = :id", {"id": gateway})


async def at_drop_point(connection: AsyncConnection, drop_point_id: UUID) -> list[Gateway]:
    """The gateways of a drop point that are not revoked, in the order of their ids."""
    return await fetch(
        connection,
        Gateway,
        _SELECT + " where g.drop_point_id = :id and g.state <> 'revoked' order by g.id",
        {"id": drop_point_id},
    )


async def page(connection: AsyncConnection, after: str, limit: int) -> list[Gateway]:
    """Gateways in the order of their ids, from the one after `after`."""
    return await fetch(
        connection,
        Gateway,
        _SELECT + " where g.id > :after order by g.id limit :limit",
        {"after": after, "limit": limit},
    )


async def set_code(connection: AsyncConnection, gateway: str, code_hash: bytes, expires_at: datetime) -> None:
    """Keep what checks a new one-time code; an older code is void from now on."""
    await execute(
        connection,
        "update gateways set code_hash = :code_hash, code_expires_at = :expires_at where id = :id",
        {"id": gateway, "code_hash": code_hash, "expires_at": expires_at},
    )


async def lock_claimable(connection: AsyncConnection, gateway: str, now: datetime) -> Claimable | None:
    """One gateway for a claim or revocation, locked."""
    return await fetch_one(
        connection, Claimable, _CLAIMABLE + " where id = :id for update", {"id": gateway, "now": now}
    )


async def lock_by_code(connection: AsyncConnection, hashes: list[bytes], now: datetime) -> Claimable | None:
    """The gateway whose one-time code has one of these hashes, locked."""
    return await fetch_one(
        connection,
        Claimable,
        _CLAIMABLE + " where code_hash = any(:hashes) for update",
        {"hashes": hashes, "now": now},
    )


async def use_code(connection: AsyncConnection, gateway: str, used_hash: bytes) -> None:
    """From now on the code only lets its first user repeat the claim."""
    await execute(
        connection,
        "update gateways set code_hash = :hash where id = :id",
        {"id": gateway, "hash": used_hash},
    )


async def has_key(connection: AsyncConnection, gateway: str, key_id: bytes, public_key: bytes) -> bool:
    """Whether this key is enrolled for this gateway and valid."""
    return (
        await execute(
            connection,
            "select 1 from gateway_keys where gateway_id = :id and key_id = :key_id"
            " and public_key = :public_key and valid_to is null",
            {"id": gateway, "key_id": key_id, "public_key": public_key},
        )
        == 1
    )


async def enrol(
    connection: AsyncConnection, gateway: str, key_id: bytes, public_key: bytes, now: datetime
) -> bool:
    """Add the gateway's key and mark it claimed; False if another key or gateway has its id."""
    added = await execute(
        connection,
        "insert into gateway_keys (key_id, gateway_id, public_key, valid_from)"
        " values (:key_id, :id, :public_key, :now) on conflict (key_id) do nothing",
        {"key_id": key_id, "id": gateway, "public_key": public_key, "now": now},
    )
    await execute(
        connection,
        "update gateways set state = 'claimed', claimed_at = coalesce(claimed_at, :now) where id = :id",
        {"id": gateway, "now": now},
    )
    return added == 1


async def revoke(connection: AsyncConnection, gateway: str, now: datetime) -> None:
    """End the gateway: its keys, code and certificates are void; what it delivered stays."""
    values = {"id": gateway, "now": now}
    await execute(
        connection,
        "update gateways set state = 'revoked', revoked_at = :now, code_hash = null where id = :id",
        values,
    )
    await execute(
        connection,
        "update gateway_keys set valid_to = :now"
        " where gateway_id = :id and (valid_to is null or valid_to > :now)",
        values,
    )
    await execute(
        connection,
        "update gateway_certificates set revoked_at = :now where gateway_id = :id and revoked_at is null",
        values,
    )


async def reinstate(connection: AsyncConnection, gateway: str) -> None:
    """Undo `revoke` for the keys that were valid then. Certificates stay void: new ones are signed."""
    values = {"id": gateway}
    await execute(
        connection,
        "update gateway_keys k set valid_to = null from gateways g"
        " where g.id = :id and k.gateway_id = g.id and k.valid_to = g.revoked_at",
        values,
    )
    await execute(
        connection,
        "update gateways set state = case when claimed_at is null then 'created' else 'claimed' end,"
        " revoked_at = null where id = :id",
        values,
    )


async def announced(connection: AsyncConnection, gateway: str, birth: dict[str, Any], now: datetime) -> None:
    """Keep what a gateway says of itself; an id we do not know is ignored."""
    await execute(
        connection,
        "update gateways set birth = cast(:birth as jsonb), last_seen_at = :now where id = :id",
        {"id": gateway, "birth": json.dumps(birth), "now": now},
    )
