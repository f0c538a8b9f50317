"""The unit of work of a request: one transaction, committed before the answer, done once per Idempotency-Key.

The answer to a keyed request is kept in the same transaction as its effects, sealed under the client's own
token and key: whoever reads the table learns no one-time secret from it, and a repeat gets the same answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.responses import Response

from cloud.errors import ConflictError, InvalidError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEEP_DAYS = 7
"""How long a repeat is recognised: a client may be offline for days."""
_KEY_LENGTH_MAX = 128
_NONCE_LENGTH = 12

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=_KEY_LENGTH_MAX,
        description="chosen by the client, unique per intended change; a repeat with the same body is "
        "answered as the first time (`Idempotency-Replayed: true`), with another body it is refused",
    ),
]


def database_of(request: Request) -> AsyncEngine:
    """The app's database."""
    engine: AsyncEngine = request.app.state.engine
    return engine


async def reading(database: Annotated[AsyncEngine, Depends(database_of)]) -> AsyncIterator[AsyncConnection]:
    """A connection for routes that only read."""
    async with database.begin() as connection:
        yield connection


Reading = Annotated[AsyncConnection, Depends(reading, scope="function")]
"""A connection that is given back before the answer is sent."""


@dataclass(frozen=True, slots=True)
class Work:
    """Does a request's change in one transaction. `who` names the principal (or the anonymous client)."""

    request: Request
    database: AsyncEngine
    key: str | None

    async def do(
        self,
        who: str,
        body: BaseModel | None,
        act: Callable[[AsyncConnection], Awaitable[BaseModel | None]],
        status: int = 200,
    ) -> Response:
        """Run `act` in a transaction, commit, then answer with its result as JSON (204 if it is None)."""
        async with self.database.begin() as connection:
            if self.key is None:
                return _response(await act(connection), status)
            return await _Once(connection, self.request, who, self.key, body).do(act, status)


def unit_of_work(
    request: Request, database: Annotated[AsyncEngine, Depends(database_of)], key: IdempotencyKey = None
) -> Work:
    """Dependency of routes that change something."""
    return Work(request, database, key)


Writing = Annotated[Work, Depends(unit_of_work)]


@dataclass(frozen=True, slots=True)
class _Once:
    connection: AsyncConnection
    request: Request
    who: str
    key: str
    body: BaseModel | None

    async def do(
        self, act: Callable[[AsyncConnection], Awaitable[BaseModel | None]], status: int
    ) -> Response:
        if not await self._reserve():
            return await self._replay()
        response = _response(await act(self.connection), status)
        await self.connection.execute(
            text(
                "update idempotency set status = :status, body = :body"
                " where principal = :principal and route = :route and key = :key"
            ),
            {**self._names(), "status": response.status_code, "body": self._seal(bytes(response.body))},
        )
        return response

    async def _reserve(self) -> bool:
        """False if the key was used; waits while another request with the same key is under way."""
        row = await self.connection.execute(
            text(
                "insert into idempotency (principal, route, key, request_hash, created_at)"
                " values (:principal, :route, :key, :hash, now())"
                " on conflict (principal, route, key) do nothing returning 1"
            ),
            {**self._names(), "hash": self._request_hash()},
        )
        return row.first() is not None

    async def _replay(self) -> Response:
        result = await self.connection.execute(
            text(
                "select request_hash, status, body from idempotency"
                " where principal = :principal and route = :route and key = :key"
            ),
            self._names(),
        )
        request_hash, status, sealed = result.one()
        if bytes(request_hash) != self._request_hash():
            raise InvalidError(
                "this Idempotency-Key was used with another body; take a new key for a new change",
                code="idempotency.mismatch",
            )
        if status is None:
            raise ConflictError(
                "the first request with this key has no answer", code="idempotency.unanswered"
            )
        headers = {"Idempotency-Replayed": "true"}
        content = self._open(bytes(sealed))
        return Response(content or None, status, headers, "application/json" if content else None)

    def _names(self) -> dict[str, str]:
        route = f"{self.request.method} {self.request.url.path}"
        return {"principal": self.who, "route": route, "key": hashlib.sha256(self.key.encode()).hexdigest()}

    def _request_hash(self) -> bytes:
        content = b"" if self.body is None else self.body.model_dump_json().encode()
        return hashlib.sha256(content).digest()

    def _cipher(self) -> ChaCha20Poly1305:
        token = self.request.headers.get("authorization", "")
        names = "\0".join([token, self.key, *self._names().values()])
        return ChaCha20Poly1305(hashlib.sha256(b"reloop/idempotency/1" + names.encode()).digest())

    def _seal(self, content: bytes) -> bytes:
        nonce = hashlib.sha256(content).digest()[:_NONCE_LENGTH]  # the cipher's key is used for one row only
        return nonce + self._cipher().encrypt(nonce, content, None)

    def _open(self, sealed: bytes) -> bytes:
        return self._cipher().decrypt(sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:], None)


def _response(result: BaseModel | None, status: int) -> Response:
    if result is None:
        return Response(status_code=204)
    return Response(result.model_dump_json(), status, media_type="application/json")
