"""What can be done with bins, and asked about pickups and custody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.custody import repository
from cloud.custody.errors import (
    BinExistsError,
    BinInvalidError,
    BinNotFoundError,
    PickupNotFoundError,
)
from cloud.custody.models import Bin
from protocol.codes import check_bin_code

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.custody.models import Holding, Movement, Pickup, PickupBin


@dataclass(frozen=True, slots=True)
class Custody:
    """Registers bins; shows pickups and who holds which kilos."""

    async def register_bin(
        self, connection: AsyncConnection, code: str, drop_point: str, material: str
    ) -> Bin:
        """Register a bin. Raises CodeError, BinExistsError, BinInvalidError."""
        one = Bin(check_bin_code(code), drop_point, material)
        match await repository.insert_bin(connection, one):
            case True:
                return one
            case False:
                raise BinExistsError(f"there is a bin {one.code!r} already; print another code")
            case None:
                raise BinInvalidError(f"drop point {drop_point!r} or material {material!r} does not exist")

    async def find_bin(self, connection: AsyncConnection, code: str) -> Bin:
        """One bin. Raises BinNotFoundError."""
        one = await repository.find_bin(connection, code)
        if one is None:
            raise BinNotFoundError(f"there is no bin {code!r}; list them with GET /v1/bins")
        return one

    async def bins(self, connection: AsyncConnection, after: str, limit: int) -> list[Bin]:
        """Bins after code `after`, at most `limit + 1`."""
        return await repository.bins(connection, after, limit + 1)

    async def pickups(
        self, connection: AsyncConnection, after: tuple[str, UUID] | None, limit: int
    ) -> list[Pickup]:
        """Pickups, those opened last first, at most `limit + 1`."""
        return await repository.pickups(connection, after, limit + 1)

    async def pickup(
        self, connection: AsyncConnection, pickup_id: UUID
    ) -> tuple[Pickup, list[PickupBin], list[Movement]]:
        """A pickup, its bins and what changed hands. Raises PickupNotFoundError."""
        pickup = await repository.find_pickup(connection, pickup_id)
        if pickup is None:
            raise PickupNotFoundError(f"there is no pickup {pickup_id}; list them with GET /v1/pickups")
        contents = await repository.contents(connection, pickup)
        return pickup, contents, await repository.movements(connection, pickup)

    async def holdings(
        self, connection: AsyncConnection, after: tuple[str, str], limit: int
    ) -> list[Holding]:
        """Who holds what, at most `limit + 1`."""
        return await repository.holdings(connection, after, limit + 1)
