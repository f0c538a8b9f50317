"""What can be done with alarms, and asked about refusals and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.alarms import repository
from cloud.alarms.errors import AlarmNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.alarms.models import Alarm, Gap, Refusal


@dataclass(frozen=True, slots=True)
class Alarms:
    """Lists and resolves alarms; lists refusals and gaps."""

    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def page(
        self, connection: AsyncConnection, only_open: bool, after: tuple[str, UUID] | None, limit: int
    ) -> list[Alarm]:
        """Alarms, newest first, at most `limit + 1`."""
        return await repository.alarms(connection, only_open, after, limit + 1)

    async def tell(
        self, connection: AsyncConnection, code: str, detail: dict[str, object], gateway: str | None = None
    ) -> None:
        """Raise an alarm."""
        await repository.insert(connection, self.new_id(), gateway, code, detail, self.now())

    async def keep(self, connection: AsyncConnection, code: str, detail: dict[str, object] | None) -> None:
        """Have one alarm open under this code while `detail` says why, none when it is None."""
        if detail is None:
            await repository.resolve_all(connection, code, self.now())
        elif not await repository.is_open(connection, code):
            await self.tell(connection, code, detail)

    async def resolve(self, connection: AsyncConnection, alarm: UUID) -> Alarm:
        """Mark an alarm as dealt with. Raises AlarmNotFoundError."""
        found = await repository.resolve(connection, alarm, self.now())
        if found is None:
            raise AlarmNotFoundError(f"there is no alarm {alarm}; list them with GET /v1/alarms")
        return found

    async def refusals(
        self, connection: AsyncConnection, after: tuple[str, UUID] | None, limit: int
    ) -> list[Refusal]:
        """Refusals, newest first, at most `limit + 1`."""
        return await repository.refusals(connection, after, limit + 1)

    async def gaps(self, connection: AsyncConnection, after: tuple[str, int, int], limit: int) -> list[Gap]:
        """Gaps, at most `limit + 1`."""
        return await repository.gaps(connection, after, limit + 1)
