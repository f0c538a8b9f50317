"""The cloud as it is in production, a Postgres of its own below, with a clock that is moved by hand."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psycopg

from cloud.clocks.service import Clocks
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.database import create_engine_for, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.ids import uuid7
from cloud.kit.keyring import Keyring
from cloud.ledger import service as ledger
from cloud.weighings.service import Weighings
from cloud.worker.times import Times
from protocol.cose import SigningKey
from protocol.documents import CatalogBody, Name, build_document, document_digest
from tests.cloud.hand_clock import CloudClock
from tests.edge.station.bench import (
    CARD_KEY,
    DOCUMENT_KEY,
    FRESH_S,
    GATEWAY,
    MATERIALS,
    NOW_MS,
    ROOT_KEY,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.ledger.models import Report
    from cloud.weighings.models import DayFigure

NEPAL = timezone(timedelta(hours=5, minutes=45))
_DATABASE = "clocks"
_KEYRING = Keyring(ROOT_KEY, SigningKey.from_seed(b"a" * 32), DOCUMENT_KEY, CARD_KEY)


@dataclass(frozen=True, slots=True)
class Time:
    """When a weighing was, as the cloud knows it: UTC milliseconds, and seconds of error (None: unknown)."""

    id: UUID
    happened_ms: int
    error_s: int | None
    how: int
    raw_ms: int
    net_g: int
    points: int
    shown: int | None


@dataclass(slots=True)
class Cloud:
    """A cloud that knows one gateway, which may begin as many journals as it likes."""

    url: str
    engine: AsyncEngine
    clock: CloudClock
    ingest: Ingest
    times: Times

    async def take(self, frame: bytes, now_ms: int) -> None:
        """A frame arrives at this time, and what follows for times is worked out."""
        self.clock.now_ms = now_ms
        reply = await self.ingest.submit(frame, "https", None)
        if reply.ack is None:
            raise AssertionError(f"the cloud refused a frame: {reply.code} {reply.message}")
        while await self._due():
            await self.times.once()

    async def _due(self) -> bool:
        return bool(self._rows("SELECT 1 FROM clock_hours WHERE version <> repaired LIMIT 1"))

    def known(self, epoch: int) -> dict[int, Time]:
        """The time of every weighing of a journal, by seq."""
        rows = self._rows(
            "SELECT seq, id, (extract(epoch FROM happened_at) * 1000)::bigint, error_s, time_how,"
            " (extract(epoch FROM recorded_at) * 1000)::bigint, net_g, points, points_shown"
            " FROM weighings WHERE epoch = %s ORDER BY seq",
            epoch,
        )
        return {row[0]: Time(*row[1:]) for row in rows}

    def known_through(self, epoch: int) -> int:
        """The last seq committed of a journal, 0 if none is."""
        rows = self._rows("SELECT through FROM cursors WHERE epoch = %s", epoch)
        return int(rows[0][0]) if rows else 0

    def alarms(self) -> list[str]:
        """Codes of the open alarms."""
        return [row[0] for row in self._rows("SELECT code FROM alarms WHERE resolved_at IS NULL")]

    def held(self) -> list[tuple[int, str]]:
        """What is in quarantine."""
        return [
            (row[0], row[1]) for row in self._rows("SELECT seq, code FROM quarantine WHERE state = 'held'")
        ]

    def custody(self, epoch: int) -> list[str]:
        """Kinds of a journal's movements, in its order."""
        rows = self._rows("SELECT kind FROM custody_movements WHERE epoch = %s ORDER BY seq", epoch)
        return [row[0] for row in rows]

    async def daily(self, first: date, last: date) -> list[DayFigure]:
        """The daily figures."""
        async with self.engine.begin() as connection:
            return await Weighings().by_day(connection, first, last)

    async def statement(self, pseudonym: bytes) -> dict[UUID, tuple[int, int | None]]:
        """When the weighings behind a citizen's awards were, as the statement says: (UTC ms, error in s)."""
        rows = self._rows("SELECT id FROM citizens WHERE pseudonym = %s", pseudonym)
        if not rows:
            return {}
        async with self.engine.begin() as connection:
            lines = await ledger.statement(connection, rows[0][0], limit=100_000)
        return {
            line.source: (round(line.happened_at.timestamp() * 1000), line.error_s)
            for line in lines
            if line.happened_at is not None
        }

    async def verify(self) -> Report:
        """Does the ledger add up?"""
        async with self.engine.begin() as connection:
            return await ledger.verify(connection)

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode(), values).fetchall()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server of its own with a migrated database that knows the gateway and its catalogue."""

    server: EmbeddedPostgres

    def prepare(self) -> None:
        """Make the database."""
        with psycopg.connect(self.server.url_for("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
        migrate(self.server.url_for(_DATABASE))
        with psycopg.connect(self.server.url_for(_DATABASE)) as connection:
            data = build_document(
                Name.CATALOG, 1, 1, NOW_MS, CatalogBody(list(MATERIALS), FRESH_S), DOCUMENT_KEY
            )
            issued_at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
            connection.execute(
                "INSERT INTO documents VALUES ('catalog', 1, 1, %s, %s, %s)",
                (document_digest(data), data, issued_at),
            )
            for one in MATERIALS:
                connection.execute(
                    "INSERT INTO materials (code, name_en, name_ne) VALUES (%s, %s, %s)",
                    (one.code, one.name_en, one.name_ne),
                )
                connection.execute(
                    "INSERT INTO rates VALUES (%s, 1, %s, %s)", (one.code, one.points_per_kg, issued_at)
                )
            connection.execute("INSERT INTO gateways (id, state) VALUES (%s, 'claimed')", (GATEWAY,))

    @asynccontextmanager
    async def cloud(self, key: SigningKey) -> AsyncIterator[Cloud]:
        """The cloud over the database, for a gateway with this key."""
        url = self.server.url_for(_DATABASE)
        with psycopg.connect(url) as connection:
            connection.execute(
                "INSERT INTO gateway_keys (key_id, gateway_id, public_key) VALUES (%s, %s, %s)",
                (key.key_id, GATEWAY, key.public),
            )
        engine, clock = create_engine_for(url), CloudClock(NOW_MS)
        try:
            async with Ingest(PostgresStorage(url), _KEYRING, clock, secrets.token_bytes) as ingest:
                yield Cloud(url, engine, clock, ingest, Times(engine, Clocks(_new_id), clock))
        finally:
            await engine.dispose()


def _new_id() -> UUID:
    return uuid7(NOW_MS, secrets.token_bytes)


def nepal_day(true_ms: int) -> date:
    """The day in Nepal."""
    return datetime.fromtimestamp(true_ms / 1000, NEPAL).date()
