"""Whatever road a frame takes and however often it comes, each weighing is credited once."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING

import pytest

from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.clock import SystemClock
from protocol.acks import Verdict
from protocol.bodies import DepositClosed, HolderKind, Outcome, RecordCarried
from protocol.records import ClockQuality
from tests.cloud.ingest.gateway import WALL_MS, Gateway, serial_of

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

PSEUDONYM = serial_of(1)[:8]
REVOKED_CARD = "INSERT INTO cards VALUES (%s, %s, 0, now(), now(), to_timestamp(%s), '')"


def carry(source: Gateway, target: Gateway, first: int = 1) -> None:
    """Carry records of one epoch into another, as a gateway does that lost its journal file."""
    for seq in range(first, source.head + 1):
        target.append(RecordCarried(source.epoch, seq, source.digest_at(seq - 1), source.records[seq - 1]))


async def test_a_frame_is_acknowledged_with_its_head_and_credited(site: Site) -> None:
    site.gateway.visit(1_500, "pet")
    ack = await site.send(site.gateway.frame())
    assert (ack.through, ack.head_digest) == (3, site.gateway.digest_at(3))
    assert (ack.verdict, ack.quarantined, ack.echo.boot) == (Verdict.OK, [], 3)
    assert site.balance(PSEUDONYM) == 18_000


async def test_a_repeated_frame_is_acknowledged_again_and_credited_once(site: Site) -> None:
    site.gateway.visit()
    acks = [await site.send(site.gateway.frame()) for _ in range(3)]
    assert {ack.through for ack in acks} == {3}
    assert site.one("SELECT count(*) FROM transfers") == 1
    assert site.balance(PSEUDONYM) == 12_000


async def test_overlapping_frames_credit_the_rest_only(site: Site) -> None:
    for _ in range(5):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 7))
    ack = await site.send(site.gateway.frame(4, 15))
    assert ack.through == 15
    assert site.balance(PSEUDONYM) == 60_000


async def test_an_older_frame_that_comes_late_is_a_duplicate(site: Site) -> None:
    for _ in range(4):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 12))
    ack = await site.send(site.gateway.frame(2, 5))
    assert (ack.verdict, ack.through) == (Verdict.OK, 12)
    assert site.balance(PSEUDONYM) == 48_000


async def test_a_gap_asks_for_what_is_missing_and_takes_nothing(site: Site) -> None:
    for _ in range(2):
        site.gateway.visit()
    ack = await site.send(site.gateway.frame(4, 6))
    assert (ack.verdict, ack.expect, ack.through) == (Verdict.GAP, 1, 0)
    assert site.one("SELECT count(*) FROM records") == 0


async def test_records_pruned_before_they_were_synced_are_a_gap_that_is_noted_and_passed(site: Site) -> None:
    for _ in range(3):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 3))
    ack = await site.send(site.gateway.frame(7, 9, first_kept=7))
    assert (ack.verdict, ack.through) == (Verdict.OK, 9)
    assert site.rows("SELECT first, last FROM gaps") == [(4, 6)]
    assert site.rows("SELECT code FROM alarms") == [("epoch.gap",)]


async def test_two_roads_at_once_credit_once(site: Site) -> None:
    for _ in range(50):
        site.gateway.visit()
    frames = [site.gateway.frame(1, 60), site.gateway.frame(1, 150), site.gateway.frame(61, 150)]
    sends = [
        site.ingest.submit(frame, road, None) for frame in frames for road in ("mqtt", "https", "courier")
    ]
    acks = [site.ack(reply) for reply in await asyncio.gather(*sends)]
    assert max(ack.through for ack in acks) == 150
    assert site.balance(PSEUDONYM) == 600_000


async def test_two_ingests_on_one_database_credit_once(site: Site) -> None:
    for _ in range(60):
        site.gateway.visit()
    cuts = [(first, min(first + 20, 180)) for first in range(1, 180, 9)]
    async with Ingest(PostgresStorage(site.url), site.keyring, SystemClock(), secrets.token_bytes) as other:
        for first, last in cuts:
            frame = site.gateway.frame(first, last)
            both = await asyncio.gather(
                site.ingest.submit(frame, "mqtt", None), other.submit(frame, "https", None)
            )
            assert {site.ack(reply).verdict for reply in both} == {Verdict.OK}
    assert site.one("SELECT through FROM cursors") == 180
    assert site.balance(PSEUDONYM) == 720_000


@pytest.mark.parametrize("seed", range(5))
async def test_frames_in_any_order_end_up_all_credited_once(site: Site, seed: int) -> None:
    chaos = random.Random(seed)
    for _ in range(30):
        site.gateway.visit(chaos.randrange(50, 5_000), holder=serial_of(chaos.randrange(5)))
    cuts = [(first, min(first + chaos.randrange(3, 15), 90)) for first in range(1, 91, 4)]
    through = 0
    while through < 90:
        chaos.shuffle(cuts)
        sends = [site.ingest.submit(site.gateway.frame(*cut), "mqtt", None) for cut in cuts]
        acks = [site.ack(reply) for reply in await asyncio.gather(*sends)]
        through = max(ack.through for ack in acks)
    assert site.one("SELECT count(*) FROM weighings") == 30
    assert site.one("SELECT sum(points) = (SELECT sum(balance) FROM accounts) FROM weighings")


async def test_records_carried_into_a_new_epoch_are_credited_once_whichever_comes_first(site: Site) -> None:
    old = site.gateway
    for _ in range(3):
        old.visit()
    await site.send(old.frame(1, 6))
    new = Gateway(old.id, old.catalog, epoch=8)
    carry(old, new)
    new.visit()
    ack = await site.send(new.frame())
    assert ack.through == 12
    assert site.balance(PSEUDONYM) == 48_000
    await site.send(old.frame(4, 9))  # an old courier file turns up with the old epoch's frames
    assert site.balance(PSEUDONYM) == 48_000
    stored = "SELECT count(*) FROM records WHERE epoch = 7"
    assert site.one(stored) == 9


async def test_a_visit_cut_in_two_by_frames_is_closed(site: Site) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame(1, 2))
    assert site.rows("SELECT outcome FROM deposits") == [(None,)]
    await site.send(site.gateway.frame(3, 3))
    assert site.rows("SELECT outcome, closed_at > opened_at FROM deposits") == [("completed", True)]


async def test_of_two_ends_of_one_visit_the_first_counts(site: Site) -> None:
    deposit = site.gateway.open()
    await site.send(site.gateway.frame())
    for outcome in (Outcome.TIMEOUT, Outcome.COMPLETED, Outcome.CANCELLED):
        site.gateway.append(DepositClosed(deposit, outcome, 0, 0, 0))
    await site.send(site.gateway.frame())
    assert site.rows("SELECT outcome FROM deposits") == [("timeout",)]


async def test_every_record_is_kept_as_signed_and_the_chain_holds_in_the_cloud(site: Site) -> None:
    for _ in range(3):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 5))
    await site.send(site.gateway.frame(6, 9))
    stored = site.rows("SELECT data, digest FROM records ORDER BY seq")
    assert [bytes(row[0]) for row in stored] == site.gateway.records
    assert [bytes(row[1]) for row in stored] == site.gateway.digests


async def test_one_event_is_told_per_credited_weighing(site: Site) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame())
    await site.send(site.gateway.frame())
    ((kind, key, payload),) = site.rows("SELECT type, key, payload FROM events")
    assert (kind, payload["points"], payload["net_g"]) == ("weighing.credited", 12_000, 1_000)
    assert key == str(site.one("SELECT id FROM weighings"))


async def test_every_kind_of_holder_is_credited_somewhere(site: Site) -> None:
    revoked, tag = serial_of(2), b"010063E9AE"
    site.write("INSERT INTO citizens VALUES ('00000000-0000-7000-8000-000000000002', %s)", serial_of(2)[:8])
    site.write(REVOKED_CARD, revoked, "00000000-0000-7000-8000-000000000002", 0)
    site.write("INSERT INTO citizens VALUES ('00000000-0000-7000-8000-000000000003', %s)", serial_of(3)[:8])
    site.write("INSERT INTO tags VALUES (%s, '00000000-0000-7000-8000-000000000003')", tag)
    site.gateway.visit(holder=serial_of(1))
    site.gateway.visit(holder=serial_of(1, issue=2))
    site.gateway.visit(holder=revoked)
    site.gateway.visit(kind=HolderKind.TAG, holder=tag)
    site.gateway.visit(kind=HolderKind.TAG, holder=b"unknown tag")
    site.gateway.visit(kind=HolderKind.GUEST, holder=b"g" * 16)
    await site.send(site.gateway.frame())
    assert site.balance(PSEUDONYM) == 24_000
    assert site.balance(b"card:" + revoked, "holding") == 12_000
    assert site.balance(serial_of(3)[:8]) == 12_000
    assert site.balance(b"tag:unknown tag", "holding") == 12_000
    assert site.balance(b"guest:" + b"g" * 16, "holding") == 12_000
    known = "SELECT pseudonym FROM citizens z JOIN accounts a ON a.citizen_id = z.id WHERE a.key = %s"
    assert site.one(known, PSEUDONYM) == PSEUDONYM
    assert site.one("SELECT deposit_id = d.id FROM claims, deposits d WHERE d.holder_kind = 0")


async def test_a_revoked_cards_weighings_of_before_are_the_citizens_if_the_clock_was_right(
    site: Site,
) -> None:
    gateway, card = site.gateway, serial_of(1)
    gateway.visit()
    gateway.visit(500)
    revoked_at = (WALL_MS + gateway.mono_ms) / 1000
    site.write("INSERT INTO citizens VALUES ('00000000-0000-7000-8000-000000000001', %s)", card[:8])
    site.write(REVOKED_CARD, card, "00000000-0000-7000-8000-000000000001", revoked_at)
    gateway.visit(250)
    unsure = gateway.branch(gateway.head)
    unsure.mono_ms, unsure.clock = 5_000, ClockQuality.RTC
    unsure.visit(100)
    await site.send(unsure.frame())
    assert site.balance(PSEUDONYM) == 18_000
    assert site.balance(b"card:" + card, "holding") == 3_000 + 1_200
    assert site.one("SELECT count(*) FROM accounts") == 3


async def test_a_rejected_record_stays_rejected_when_it_is_carried_again(site: Site) -> None:
    deposit = site.gateway.open()
    site.gateway.weigh(deposit, 700, "steel", rate=None, points=None)
    await site.send(site.gateway.frame())
    site.write("UPDATE quarantine SET state = 'rejected', reason = 'a test weight' WHERE state = 'held'")
    site.write("INSERT INTO materials (code, name_en, name_ne) VALUES ('steel', '', '')")
    site.write("INSERT INTO rates VALUES ('steel', 1, 1000, '2020-01-01')")
    new = Gateway(site.gateway.id, site.gateway.catalog, epoch=8)
    carry(site.gateway, new)
    new.visit()
    assert (await site.send(new.frame())).through == 5
    assert site.balance(PSEUDONYM) == 12_000


async def test_what_two_new_epochs_carry_at_once_is_credited_once(site: Site) -> None:
    old = site.gateway
    for _ in range(3):
        old.visit()
    frames = [old.frame()]
    for epoch in (8, 9):
        new = Gateway(old.id, old.catalog, epoch=epoch)
        carry(old, new)
        carry(old, new)
        frames.append(new.frame())
    offered = [site.ingest.offer(frame, "mqtt", None) for frame in frames]
    acks = [site.ack(await reply) for reply in offered if reply is not None]
    assert [ack.through for ack in acks] == [9, 18, 18]
    assert site.balance(PSEUDONYM) == 36_000
