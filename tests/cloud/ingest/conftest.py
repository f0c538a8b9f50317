"""One drop point's cloud side: a fresh database, keys, a catalogue, a known gateway, and ingest running."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest, IngestReply
from cloud.kit.clock import SystemClock
from cloud.kit.keyring import Keyring
from cloud.ledger import service as ledger
from protocol.acks import Ack, open_ack
from tests.cloud.ingest.gateway import Gateway, add_catalog, add_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.ledger.models import Report


@dataclass(slots=True)
class Site:
    """What a test of ingest plays with."""

    url: str
    keyring: Keyring
    engine: AsyncEngine
    gateway: Gateway
    ingest: Ingest
    replies: list[IngestReply] = field(default_factory=list)

    def ack(self, reply: IngestReply) -> Ack:
        assert reply.ack is not None, reply
        key = self.keyring.ack
        return open_ack(reply.ack, lambda key_id: key.public if key_id == key.key_id else None)

    async def send(self, frame: bytes, road: str = "https", hint: str | None = None) -> Ack:
        """Submit a frame that must be acknowledged; the ack."""
        return self.ack(await self.ingest.submit(frame, road, hint))

    async def refused(self, frame: bytes, road: str = "https", hint: str | None = None) -> str:
        """Submit something that must not be acknowledged; the code."""
        reply = await self.ingest.submit(frame, road, hint)
        assert reply.ack is None
        assert reply.code is not None
        return reply.code

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode(), values).fetchall()

    def one(self, sql: str, *values: Any) -> Any:
        ((value,),) = self.rows(sql, *values)
        return value

    def write(self, sql: str, *values: Any) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.encode(), values)

    def balance(self, key: bytes, kind: str = "citizen") -> int:
        """Balance of an account by its key; 0 if there is none."""
        found = self.rows("SELECT balance FROM accounts WHERE kind = %s AND key = %s", kind, key)
        return int(found[0][0]) if found else 0

    def held(self) -> list[tuple[int, str]]:
        return self.rows("SELECT seq, code FROM quarantine WHERE state = 'held' ORDER BY seq")

    async def verify(self) -> Report:
        async with self.engine.begin() as connection:
            return await ledger.verify(connection)


@pytest.fixture
async def site(database_url: str, engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Site]:
    """Ingest over a fresh database that knows one gateway. The ledger must add up when the test is over."""
    keyring = Keyring.load_or_create(tmp_path / "keys")
    gateway = Gateway("ktm-drop-01", add_catalog(database_url, keyring))
    add_gateway(database_url, gateway)
    async with Ingest(PostgresStorage(database_url), keyring, SystemClock(), secrets.token_bytes) as ingest:
        site = Site(database_url, keyring, engine, gateway, ingest)
        yield site
        report = await site.verify()
        assert report.ok, report.faults
