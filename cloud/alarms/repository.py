"""Alarms, refusals and gaps in the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cloud.alarms.models import Alarm, Gap, Refusal
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_ALARM = "select id, gateway_id as gateway, code, detail, raised_at, resolved_at from alarms"


async def alarms(
    connection: AsyncConnection, only_open: bool, after: tuple[str, UUID] | None, limit: int
) -> list[Alarm]:
    """Alarms, those raised last first."""
    return await fetch(
        connection,
        Alarm,
        _ALARM
        + " where (not :only_open or resolved_at is null)"
        + " and (cast(:at as timestamptz) is null or (raised_at, id) < (:at, :id))"
        + " order by raised_at desc, id desc limit :limit",
        {
            "only_open": only_open,
            "at": after[0] if after else None,
            "id": after[1] if after else None,
            "limit": limit,
        },
    )


async def insert(  # noqa: PLR0917 - a row of the table
    connection: AsyncConnection,
    alarm: UUID,
    gateway: str | None,
    code: str,
    detail: dict[str, object],
    now: datetime,
) -> None:
    """Raise an alarm."""
    await execute(
        connection,
        "insert into alarms (id, gateway_id, code, detail, raised_at)"
        " values (:id, :gateway, :code, cast(:detail as jsonb), :now)",
        {"id": alarm, "gateway": gateway, "code": code, "detail": json.dumps(detail), "now": now},
    )


async def resolve(connection: AsyncConnection, alarm: UUID, now: datetime) -> Alarm | None:
    """Mark an alarm resolved, once."""
    await execute(
        connection,
        "update alarms set resolved_at = :now where id = :id and resolved_at is null",
        {"id": alarm, "now": now},
    )
    return await fetch_one(connection, Alarm, f"{_ALARM} where id = :id", {"id": alarm})


async def is_open(connection: AsyncConnection, code: str) -> bool:
    """Whether an alarm of the cloud's own is open under this code."""
    sql = f"{_ALARM} where code = :code and gateway_id is null and resolved_at is null limit 1"
    return await fetch_one(connection, Alarm, sql, {"code": code}) is not None


async def resolve_all(connection: AsyncConnection, code: str, now: datetime) -> None:
    """Mark the cloud's own alarms under this code resolved."""
    await execute(
        connection,
        "update alarms set resolved_at = :now"
        " where code = :code and gateway_id is null and resolved_at is null",
        {"code": code, "now": now},
    )


async def refusals(connection: AsyncConnection, after: tuple[str, UUID] | None, limit: int) -> list[Refusal]:
    """Refusals, those seen last first."""
    return await fetch(
        connection,
        Refusal,
        "select id, gateway_id as gateway, road, code, detail, count, first_at, last_at from refusals"
        " where cast(:at as timestamptz) is null or (last_at, id) < (:at, :id)"
        " order by last_at desc, id desc limit :limit",
        {"at": after[0] if after else None, "id": after[1] if after else None, "limit": limit},
    )


async def gaps(connection: AsyncConnection, after: tuple[str, int, int], limit: int) -> list[Gap]:
    """Gaps in the order of gateway, epoch and seq."""
    return await fetch(
        connection,
        Gap,
        "select gateway_id as gateway, epoch, first, last, noticed_at from gaps"
        " where (gateway_id, epoch, first) > (:gateway, :epoch, :first)"
        " order by gateway_id, epoch, first limit :limit",
        {"gateway": after[0], "epoch": after[1], "first": after[2], "limit": limit},
    )
