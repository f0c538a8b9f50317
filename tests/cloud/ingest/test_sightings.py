"""What is gathered of clocks: by hour of a boot, widening only, whatever the order."""

from __future__ import annotations

import random

import pytest

from cloud.ingest.sightings import HOUR_MS, Sighting, Sightings
from protocol.bodies import Body, ClockHeard, DocumentApplied, ScaleZeroed
from protocol.frames import ClockSample
from protocol.records import ClockQuality, Record

SOURCE = ("ktm-01", 7, 7)
UNKNOWN, SYNCED = ClockQuality.UNKNOWN, ClockQuality.SYNCED
ZEROED = ScaleZeroed("S")


def written(
    seq: int, mono_ms: int, wall_ms: int = 0, clock: ClockQuality = UNKNOWN, body: Body = ZEROED
) -> Record:  # fmt: skip
    return Record(seq, 3, mono_ms, wall_ms, clock, body)


def only(sightings: Sightings) -> Sighting:
    (row,) = sightings.hours.values()
    return row


def test_an_hour_spans_its_records_and_is_over_when_they_arrived() -> None:
    seen = Sightings()
    for seq, mono_ms, received_ms in ((5, 500, 10_000), (6, 900, 10_000), (4, 100, 8_000), (7, 950, 90_000)):
        seen.record(SOURCE, seq, written(seq, mono_ms), received_ms)
    row = only(seen)
    assert (row.first_seq, row.last_seq, row.first_ms, row.last_ms) == (4, 7, 100, 950)
    assert row.before_ms == 10_000 - 900


def test_only_a_synchronised_clock_is_taken_at_its_word() -> None:
    seen = Sightings()
    for seq, offset_ms, clock in (
        (1, 99, UNKNOWN),
        (2, 7, SYNCED),
        (3, 5, SYNCED),
        (4, 9, SYNCED),
        (5, 8, SYNCED),
    ):
        seen.record(SOURCE, seq, written(seq, seq, offset_ms + seq, clock), 0)
    assert (only(seen).synced_low_ms, only(seen).synced_high_ms) == (5, 9)


def test_the_latest_signed_time_and_the_first_sight_of_a_document_count() -> None:
    seen = Sightings()
    bodies: list[Body] = [
        ClockHeard(1_000), DocumentApplied("catalog", 1, 1, bytes(32)), ClockHeard(900),
        DocumentApplied("catalog", 1, 1, bytes(32)),
    ]  # fmt: skip
    for seq, body in enumerate(bodies, start=1):
        seen.record(SOURCE, seq, written(seq, 100 * seq, body=body), 0)
    assert only(seen).heard_ms == 900
    assert only(seen).documents == {bytes(32): 200}


def test_hours_boots_and_epochs_are_kept_apart() -> None:
    seen = Sightings()
    seen.record(SOURCE, 1, written(1, 5), 0)
    seen.record(SOURCE, 2, written(2, HOUR_MS), 0)
    seen.record(("ktm-01", 7, 6), 2, written(2, 5), 0)
    seen.record(SOURCE, 1, written(1, 6), 0)
    assert list(seen.hours) == [("ktm-01", 7, 7, 3, 0), ("ktm-01", 7, 7, 3, 1), ("ktm-01", 7, 6, 3, 0)]


def test_a_frame_shows_what_the_clock_says_when_it_leaves() -> None:
    seen = Sightings()
    for mono_ms, wall_ms in ((500, 1_500), (400, 9_999), (600, 1_700)):
        seen.frame("ktm-01", 7, ClockSample(3, mono_ms, wall_ms, UNKNOWN), 2_000)
    row = only(seen)
    assert (row.first_seq, row.shown_at_ms, row.shown_ms, row.before_ms) == (None, 600, 1_100, 1_400)


@pytest.mark.parametrize("mono_ms", [0, 2**63 - 1])
@pytest.mark.parametrize("wall_ms", [-(2**63) + 1, 2**63 - 1])
def test_no_clock_is_so_far_off_that_a_database_cannot_hold_it(mono_ms: int, wall_ms: int) -> None:
    seen = Sightings()
    seen.record(SOURCE, 1, written(1, mono_ms, wall_ms, SYNCED, ClockHeard(wall_ms)), 2**60)
    seen.frame("ktm-01", 7, ClockSample(3, mono_ms, wall_ms, SYNCED), 2**60)
    row = only(seen)
    for offset_ms in (row.synced_low_ms, row.heard_ms, row.shown_ms, row.before_ms):
        assert offset_ms is not None
        assert abs(offset_ms) < 2**63 - 1


def test_in_any_order_the_same_is_gathered() -> None:
    records = [written(seq, seq * 777, seq * 778, SYNCED) for seq in range(1, 40)]
    rows = []
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        seen = Sightings()
        for record in shuffled:
            seen.record(SOURCE, record.seq, record, 1_000_000)
        row = only(seen)
        rows.append(
            (row.first_seq, row.last_seq, row.first_ms, row.last_ms, row.synced_low_ms, row.before_ms)
        )
    assert len(set(rows)) == 1
