"""What can be done with materials; every change is followed by a new catalogue in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloud.materials import repository
from cloud.materials.errors import MaterialExistsError, MaterialNotFoundError
from cloud.materials.models import SEED, Material, Rate
from protocol.documents import CatalogBody
from protocol.documents import Material as CatalogMaterial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

FRESH_S = 30 * 24 * 3600
"""A kiosk shows points from a catalogue up to this old: a monsoon's outage, not a season."""


@dataclass(frozen=True, slots=True)
class Materials:
    """Creates, changes and prices materials. `changed` publishes the catalogue."""

    now: Callable[[], datetime]
    changed: Callable[[AsyncConnection], Awaitable[None]]

    async def create(self, connection: AsyncConnection, material: Material) -> Material:
        """Create a material with its first rate. Raises MaterialExistsError."""
        if not await self._insert(connection, material):
            raise MaterialExistsError(f"there is a material {material.code!r} already; change that one")
        await self.changed(connection)
        return await self.find(connection, material.code)

    async def seed(self, connection: AsyncConnection) -> bool:
        """Give an empty database its first materials; False if there were any."""
        if await repository.all_materials(connection):
            return False
        for material in SEED:
            await self._insert(connection, material)
        await self.changed(connection)
        return True

    async def lock(self, connection: AsyncConnection, code: str) -> None:
        """Let nobody else change this material until the transaction ends."""
        await repository.lock(connection, code)

    async def change(
        self, connection: AsyncConnection, code: str, changes: dict[str, str | bool]
    ) -> Material:
        """Change names, picture or whether it is active. Raises MaterialNotFoundError."""
        await repository.lock(connection, code)
        material = replace(await self.find(connection, code), **changes)  # type: ignore[arg-type]
        await repository.update(connection, material)
        await self.changed(connection)
        return material

    async def set_rate(self, connection: AsyncConnection, code: str, points_per_kg: int) -> Rate:
        """Append a rate, valid from now on; an equal one changes nothing. Raises MaterialNotFoundError."""
        await repository.lock(connection, code)
        material = await self.find(connection, code)
        if material.points_per_kg == points_per_kg:
            return (await repository.rates(connection, code))[0]
        rate = Rate(code, material.rate_version + 1, points_per_kg, self.now())
        await repository.insert_rate(connection, rate)
        await self.changed(connection)
        return rate

    async def find(self, connection: AsyncConnection, code: str) -> Material:
        """One material. Raises MaterialNotFoundError."""
        material = await repository.find(connection, code)
        if material is None:
            raise MaterialNotFoundError(f"there is no material {code!r}; list them with GET /v1/materials")
        return material

    async def all(self, connection: AsyncConnection) -> list[Material]:
        """Every material, best paid first."""
        return await repository.all_materials(connection)

    async def rates(self, connection: AsyncConnection, code: str) -> list[Rate]:
        """A material's rates, newest first, at most 100. Raises MaterialNotFoundError."""
        await self.find(connection, code)
        return await repository.rates(connection, code)

    async def catalog(self, connection: AsyncConnection) -> CatalogBody:
        """What kiosks show: the active materials."""
        return CatalogBody(
            [
                CatalogMaterial(
                    one.code, one.name_en, one.name_ne, one.picture, one.points_per_kg, one.rate_version
                )
                for one in await repository.all_materials(connection)
                if one.active
            ],
            FRESH_S,
        )

    async def _insert(self, connection: AsyncConnection, material: Material) -> bool:
        if not await repository.insert(connection, material):
            return False
        await repository.insert_rate(connection, Rate(material.code, 1, material.points_per_kg, self.now()))
        return True
