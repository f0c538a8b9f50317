"""Ingest's storage on Postgres: connections, reference data, quarantine, refusals.

How effects are applied is `store`'s; this puts the rest of the port beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ingest.enrolment import enrol
from cloud.ingest.pack import Payloads, pack
from cloud.ingest.store import QUERIES, Store, held_row, in_our_words
from cloud.kit import database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from cloud.ingest.effects import Effects, QuarantineRow
    from cloud.ingest.opening import Refusal
    from cloud.ingest.views import Road

_DETAIL_MAX = 2000


class PostgresStorage:
    """The Postgres at a `postgresql://` URL, its schema migrated."""

    def __init__(self, url: str) -> None:
        self._url = url

    def pack(self, effects: Effects, received_ms: int) -> Payloads:
        """COPY payloads of every table of the effects."""
        return pack(effects, received_ms)

    async def open(self, new_id: Callable[[], UUID], *, reading: bool = False) -> PostgresLink:
        """Connect; raises DatabaseError."""
        connection = await database.connect(self._url)
        link = PostgresLink(connection, new_id)
        try:
            if reading:
                await connection.set_autocommit(True)
            else:
                await link.prepare()
        except BaseException:
            await link.close()
            raise
        return link


class PostgresLink(Store):
    """One connection to Postgres."""

    @in_our_words
    async def read_keys(self, ids: Sequence[bytes]) -> list[tuple[bytes, bytes, str]]:
        """Key id, public key and gateway of those of these keys that are enrolled."""
        result = await self._connection.execute(QUERIES["read_keys"], {"ids": list(ids)})
        return [(bytes(row[0]), bytes(row[1]), row[2]) for row in await result.fetchall()]

    @in_our_words
    async def read_catalogs(self) -> list[tuple[bytes, int, int, datetime]]:
        """Digest, generation, version and time of issue of every catalogue."""
        result = await self._connection.execute(QUERIES["read_catalogs"])
        return [(bytes(row[0]), row[1], row[2], row[3]) for row in await result.fetchall()]

    @in_our_words
    async def read_catalog(self, digest: bytes) -> bytes | None:
        """The signed catalogue with this digest."""
        result = await self._connection.execute(QUERIES["read_catalog"], (digest,))
        row = await result.fetchone()
        return bytes(row[0]) if row else None

    @in_our_words
    async def read_key_documents(self) -> list[bytes]:
        """The signed keys documents, newest first."""
        result = await self._connection.execute(QUERIES["read_key_documents"])
        return [bytes(row[0]) for row in await result.fetchall()]

    @in_our_words
    async def read_rates(self) -> list[tuple[str, datetime, int]]:
        """Material, start and points per kilo of every rate; those of a material oldest first."""
        result = await self._connection.execute(QUERIES["read_rates"])
        return [(row[0], row[1], row[2]) for row in await result.fetchall()]

    @in_our_words
    async def list_held(self, ids: Sequence[UUID] | None, codes: Sequence[str] | None) -> list[UUID]:
        """Records held in quarantine, by gateway, epoch and seq."""
        which = {"ids": None if ids is None else list(ids), "codes": None if codes is None else list(codes)}
        result = await self._connection.execute(QUERIES["list_held"], which)
        return [row[0] for row in await result.fetchall()]

    @in_our_words
    async def lock_held(self, record: UUID) -> QuarantineRow | None:
        """A record if it is held still, locked until the transaction ends."""
        await self._connection.execute(QUERIES["lock_epoch_of_held"], (record,))
        row = await (await self._connection.execute(QUERIES["lock_held"], (record,))).fetchone()
        return None if row is None else held_row(row)

    @in_our_words
    async def still_held(self, record: UUID, code: str, message: str) -> None:
        """Note why a record stays in quarantine."""
        await self._connection.execute(QUERIES["still_held"], (code, message, record))

    @in_our_words
    async def mark_retried(self, record: UUID, by: str) -> None:
        """Let a record out of quarantine."""
        await self._connection.execute(QUERIES["mark_retried"], (by, record))

    @in_our_words
    async def refuse(self, refusal: Refusal, road: Road, sample: bytes) -> None:
        """Count something that was not taken in."""
        detail = refusal.detail[:_DETAIL_MAX]
        values = (self._new_id(), refusal.gateway, road.value, refusal.code, detail, sample)
        await self._connection.execute(QUERIES["refuse"], values)

    @in_our_words
    async def enrol(self, data: bytes, expected: str | None) -> Refusal | None:
        """Enrol a gateway's key, in a transaction of its own."""
        async with self._connection.transaction():
            return await enrol(self._connection, data, expected)

    async def close(self) -> None:
        """Give the connection up."""
        await self._connection.close()


__all__ = ["PostgresLink", "PostgresStorage"]
