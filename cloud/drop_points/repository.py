"""Drop points in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.drop_points.models import DropPoint
from cloud.kit.rows import execute, fetch, fetch_one

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "id, code, name, latitude, longitude, created_at"


async def insert(connection: AsyncConnection, point: DropPoint) -> bool:
    """Insert; False if the code is taken."""
    return (
        await execute(
            connection,
            f"insert into drop_points ({_COLUMNS})"  # noqa: S608 - constant columns
            " values (:id, :code, :name, :latitude, :longitude, :created_at) on conflict (code) do nothing",
            {name: getattr(point, name) for name in _COLUMNS.split(", ")},
        )
        == 1
    )


async def find(connection: AsyncConnection, code: str) -> DropPoint | None:
    """The drop point of this code."""
    return await fetch_one(
        connection,
        DropPoint,
        f"select {_COLUMNS} from drop_points where code = :code",  # noqa: S608 - constant columns
        {"code": code},
    )


async def rename(connection: AsyncConnection, code: str, name: str) -> DropPoint | None:
    """Give it another name; None if there is none of this code."""
    return await fetch_one(
        connection,
        DropPoint,
        f"update drop_points set name = :name where code = :code returning {_COLUMNS}",  # noqa: S608
        {"code": code, "name": name},
    )


async def page(connection: AsyncConnection, after: str, limit: int) -> list[DropPoint]:
    """Drop points in the order of their codes, from the one after `after`."""
    return await fetch(
        connection,
        DropPoint,
        f"select {_COLUMNS} from drop_points where code > :after order by code limit :limit",  # noqa: S608
        {"after": after, "limit": limit},
    )
