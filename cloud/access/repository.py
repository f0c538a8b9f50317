"""Operator tokens in the database, by their hashes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.kit.rows import execute

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


async def any_token(connection: AsyncConnection) -> bool:
    """Whether a token was ever made; locks against two first runs at once."""
    await execute(connection, "select pg_advisory_xact_lock(hashtextextended('operator-token', 0))")
    return await execute(connection, "select 1 from operator_tokens limit 1") > 0


async def insert(connection: AsyncConnection, token_hash: bytes, now: datetime) -> None:
    """Keep a token's hash."""
    await execute(
        connection,
        "insert into operator_tokens (hash, created_at) values (:hash, :now)",
        {"hash": token_hash, "now": now},
    )


async def is_valid(connection: AsyncConnection, token_hash: bytes) -> bool:
    """Whether this is the hash of a token that was not revoked."""
    return (
        await execute(
            connection,
            "select 1 from operator_tokens where hash = :hash and revoked_at is null",
            {"hash": token_hash},
        )
        == 1
    )
