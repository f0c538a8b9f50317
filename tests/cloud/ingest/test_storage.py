"""Ingest's storage on Postgres says what went wrong in the words of the port, and nothing more."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest

from cloud.errors import DatabaseError
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.storage import StaleError, UnfitError
from cloud.ingest.store import in_our_words
from cloud.kit.ids import uuid7

if TYPE_CHECKING:
    from uuid import UUID


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
