"""Materials and rates in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.kit.rows import execute, fetch, fetch_one
from cloud.materials.models import Material, Rate

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT = """
select m.code, m.name_en, m.name_ne, m.picture, m.active, r.points_per_kg, r.version as rate_version
  from materials m
  join lateral (select points_per_kg, version from rates where material = m.code
                 order by version desc limit 1) r on true
"""


async def insert(connection: AsyncConnection, material: Material) -> bool:
    """Insert without a rate; False if the code is taken."""
    return (
        await execute(
            connection,
            "insert into materials (code, name_en, name_ne, picture, active)"
            " values (:code, :name_en, :name_ne, :picture, :active) on conflict (code) do nothing",
            {
                "code": material.code,
                "name_en": material.name_en,
                "name_ne": material.name_ne,
                "picture": material.picture,
                "active": material.active,
            },
        )
        == 1
    )


async def update(connection: AsyncConnection, material: Material) -> None:
    """Write names, picture and whether it is active."""
    await execute(
        connection,
        "update materials set name_en = :name_en, name_ne = :name_ne, picture = :picture,"
        " active = :active where code = :code",
        {
            "code": material.code,
            "name_en": material.name_en,
            "name_ne": material.name_ne,
            "picture": material.picture,
            "active": material.active,
        },
    )


async def insert_rate(connection: AsyncConnection, rate: Rate) -> None:
    """Append a rate."""
    await execute(
        connection,
        "insert into rates (material, version, points_per_kg, valid_from)"
        " values (:material, :version, :points_per_kg, :valid_from)",
        {
            "material": rate.material,
            "version": rate.version,
            "points_per_kg": rate.points_per_kg,
            "valid_from": rate.valid_from,
        },
    )


async def lock(connection: AsyncConnection, code: str) -> None:
    """Let nobody else change this material until the transaction ends."""
    await execute(connection, "select 1 from materials where code = :code for update", {"code": code})


async def find(connection: AsyncConnection, code: str) -> Material | None:
    """A material with its current rate."""
    return await fetch_one(connection, Material, _SELECT + " where m.code = :code", {"code": code})


async def all_materials(connection: AsyncConnection) -> list[Material]:
    """Every material with its current rate, best paid first."""
    return await fetch(connection, Material, _SELECT + " order by r.points_per_kg desc, m.code")


async def rates(connection: AsyncConnection, code: str) -> list[Rate]:
    """A material's rates, newest first."""
    return await fetch(
        connection,
        Rate,
        "select material, version, points_per_kg, valid_from from rates where material = :code"
        " order by version desc limit 100",
        {"code": code},
    )
