"""Rows of the database as frozen dataclasses, column by column name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

ModelT = TypeVar("ModelT")


async def fetch(
    connection: AsyncConnection, model: type[ModelT], sql: str, values: Mapping[str, Any] | None = None
) -> list[ModelT]:
    """All rows of a query, each as `model(**columns)`."""
    result = await connection.execute(text(sql), values or {})
    return [model(**_plain(row)) for row in result.mappings()]


async def fetch_one(
    connection: AsyncConnection, model: type[ModelT], sql: str, values: Mapping[str, Any] | None = None
) -> ModelT | None:
    """The first row of a query as `model`, or None."""
    rows = await fetch(connection, model, sql, values)
    return rows[0] if rows else None


async def execute(connection: AsyncConnection, sql: str, values: Mapping[str, Any] | None = None) -> int:
    """Run a statement; return how many rows it touched."""
    result = await connection.execute(text(sql), values or {})
    return result.rowcount


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()
    }
