"""What can be done with the quarantine. A record leaves it by retry or by rejection, and never vanishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.quarantine import repository
from cloud.quarantine.errors import AlreadyDecidedError, HeldRecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.quarantine.models import HeldRecord


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Lists and rejects held records. Retrying is ingest's: it applies records."""

    now: Callable[[], datetime]

    async def find(self, connection: AsyncConnection, record: UUID) -> HeldRecord:
        """One record. Raises HeldRecordNotFoundError."""
        held = await repository.find(connection, record)
        if held is None:
            raise HeldRecordNotFoundError(
                f"there is no record {record} in quarantine; list them with GET /v1/quarantine"
            )
        return held

    async def page(
        self, connection: AsyncConnection, state: str | None, after: tuple[str, UUID] | None, limit: int
    ) -> list[HeldRecord]:
        """Records held longest first, at most `limit + 1`."""
        return await repository.page(connection, state, after, limit + 1)

    async def held(self, connection: AsyncConnection, record: UUID) -> HeldRecord:
        """One record that waits for a decision. Raises HeldRecordNotFoundError, AlreadyDecidedError."""
        found = await self.find(connection, record)
        if found.state != "held":
            raise AlreadyDecidedError(f"record {record} was {found.state} at {found.decided_at}")
        return found

    async def reject(
        self, connection: AsyncConnection, record: UUID, reason: str, decided_by: str
    ) -> HeldRecord:
        """Decide that a record is never applied. Raises HeldRecordNotFoundError, AlreadyDecidedError."""
        await self.held(connection, record)
        if not await repository.reject(connection, record, reason, decided_by, self.now()):
            raise AlreadyDecidedError(f"record {record} was decided on just now")
        return await self.find(connection, record)
