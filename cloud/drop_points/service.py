"""What can be done with drop points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.drop_points import repository
from cloud.drop_points.errors import DropPointExistsError, DropPointNotFoundError
from cloud.drop_points.models import DropPoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class DropPoints:
    """Creates, finds and renames drop points.

    `now` gives aware UTC times, `new_id` UUIDv7s; `publish_configs` tells a drop point's kiosks its name.
    """

    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    publish_configs: Callable[[AsyncConnection, UUID], Awaitable[None]]

    async def create(
        self,
        connection: AsyncConnection,
        code: str,
        name: str,
        latitude: float | None = None,
        longitude: float | None = None,
    ) -> DropPoint:
        """Create a drop point. Raises DropPointExistsError."""
        point = DropPoint(self.new_id(), code, name, latitude, longitude, self.now())
        if not await repository.insert(connection, point):
            raise DropPointExistsError(f"there is a drop point {code!r} already; choose another code")
        return point

    async def find(self, connection: AsyncConnection, code: str) -> DropPoint:
        """The drop point of this code. Raises DropPointNotFoundError."""
        point = await repository.find(connection, code)
        if point is None:
            raise _unknown(code)
        return point

    async def rename(self, connection: AsyncConnection, code: str, name: str) -> DropPoint:
        """Give it another name, which its kiosks will show. Raises DropPointNotFoundError."""
        point = await repository.rename(connection, code, name)
        if point is None:
            raise _unknown(code)
        await self.publish_configs(connection, point.id)
        return point

    async def ensure(self, connection: AsyncConnection, code: str) -> DropPoint:
        """The drop point of this code, created with its code as name if there was none."""
        return await repository.find(connection, code) or await self.create(connection, code, code)

    async def page(self, connection: AsyncConnection, after: str, limit: int) -> list[DropPoint]:
        """Drop points after code `after`, at most `limit + 1` so that the caller sees whether more follow."""
        return await repository.page(connection, after, limit + 1)


def _unknown(code: str) -> DropPointNotFoundError:
    return DropPointNotFoundError(f"there is no drop point {code!r}; list them with GET /v1/drop-points")
