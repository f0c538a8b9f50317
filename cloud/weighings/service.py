"""What can be asked about weighings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.errors import InvalidError
from cloud.weighings import repository
from cloud.weighings.errors import WeighingNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.weighings.models import DayFigure, Weighing

DAYS_MAX = 92
"""Asked for at once: a quarter."""


@dataclass(frozen=True, slots=True)
class Weighings:
    """Finds, lists and exports weighings."""

    async def find(self, connection: AsyncConnection, weighing_id: UUID) -> Weighing:
        """One weighing. Raises WeighingNotFoundError."""
        weighing = await repository.find(connection, weighing_id)
        if weighing is None:
            raise WeighingNotFoundError(
                f"there is no weighing {weighing_id}; it may wait in quarantine, or not have arrived"
            )
        return weighing

    async def page(
        self,
        connection: AsyncConnection,
        gateway: str | None,
        material: str | None,
        after: tuple[str, UUID] | None,
        limit: int,
    ) -> list[Weighing]:
        """Weighings, newest commit first, at most `limit + 1`."""
        return await repository.newest(connection, gateway, material, after, limit + 1)

    def export(self, connection: AsyncConnection, gateway: str | None = None) -> AsyncIterator[Weighing]:
        """Every weighing in the order of gateway, epoch and seq; holds few in memory."""
        return repository.in_order(connection, gateway)

    async def count(self, connection: AsyncConnection, gateway: str | None = None) -> int:
        """How many weighings there are."""
        return await repository.count(connection, gateway)

    async def by_day(
        self, connection: AsyncConnection, first: date, last: date, drop_point: str | None = None
    ) -> list[DayFigure]:
        """Kilos and points of these days, both included. Raises InvalidError for more than DAYS_MAX."""
        if not 0 <= (last - first).days < DAYS_MAX:
            raise InvalidError(
                f"ask for 1 to {DAYS_MAX} days, the first not after the last", code="figures.days"
            )
        return await repository.by_day(connection, first, last, drop_point)
