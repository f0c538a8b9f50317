"""Claims, releases, voids and operators at once: no point is doubled, lost or left where nobody looks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from cloud.ledger import service as ledger
from protocol.bodies import HolderKind, WeighingVoided
from tests.cloud.ingest.gateway import Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.ingest.conftest import Site

HASH = b"h" * 16
ANNA = UUID(int=0xA << 96)
WAITERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


async def forked(site: Site, kind: HolderKind, holder: bytes, *grams: int) -> Gateway:
    """A fork whose one side has weighings of this holder that wait; the epoch that carried them."""
    mine = site.gateway
    mine.visit(kind=kind, holder=holder)
    twin = mine.branch(3)
    mine.visit(2_000)
    for net_g in grams:
        twin.visit(net_g, kind=kind, holder=holder)
    await site.send(mine.frame())
    await site.send(twin.frame(4))
    after = Gateway(mine.id, mine.catalog, epoch=9)
    after.mono_ms = twin.mono_ms
    carry(twin, after)
    await site.send(after.frame())
    return after


def waiting(site: Site) -> list[UUID]:
    return [row[0] for row in site.rows("SELECT id FROM weighings WHERE pending ORDER BY seq")]


async def release(site: Site, weighings: list[UUID]) -> int:
    async with site.engine.begin() as connection:
        return await ledger.release(connection, weighings)


async def test_a_release_told_twice_is_told_once(site: Site) -> None:
    await forked(site, HolderKind.CARD, serial_of(1), 500, 700)
    ids = waiting(site)
    counts = await asyncio.gather(*(release(site, ids) for _ in range(4)))
    assert sorted(counts) == [0, 0, 0, 2]
    assert site.one("SELECT count(*) FROM events WHERE type = 'weighing.credited'") == 4
    assert site.balance(PSEUDONYM) == 36_000 + 14_400


async def test_a_weighing_taken_back_while_it_is_released_is_credited_and_reversed_or_neither(
    site: Site,
) -> None:
    """Both touch the award that waits; whoever comes second must find out what the first one did."""
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    deposit = twin.open()
    weighing = twin.weigh(deposit, 500)
    await site.send(mine.frame())
    await site.send(twin.frame(4))
    after = Gateway(mine.id, mine.catalog, epoch=9)
    after.mono_ms = twin.mono_ms
    carry(twin, after, 4)
    await site.send(after.frame())
    sent = after.head
    twin.append(WeighingVoided(deposit, weighing, "person"))
    carry(twin, after, weighing + 1)
    ids = waiting(site)
    with psycopg.connect(site.url) as blocker:
        blocker.execute("SELECT FROM accounts WHERE key = %s FOR UPDATE", (PSEUDONYM,))
        releasing = asyncio.create_task(release(site, ids))
        await until(lambda: site.one(WAITERS) == 1)
        voiding = asyncio.create_task(site.send(after.frame(sent + 1)))
        await until(lambda: site.one(WAITERS) == 2)
        blocker.rollback()
    assert await releasing == 1
    await voiding
    assert (site.held(), site.balance(PSEUDONYM)) == ([], 36_000)
    assert site.one("SELECT count(*) FROM weighings WHERE voided_by IS NOT NULL AND NOT pending") == 1


async def test_a_statement_is_in_the_order_in_which_points_moved_whoever_moved_them(site: Site) -> None:
    site.write("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", ANNA, serial_of(7)[:8])
    weighing = site.gateway.visit(kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    async with site.engine.begin() as connection:
        assert (await ledger.claim(connection, HASH, ANNA)).points == 12_000
    site.gateway.append(WeighingVoided(weighing - 1, weighing, "person"))
    await site.send(site.gateway.frame())
    async with site.engine.begin() as connection:
        lines = await ledger.statement(connection, ANNA)
    told = [(each.code, each.amount, each.balance) for each in lines]
    assert told == [("reversal", -12_000, 0), ("claim", 12_000, 12_000)]
