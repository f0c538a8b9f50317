"""Records given up as lost that turn up after all are credited once, or wait where a person sees them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from protocol.acks import Verdict
from protocol.bodies import RecordCarried
from protocol.delivery import AckOutcome, Sender
from tests.cloud.ingest.gateway import Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

GAPS = "SELECT first, last FROM gaps ORDER BY first"


async def pruned(site: Site, first: int = 13, visits: int = 6) -> Gateway:
    """A gateway whose records 4 to `first - 1` were pruned before the cloud had them."""
    for _ in range(visits):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 3))
    assert (await site.send(site.gateway.frame(first, first_kept=first))).through == site.gateway.head
    assert site.rows(GAPS) == [(4, first - 1)]
    assert site.balance(PSEUDONYM) == 12_000 * (visits - (first - 4) // 3)
    return site.gateway


@pytest.mark.parametrize(
    "cuts",
    [
        [(1, 18)],
        [(4, 12)],
        [(4, 6), (7, 9), (10, 12)],
        [(10, 13), (7, 12), (2, 8)],
        [(4, 12), (4, 12), (1, 18)],
        [(3, 7), (6, 15)],
    ],
    ids=["all again", "the gap", "from the left", "from the right", "twice", "overlapping"],
)
async def test_lost_records_that_arrive_later_are_credited_once(
    site: Site, cuts: list[tuple[int, int]]
) -> None:
    gateway = await pruned(site)
    for cut in cuts:
        ack = await site.send(gateway.frame(*cut), "courier")
        assert (ack.verdict, ack.through, ack.quarantined) == (Verdict.OK, 18, [])
    assert site.rows(GAPS) == []
    assert site.balance(PSEUDONYM) == 72_000
    stored = site.rows("SELECT seq, data FROM records ORDER BY seq")
    assert [bytes(data) for _, data in stored] == gateway.records


async def test_part_of_a_gap_leaves_the_rest_of_it_missing(site: Site) -> None:
    gateway = await pruned(site)
    await site.send(gateway.frame(4, 6))
    assert site.rows(GAPS) == [(7, 12)]
    await site.send(gateway.frame(10, 14))
    assert site.rows(GAPS) == [(7, 9)]
    assert site.balance(PSEUDONYM) == 60_000


async def test_records_out_of_a_gap_that_join_nothing_wait_in_quarantine(site: Site) -> None:
    gateway = await pruned(site)
    ack = await site.send(gateway.frame(7, 9))
    assert [(each.seq, each.code) for each in ack.quarantined] == [(seq, "record.stray") for seq in (7, 8, 9)]
    assert site.balance(PSEUDONYM) == 36_000
    ids = [row[0] for row in site.rows("SELECT id FROM quarantine")]
    assert set((await site.ingest.retry(ids)).values()) == {None}
    assert site.balance(PSEUDONYM) == 48_000
    await site.send(gateway.frame(1, 18))
    assert (site.rows(GAPS), site.balance(PSEUDONYM)) == ([], 72_000)


async def test_another_chains_records_do_not_fill_a_gap(site: Site) -> None:
    gateway = await pruned(site)
    twin = gateway.branch(2)
    twin.visit(5_000, holder=serial_of(2))
    ack = await site.send(twin.frame(3, twin.head))
    assert [(each.seq, each.code) for each in ack.quarantined] == [(4, "record.stray"), (5, "record.stray")]
    assert site.balance(serial_of(2)[:8]) == 0
    assert site.rows(GAPS) == [(4, 12)]


async def test_everything_at_once_on_two_roads_credits_once(site: Site) -> None:
    """The gap and what fills it may be on their way to their commits together."""
    for _ in range(6):
        site.gateway.visit()
    frames = [
        site.gateway.frame(1, 3), site.gateway.frame(13, 18, first_kept=13), site.gateway.frame(4, 9),
        site.gateway.frame(10, 12), site.gateway.frame(4, 9), site.gateway.frame(1, 18),
    ]  # fmt: skip
    sends = [site.ingest.submit(frame, road, None) for frame in frames for road in ("mqtt", "courier")]
    acks = [site.ack(reply) for reply in await asyncio.gather(*sends)]
    assert acks[-1].through == 18
    assert (site.rows(GAPS), site.held(), site.balance(PSEUDONYM)) == ([], [], 72_000)


async def test_a_gap_whose_records_were_carried_is_not_credited_again(site: Site) -> None:
    gateway = await pruned(site)
    new = Gateway(gateway.id, gateway.catalog, epoch=8)
    carry(gateway, new, 4)
    await site.send(new.frame())
    assert site.balance(PSEUDONYM) == 72_000
    await site.send(gateway.frame(1, 18))
    assert site.balance(PSEUDONYM) == 72_000


async def test_a_record_lost_by_a_restore_behind_a_carried_one_is_asked_for_again(site: Site) -> None:
    gateway, twin = site.gateway, Gateway(site.gateway.id, site.gateway.catalog, epoch=8)
    for _ in range(3):
        gateway.visit()
    await site.send(gateway.frame(1, 3))  # all that the restored cloud has; acknowledged was all
    carry(gateway, twin, 7)
    await site.send(twin.frame())
    assert site.rows(GAPS) == [(4, 6)]
    sender = Sender(gateway.id, gateway.epoch, acked=gateway.head, head=gateway.head)
    gateway.visit()
    assert (await site.send(gateway.frame(10, 12))).through == 12
    ack = await site.send(gateway.frame(12, 12))  # said again while idle
    assert (ack.verdict, ack.through, ack.missing) == (Verdict.OK, 12, 6)
    sender.dispatched(12, ack.echo)
    assert sender.ack(ack, gateway.digest_at, first_kept=1) is AckOutcome.FORGOTTEN
    new = Gateway(gateway.id, gateway.catalog, epoch=9)
    carry(gateway, new)
    await site.send(new.frame())
    assert (site.rows(GAPS), site.balance(PSEUDONYM)) == ([], 48_000)
    assert (await site.send(gateway.frame(12, 12))).missing == 0


async def test_what_carries_another_and_joined_nothing_waits_for_its_chain_whatever_an_operator_does(
    site: Site,
) -> None:
    gateway, older = site.gateway, Gateway(site.gateway.id, site.gateway.catalog, epoch=8)
    older.visit()
    gateway.visit()
    carry(older, gateway)
    gateway.append(RecordCarried(gateway.epoch, 1, bytes(32), b"nothing that was carried from elsewhere"))
    gateway.visit()
    gateway.visit()
    await site.send(gateway.frame(1, 3))
    await site.send(gateway.frame(11, first_kept=11))
    await site.send(gateway.frame(5, 8), "courier")
    carriers = [row[0] for row in site.rows("SELECT id FROM quarantine WHERE seq IN (5, 6, 7)")]
    assert set((await site.ingest.retry(carriers)).values()) == {"record.stray"}, "only its chain says where"
    for _ in range(2):
        await site.send(gateway.frame(4, 10), "courier")
        assert (site.held(), site.balance(PSEUDONYM)) == ([(7, "record.stray")], 48_000)
    assert site.one("SELECT count(*) FROM deposits WHERE closed_at IS NOT NULL") == 4
