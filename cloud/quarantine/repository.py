"""The quarantine in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.kit.rows import execute, fetch, fetch_one
from cloud.quarantine.models import HeldRecord

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT = (
    "select id, gateway_id as gateway, epoch, seq, code, message, data, state, held_at, decided_at,"
    " decided_by, reason from quarantine"
)


async def find(connection: AsyncConnection, record: UUID) -> HeldRecord | None:
    """One record."""
    return await fetch_one(connection, HeldRecord, f"{_SELECT} where id = :id", {"id": record})


async def page(
    connection: AsyncConnection, state: str | None, after: tuple[str, UUID] | None, limit: int
) -> list[HeldRecord]:
    """Records, those held longest first."""
    return await fetch(
        connection,
        HeldRecord,
        _SELECT
        + " where (cast(:state as text) is null or state = :state)"
        + " and (cast(:at as timestamptz) is null or (held_at, id) > (:at, :id))"
        + " order by held_at, id limit :limit",
        {
            "state": state,
            "at": after[0] if after else None,
            "id": after[1] if after else None,
            "limit": limit,
        },
    )


async def reject(
    connection: AsyncConnection, record: UUID, reason: str, decided_by: str, now: datetime
) -> bool:
    """Decide against a held record; False if it is not held."""
    return (
        await execute(
            connection,
            "update quarantine set state = 'rejected', reason = :reason, decided_by = :by, decided_at = :now"
            " where id = :id and state = 'held'",
            {"id": record, "reason": reason, "by": decided_by, "now": now},
        )
        == 1
    )
