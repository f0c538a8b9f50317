"""What the station reads back from the journal: which visits are open, and which load may still lie there."""

from __future__ import annotations

from edge.journal import Entry
from edge.station.rebuild import LOADS_MAX, RECEIPT_AGAIN_MS, Recovered, rebuild, worth_showing
from protocol import bodies
from protocol.bodies import Body, HolderKind, Outcome, Stability, TareKind
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest

HOUR_MS = 3_600_000


def journalled(*written: Body, step_ms: int = 1000) -> Recovered:
    digest, entries = genesis_digest("ktm-drop-01", 7), []
    for seq, body in enumerate(written, start=1):
        record = Record(seq, 3, seq * step_ms, HOUR_MS + seq * step_ms, ClockQuality.SYNCED, body)
        data = encode_record(record)
        digest = next_digest(digest, data)
        entries.append(Entry(seq, digest, data))
    return rebuild(entries)


def opened() -> Body:
    return bodies.DepositOpened(HolderKind.CARD, b"asha....\x01")


def weighed(deposit: int, gross_g: int, tare_g: int = 0) -> Body:
    kind = TareKind.WEIGHED if tare_g else TareKind.NONE
    net_g = gross_g - tare_g
    return bodies.WeighingRecorded(
        HolderKind.CARD, b"asha....\x01", "pet", 50, b"c" * 32, "mt-sics", "kg", 5,
        Stability.FLAG, kind, tare_g, deposit, b"raw", gross_g, net_g, net_g * 50 // 1000,
    )  # fmt: skip


def bin_weighed(pickup: int, gross_g: int) -> Body:
    return bodies.BinWeighed(
        pickup, "BIN-7", "mt-sics", "kg", 5, Stability.FLAG, TareKind.NONE, 0, b"raw", gross_g, gross_g
    )


def test_an_empty_journal_leaves_an_unarmed_plate_with_nothing_on_it() -> None:
    recovered = journalled()
    assert (recovered.plate.armed, recovered.plate.saved_g) == (False, None)
    assert recovered.closings() == ()


def test_everything_open_is_closed_as_interrupted_with_its_sums_oldest_first() -> None:
    recovered = journalled(
        opened(), weighed(1, 1000), bodies.PickupOpened(b"bina....\x01"), bin_weighed(3, 8400), opened()
    )
    assert recovered.closings() == (
        bodies.DepositClosed(1, Outcome.INTERRUPTED, 1, 1000, 50),
        bodies.PickupClosed(3, Outcome.INTERRUPTED, 1, 8400),
        bodies.DepositClosed(5, Outcome.INTERRUPTED, 0, 0, 0),
    )


def test_voided_weighings_count_neither_in_the_sum_nor_as_a_load_on_the_plate() -> None:
    recovered = journalled(
        opened(), weighed(1, 1000), weighed(1, 2500, 1000), bodies.WeighingVoided(1, 3, "person")
    )
    assert recovered.closings() == (bodies.DepositClosed(1, Outcome.INTERRUPTED, 1, 1000, 50),)
    assert recovered.plate.saved_g == 1000


def test_the_last_counted_load_may_lie_on_the_plate_whatever_was_closed_since() -> None:
    closed = bodies.DepositClosed(1, Outcome.COMPLETED, 1, 1000, 50)
    recovered = journalled(opened(), weighed(1, 1000), closed)
    assert recovered.plate.saved_g == 1000
    assert recovered.closings() == ()


def test_what_is_remembered_of_loads_is_bounded() -> None:
    recovered = journalled(opened(), *(weighed(1, 100 + number) for number in range(3 * LOADS_MAX)))
    assert len(recovered.loads) == LOADS_MAX
    assert recovered.plate.saved_g == 100 + 3 * LOADS_MAX - 1


def test_records_of_a_newer_version_are_passed_over() -> None:
    strange = Entry(1, b"d" * 32, b"\x87\x19\x03\xe7\x01\x03\x00\x01\x01\x80")
    assert rebuild([strange]).closings() == ()


def test_a_receipt_is_worth_showing_for_minutes_and_only_if_its_person_may_have_missed_it() -> None:
    shown = journalled(opened(), weighed(1, 1000), bodies.DepositClosed(1, Outcome.COMPLETED, 1, 1000, 50))
    left = journalled(opened(), weighed(1, 1000), bodies.DepositClosed(1, Outcome.TIMEOUT, 1, 1000, 50))
    empty = journalled(opened(), bodies.DepositClosed(1, Outcome.CANCELLED, 0, 0, 0))
    at_ms = 3000
    assert worth_showing(shown.last, 3, at_ms + RECEIPT_AGAIN_MS, 0)
    assert not worth_showing(shown.last, 3, at_ms + RECEIPT_AGAIN_MS + 1, 0)
    assert worth_showing(shown.last, 4, 0, HOUR_MS + at_ms + RECEIPT_AGAIN_MS)
    assert not worth_showing(shown.last, 4, 0, HOUR_MS + at_ms + RECEIPT_AGAIN_MS + 1)
    assert not worth_showing(left.last, 3, at_ms, 0)
    assert not worth_showing(empty.last, 3, at_ms, 0)
    assert not worth_showing(None, 3, 0, 0)
