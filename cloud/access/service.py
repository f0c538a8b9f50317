"""Making and recognising operator tokens. Citizens' tokens come with their cards and are known there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.access import repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

TOKEN_PREFIX = "rlo_"  # noqa: S105 - names the kind of token, so that a leaked one is recognised
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class OperatorTokens:
    """`random_bytes(n)` gives n secret bytes."""

    now: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]

    async def make_first(self, connection: AsyncConnection) -> str | None:
        """The operator's token if none was ever made, else None. It cannot be read again later."""
        if await repository.any_token(connection):
            return None
        token = TOKEN_PREFIX + self.random_bytes(_TOKEN_BYTES).hex()
        await repository.insert(connection, _hash(token), self.now())
        return token

    async def is_valid(self, connection: AsyncConnection, token: str) -> bool:
        """Whether this is an operator's token."""
        return token.startswith(TOKEN_PREFIX) and await repository.is_valid(connection, _hash(token))


def _hash(token: str) -> bytes:
    return hashlib.sha256(b"reloop/token/1" + token.encode()).digest()
