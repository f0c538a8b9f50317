"""What a wrong clock said is kept, and when it really was comes out as soon as it can be known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cloud.clocks import service
from cloud.clocks.models import How
from cloud.weighings.schemas import shown
from cloud.weighings.service import Weighings
from cloud.worker.times import Times
from protocol.bodies import ClockHeard, RecordCarried
from protocol.documents import document_digest
from protocol.records import ClockQuality
from tests.cloud.clocks.box import DAY_MS, HOUR_MS, Box, clocks, repair_all, times
from tests.cloud.hand_clock import CloudClock
from tests.cloud.ingest.gateway import add_catalog

if TYPE_CHECKING:
    from tests.cloud.clocks.box import Drop

UNKNOWN, SYNCED, RTC = ClockQuality.UNKNOWN, ClockQuality.SYNCED, ClockQuality.RTC
RECEIVED, OWN, ANCHORED, BOUNDED = How.RECEIVED, How.SYNCED, How.ANCHORED, How.BOUNDED


async def test_a_clock_that_was_right_is_believed_at_once(drop: Drop) -> None:
    drop.box.show(drop.box.true_ms, SYNCED)
    seq = drop.box.visit()
    drop.clock.now_ms = drop.box.true_ms + 500
    await drop.site.send(drop.box.send(1))
    happened_ms, error_s, how, raw_ms, _ = times(drop.site)[seq]
    assert (happened_ms, error_s, how) == (raw_ms, 16, OWN)
    assert await repair_all(drop.site) == 0
    drop.hold()


async def test_weighings_of_1970_are_repaired_when_the_clock_is_set_three_days_later(drop: Drop) -> None:
    box = drop.box
    box.show(20_000, UNKNOWN)
    first = box.visit()
    await drop.deliver()
    happened_ms, error_s, how, raw_ms, _ = drop.hold()[first]
    assert (how, raw_ms < DAY_MS) == (BOUNDED, True)
    box.pass_by(3 * DAY_MS)
    second = box.visit()
    box.sync()
    await drop.deliver(4)
    after = drop.hold()
    assert [after[seq][2] for seq in (first, second)] == [ANCHORED, ANCHORED]
    assert after[first][1] <= 16 + 3 * 24 * 2.16 + 10
    assert after[second][1] <= 25
    assert after[first][3] == raw_ms, "the raw time stands"
    assert after[first][1] < error_s
    assert after[first][0] != happened_ms


async def test_a_backlog_that_was_never_synchronised_is_as_old_as_its_frame_says(drop: Drop) -> None:
    """The last frame's sample says how long ago each weighing was; the catalogue says it was not earlier."""
    box = drop.box
    box.show(0, UNKNOWN)
    seqs = []
    for _ in range(3):
        box.pass_by(DAY_MS)
        seqs.append(box.visit())
    await drop.deliver()
    found = drop.hold()
    assert [found[seq][2] for seq in seqs] == [BOUNDED] * 3
    latest = [found[seq][0] + found[seq][1] * 1000 for seq in seqs]
    assert latest == sorted(latest)
    assert max(latest) <= box.true_ms + 20_000


async def test_a_clock_that_nothing_ever_sets_is_known_by_what_it_heard_the_cloud_sign(drop: Drop) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    seq = box.visit()
    await drop.deliver()
    assert drop.hold()[seq][1] > 3_600
    box.pass_by(5_000)
    box.append(ClockHeard(drop.clock.now_ms))
    await drop.deliver(4)
    _, error_s, how, _, _ = drop.hold()[seq]
    assert (how, error_s <= 10) == (BOUNDED, True)


async def test_a_time_that_was_never_signed_moves_nothing(drop: Drop) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    seq = box.visit()
    await drop.deliver()
    before = drop.hold()[seq]
    box.append(ClockHeard(box.true_ms + DAY_MS))
    await drop.deliver(4)
    assert drop.hold()[seq][:3] == before[:3]


async def test_a_boot_of_unknown_length_between_two_known_ones_lies_between_them(drop: Drop) -> None:
    box = drop.box
    box.show(box.true_ms, SYNCED)
    box.visit()
    box.cut(5 * HOUR_MS)
    unknown = box.visit()
    box.cut(7 * HOUR_MS)
    box.sync()
    box.visit()
    await drop.deliver()
    _, error_s, how, _, _ = drop.hold()[unknown]
    assert how == BOUNDED
    assert error_s <= 6.1 * 3600


@pytest.mark.parametrize("year", [1970, 2016, 2038, 9999])
async def test_a_clock_set_wrong_in_mid_session_changes_no_order_and_no_time(drop: Drop, year: int) -> None:
    box = drop.box
    box.show(box.true_ms, SYNCED)
    seqs = [box.visit()]
    wall_ms = {1970: 0, 2016: 1_451_606_400_000, 2038: 2**31 * 1000, 9999: 253_402_300_700_000}[year]
    box.show(wall_ms, UNKNOWN)
    seqs += [box.visit(), box.visit()]
    await drop.deliver()
    found = drop.hold()
    assert sorted(found, key=lambda seq: found[seq][0]) == seqs
    assert all(found[seq][1] <= 30 for seq in seqs)
    assert abs(found[seqs[1]][3] - wall_ms) < 60_000, "the raw time is what the clock said, whatever it said"


@pytest.mark.parametrize("wall_ms", [0, 2**31 * 1000, 253_402_300_700_000])
async def test_a_clock_that_lies_about_being_synchronised_is_not_believed(drop: Drop, wall_ms: int) -> None:
    box = drop.box
    box.show(wall_ms, SYNCED)
    seq = box.visit()
    await drop.deliver()
    _, error_s, how, raw_ms, clock = drop.hold()[seq]
    assert (how, clock) == (BOUNDED, SYNCED)
    assert abs(raw_ms - wall_ms) < 60_000
    assert error_s is not None


async def test_what_was_repaired_twice_is_as_what_was_repaired_once(drop: Drop) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    box.visit()
    box.sync()
    await drop.deliver()
    before = drop.hold()
    assert await repair_all(drop.site) == 0
    drop.site.write("UPDATE clock_hours SET version = version + 1")
    assert await repair_all(drop.site) == 0
    assert times(drop.site) == before


async def test_a_weighing_out_of_quarantine_gets_its_time_too(drop: Drop) -> None:
    box, site = drop.box, drop.site
    known, box.catalog = box.catalog, add_catalog(site.url, site.keyring, 2)
    (kept,) = site.rows("SELECT data, issued_at FROM documents WHERE version = 2")
    site.write("DELETE FROM documents WHERE version = 2")
    box.show(0, UNKNOWN)
    late = box.visit()
    box.catalog = known
    box.sync()
    await drop.deliver()
    assert late not in times(site), "its catalogue is unknown: it waits in quarantine"
    site.write("INSERT INTO documents VALUES ('catalog', 1, 2, %s, %s, %s)", document_digest(kept[0]), *kept)
    (held,) = site.rows("SELECT id FROM quarantine")[0]
    assert await site.ingest.retry([held]) == {held: None}
    assert times(site)[late][1:3] == (None, RECEIVED)
    assert await repair_all(site) == 1
    assert drop.hold()[late][2] == ANCHORED


async def test_a_clock_five_minutes_wrong_is_an_operators_to_see_until_it_is_right(drop: Drop) -> None:
    box = drop.box
    box.show(box.true_ms + 6 * 60_000, RTC)
    box.pass_by(15 * 60_000)
    box.visit()
    await drop.deliver()
    rows = drop.site.rows("SELECT code, detail, resolved_at IS NULL FROM alarms")
    assert [(code, still) for code, _, still in rows] == [("clock.skewed", True)]
    assert 300 < rows[0][1]["at_least_s"] <= 360
    box.visit()
    await drop.deliver(4)
    assert drop.site.one("SELECT count(*) FROM alarms") == 1, "the same alarm, once"
    box.sync()
    box.visit()
    await drop.deliver(7)
    assert drop.site.one("SELECT count(*) FROM alarms WHERE resolved_at IS NULL") == 0


async def test_a_clock_that_waits_for_the_network_after_a_start_is_no_alarm(drop: Drop) -> None:
    drop.box.show(0, UNKNOWN)
    drop.box.visit()
    await drop.deliver()
    assert drop.site.one("SELECT count(*) FROM alarms") == 0


async def test_a_large_journal_is_repaired_in_portions_and_stays_due_until_it_is_done(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    for _ in range(4):
        box.visit()
        box.pass_by(2 * HOUR_MS)
    drop.clock.now_ms = box.true_ms
    await drop.site.send(box.send(1))
    monkeypatch.setattr(service, "RECORDS_A_ROUND", 1)
    rounds = []
    async with drop.site.engine.begin() as connection:
        while await clocks().due(connection):
            rounds.append(await clocks().repair(connection, box.id, box.epoch))
    assert (sum(rounds), max(rounds)) == (4, 1)
    drop.hold()


async def test_a_journal_that_cannot_be_repaired_keeps_no_other_waiting(drop: Drop) -> None:
    drop.box.show(0, UNKNOWN)
    drop.box.visit()
    drop.clock.now_ms = drop.box.true_ms
    await drop.site.send(drop.box.send(1))
    drop.site.write(
        "INSERT INTO clock_hours (gateway_id, journal, epoch, boot, hour, first_ms, last_ms, unsure)"
        " VALUES ('a-broken-one', 1, 1, 1, 0, 0, 0, true)"
    )
    drop.site.write("ALTER TABLE clock_hours ADD CHECK (gateway_id <> 'a-broken-one' OR repaired = 0)")
    await Times(drop.site.engine, clocks(), drop.clock).once()
    assert drop.hold()[2][2] == BOUNDED
    assert drop.site.rows("SELECT DISTINCT gateway_id FROM clock_hours WHERE version <> repaired") == [
        ("a-broken-one",)
    ]


async def test_the_worker_goes_on_after_a_round_that_failed(drop: Drop) -> None:
    rounds: list[str] = []

    class Failing(CloudClock):
        async def sleep(self, seconds: float) -> None:
            rounds.append("slept")
            if len(rounds) == 1:
                drop.site.write("ALTER TABLE clock_hours RENAME TO elsewhere")
            elif len(rounds) == 2:
                drop.site.write("ALTER TABLE elsewhere RENAME TO clock_hours")
            else:
                raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Times(drop.site.engine, clocks(), Failing()).run()
    assert len(rounds) == 3


async def test_what_was_not_heard_of_for_long_is_forgotten(drop: Drop) -> None:
    drop.box.show(drop.box.true_ms, SYNCED)
    drop.box.visit()
    await drop.deliver()
    before = times(drop.site)
    drop.site.write("UPDATE clock_hours SET updated_at = now() - interval '399 days'")
    await Times(drop.site.engine, clocks(), drop.clock).once()
    assert drop.site.one("SELECT count(*) FROM clock_hours") == 1
    drop.site.write("UPDATE clock_hours SET updated_at = now() - interval '401 days'")
    await Times(drop.site.engine, clocks(), drop.clock).once()
    assert drop.site.one("SELECT count(*) FROM clock_hours") == 0
    assert times(drop.site) == before


async def test_a_carried_weighing_is_timed_by_what_its_new_journal_knows(drop: Drop) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    seq = box.visit()
    new = Box(box.id, box.catalog, epoch=8, boot=2, true_ms=box.true_ms + 5 * HOUR_MS, mono_ms=20_000)
    new.show(20_000, UNKNOWN)
    for number, data in enumerate(box.records, start=1):
        new.append(RecordCarried(box.epoch, number, box.digest_at(number - 1), data))
    new.sync()
    drop.clock.now_ms = new.true_ms + 2_000
    await drop.site.send(new.send(1))
    await repair_all(drop.site)
    happened_ms, error_s, how, _, _ = times(drop.site)[seq]
    assert how == BOUNDED
    assert error_s is not None
    assert abs(happened_ms - box.truth_ms[seq]) <= error_s * 1_000
    assert happened_ms + error_s * 1_000 <= new.true_ms + 30_000, "it was written before the new journal was"


@pytest.mark.parametrize("wall_ms", [-(2**60), 2**60])
async def test_a_clock_beyond_the_calendar_is_shown_at_its_end(drop: Drop, wall_ms: int) -> None:
    drop.box.show(wall_ms, UNKNOWN)
    seq = drop.box.visit()
    await drop.deliver()
    async with drop.site.engine.begin() as connection:
        (line,) = [shown(one) async for one in Weighings().export(connection)]
    assert line.recorded_at.year in {1, 9999}
    assert str(line.recorded_at.year) in line.model_dump_json()
    drop.hold()
    assert seq == 2


async def test_who_waits_longest_is_repaired_first(drop: Drop) -> None:
    for gateway, hours in (("b", 1), ("a", 2), ("c", 3)):
        drop.site.write(
            "INSERT INTO clock_hours (gateway_id, journal, epoch, boot, hour, first_ms, last_ms, unsure,"
            " due_since)"
            " VALUES (%s, 1, 1, 1, 0, 0, 0, true, now() - %s * interval '1 hour')",
            gateway,
            hours,
        )
    async with drop.site.engine.begin() as connection:
        assert await clocks().due(connection) == [("c", 1), ("a", 1), ("b", 1)]
        await clocks().put_off(connection, "c", 1)
        assert await clocks().due(connection) == [("a", 1), ("b", 1), ("c", 1)]


async def test_an_hour_whose_clock_was_right_throughout_costs_no_rewriting(drop: Drop) -> None:
    drop.box.show(drop.box.true_ms, SYNCED)
    drop.box.visit()
    await drop.deliver()
    drop.site.write("UPDATE weighings SET time_how = 9")
    drop.box.visit()
    await drop.deliver(4)
    assert [row[0] for row in drop.site.rows("SELECT time_how FROM weighings ORDER BY seq")] == [9, OWN]
    drop.box.show(0, UNKNOWN)
    drop.box.visit()
    await drop.deliver(7)
    assert [row[2] for row in drop.hold().values()] == [OWN, OWN, ANCHORED]
