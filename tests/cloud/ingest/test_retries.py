"""An operator at the quarantine while other things happen: nothing leaves it that was not applied."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import cbor2
import psycopg
import pytest

from cloud.errors import UnavailableError
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.clock import SystemClock
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.ingest.conftest import Site

HELD = "SELECT id FROM quarantine WHERE state = 'held' ORDER BY seq"
WAITERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


def pay_for_steel(site: Site) -> None:
    site.write("INSERT INTO materials (code, name_en, name_ne) VALUES ('steel', '', '')")
    site.write("INSERT INTO rates VALUES ('steel', 1, 1000, '2020-01-01')")


async def hold_one(site: Site) -> None:
    site.gateway.weigh(site.gateway.open(), 700, "steel", rate=None, points=None)
    await site.send(site.gateway.frame())


async def test_a_carried_record_that_was_never_applied_does_not_leave_quarantine(site: Site) -> None:
    site.gateway.visit()
    carry(site.gateway, site.gateway, 3)
    await site.send(site.gateway.frame())
    held = [row[0] for row in site.rows(HELD)]
    assert await site.ingest.retry(held) == dict.fromkeys(held, "record.malformed")
    assert [row[0] for row in site.rows(HELD)] == held


async def test_a_record_rejected_while_it_is_retried_is_not_said_to_be_applied(site: Site) -> None:
    await hold_one(site)
    pay_for_steel(site)
    (held,) = (row[0] for row in site.rows(HELD))
    with psycopg.connect(site.url) as other:
        other.execute("UPDATE quarantine SET state = 'rejected', decided_at = now() WHERE id = %s", (held,))
        retrying = asyncio.create_task(site.ingest.retry([held]))
        await until(lambda: site.one(WAITERS) == 1)
        other.commit()
    assert await retrying == {}
    assert site.balance(PSEUDONYM) == 0


async def test_a_retry_that_postgres_makes_give_way_is_done_again(site: Site) -> None:
    """It holds the record and wants the account; whoever holds that wants the record."""
    await hold_one(site)
    pay_for_steel(site)
    site.gateway.visit()
    await site.send(site.gateway.frame(3))
    (held,) = (row[0] for row in site.rows(HELD))
    with psycopg.connect(site.url) as other:
        other.execute("SET deadlock_timeout = '60s'")
        other.execute("SELECT FROM accounts WHERE key = %s FOR UPDATE", (PSEUDONYM,))
        retrying = asyncio.create_task(site.ingest.retry([held]))
        await until(lambda: site.one(WAITERS) == 1)
        await asyncio.to_thread(other.execute, "SELECT FROM quarantine WHERE id = %s FOR UPDATE", (held,))
        other.commit()
    assert await retrying == {held: None}
    assert site.balance(PSEUDONYM) == 12_700


GIVES_WAY = """
CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'others came first' USING ERRCODE = 'serialization_failure'; END $$;
CREATE TRIGGER busy BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION give_way();
"""
"""Postgres chooses this transaction each time, as where others hold the same accounts without a pause."""


async def test_a_retry_that_others_keep_from_the_accounts_ends_and_the_record_stays_held(site: Site) -> None:
    await hold_one(site)
    pay_for_steel(site)
    (held,) = (row[0] for row in site.rows(HELD))
    site.write(GIVES_WAY)
    with pytest.raises(UnavailableError, match="try it again") as caught:
        await site.ingest.retry([held])
    assert caught.value.code == "ingest.busy"
    assert [row[0] for row in site.rows(HELD)] == [held]
    assert site.balance(PSEUDONYM) == 0
    site.write("DROP TRIGGER busy ON transfers")
    assert await site.ingest.retry([held]) == {held: None}
    assert site.balance(PSEUDONYM) == 700


async def test_a_quarantine_full_of_what_no_version_knows_keeps_nobodys_weighing_waiting(site: Site) -> None:
    """Each start tries them again. Whoever weighs meanwhile is credited meanwhile."""
    site.write(
        "INSERT INTO quarantine (id, gateway_id, epoch, seq, code, message, data)"
        " SELECT gen_random_uuid(), 'ktm-drop-01', 5, n, 'record.unknown_kind', '', %s"
        " FROM generate_series(1, 50) n",
        cbor2.dumps([99, 3, 3, 1, 1, 7, []]),
    )
    site.gateway.visit()
    with psycopg.connect(site.url) as other:
        other.execute("SELECT FROM quarantine WHERE seq = 50 FOR UPDATE")
        async with Ingest(
            PostgresStorage(site.url), site.keyring, SystemClock(), secrets.token_bytes
        ) as started:
            await until(lambda: site.one(WAITERS) >= 1)  # the site's own may have just begun
            reply = await started.submit(site.gateway.frame(), "https", None)
    assert reply.ack is not None
    assert site.balance(PSEUDONYM) == 12_000
