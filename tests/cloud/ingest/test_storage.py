"""Ingest's storage on Postgres says what went wrong in the words of the port, and nothing more."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cloud.errors import DatabaseError
from cloud.ingest import store
from cloud.ingest.batches import Arrival
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.ingest.storage import StaleError, StoredError, UnfitError
from cloud.ingest.store import in_our_words
from cloud.ingest.views import Road
from cloud.kit.clock import SystemClock
from cloud.kit.ids import uuid7
from protocol.bodies import Outcome, PickupClosed, PickupOpened
from protocol.records import record_id
from tests.cloud.ingest.gateway import add_catalog, serial_of

if TYPE_CHECKING:
    from uuid import UUID

    from cloud.ingest.batches import Batch
    from cloud.ingest.storage import Link
    from tests.cloud.ingest.conftest import Site


def new_id() -> UUID:
    return uuid7(1_780_000_000_000, secrets.token_bytes)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (psycopg.errors.DeadlockDetected, StaleError),
        (psycopg.errors.SerializationFailure, StaleError),
        (psycopg.errors.NumericValueOutOfRange, UnfitError),
        (psycopg.errors.CheckViolation, UnfitError),
        (psycopg.errors.ProgramLimitExceeded, UnfitError),
        (psycopg.errors.UndefinedFunction, UnfitError),  # a number too long for an argument
        (psycopg.errors.InsufficientPrivilege, DatabaseError),
        (psycopg.errors.FeatureNotSupported, DatabaseError),
        (psycopg.errors.InvalidSqlStatementName, DatabaseError),
        (psycopg.errors.AdminShutdown, DatabaseError),
        (psycopg.errors.DiskFull, DatabaseError),
    ],
)
async def test_what_postgres_says_leaves_in_our_words(
    theirs: type[psycopg.Error], ours: type[Exception]
) -> None:
    @in_our_words
    async def ask() -> None:
        raise theirs("as it says it")

    with pytest.raises(ours, match="as it says it"):
        await ask()


async def test_a_link_that_lost_its_postgres_says_that_it_is_away(database_url: str) -> None:
    link = await PostgresStorage(database_url).open(new_id, reading=True)
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    with pytest.raises(DatabaseError) as caught:
        await link.read_gateways(["ktm-drop-01"])
    assert (caught.value.code, caught.value.retry) == ("database.lost", True)
    await link.close()


async def test_a_link_that_cannot_be_made_ready_is_not_left_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "QUERIES", {**store.QUERIES, "session": b"SELECT 1 / 0"})
    with pytest.raises(UnfitError, match="division by zero"):
        await PostgresStorage(database_url).open(new_id)
    others = b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    async with asyncio.timeout(10):
        with psycopg.connect(database_url, autocommit=True) as connection:
            while connection.execute(others).fetchone() != (1,):  # a backend ends a moment after its client
                await asyncio.sleep(0.01)


@asynccontextmanager
async def prepared(site: Site, frame: bytes) -> AsyncIterator[tuple[Link[Any], Batch]]:
    """A batch decided and not yet applied."""
    other = Ingest(PostgresStorage(site.url), site.keyring, SystemClock(), secrets.token_bytes)
    reference, reader = await other._connect_reader()
    arrival = Arrival(frame, Road.HTTPS, None, asyncio.get_running_loop().create_future())
    batch = await other._prepare([arrival], reference, reader)
    assert batch is not None
    writer = await other._connect_writer()
    yield writer, batch
    await writer.rollback()
    await other._disconnect()


async def test_a_decision_on_a_gateway_that_was_moved_meanwhile_is_stale(site: Site) -> None:
    site.gateway.visit()
    async with prepared(site, site.gateway.frame()) as (writer, batch):
        site.write("UPDATE gateways SET state = 'revoked'")
        with pytest.raises(StaleError, match="gateway"):
            await writer.apply(batch.effects, batch.packed, batch.view)


async def test_a_decision_on_a_gap_that_was_filled_meanwhile_is_stale(site: Site) -> None:
    for _ in range(3):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 3))
    await site.send(site.gateway.frame(7, 9, first_kept=7))
    async with prepared(site, site.gateway.frame(4, 6)) as (writer, batch):
        site.write("UPDATE gaps SET first = 5")
        with pytest.raises(StaleError, match="gap"):
            await writer.apply(batch.effects, batch.packed, batch.view)
    site.write("UPDATE gaps SET first = 4")
    assert (await site.send(site.gateway.frame(4, 6))).through == 9
    assert site.balance(serial_of(1)[:8]) == 36_000


async def test_a_record_stored_meanwhile_by_somebody_else_is_told_apart(site: Site) -> None:
    site.gateway.visit()
    async with prepared(site, site.gateway.frame()) as (writer, batch):
        identity = record_id(site.gateway.digest_at(2))
        site.write(
            "INSERT INTO records VALUES (%s, 7, 2, %s, 3, now(), %s, %s)",
            site.gateway.id, identity, site.gateway.digest_at(2), site.gateway.records[1],
        )  # fmt: skip
        with pytest.raises(StoredError):
            await writer.apply(batch.effects, batch.packed, batch.view)


async def test_of_two_who_retry_a_record_at_once_one_applies_it(site: Site) -> None:
    deposit = site.gateway.open()
    site.gateway.weigh(deposit, 700, "steel", rate=None, points=None)
    await site.send(site.gateway.frame())
    add_catalog(site.url, site.keyring, 2, {"steel": 1_000})
    held = site.one("SELECT id FROM quarantine")
    with psycopg.connect(site.url) as other:
        other.execute("SELECT FROM quarantine FOR UPDATE")
        both = [asyncio.create_task(site.ingest.retry([held])) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(10):
            while site.one(waiting) < 2:
                await asyncio.sleep(0.01)
    assert sorted(await asyncio.gather(*both), key=len) == [{}, {held: None}]
    assert site.balance(serial_of(1)[:8]) == 700


async def test_a_record_that_still_does_not_fit_stays_held(site: Site) -> None:
    pickup = site.gateway.append(PickupOpened(serial_of(5)))
    site.gateway.append(PickupClosed(pickup, Outcome.COMPLETED, 2**40, 0))
    assert (await site.send(site.gateway.frame())).through == 2
    held = site.one("SELECT id FROM quarantine")
    assert await site.ingest.retry([held]) == {held: "record.refused_by_store"}
    assert "out of range" in site.one("SELECT message FROM quarantine")
