"""Each row of the two tables of the delivery session."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol import VERSION
from protocol.acks import Ack, Echo, Verdict
from protocol.delivery import WINDOW_MAX, AckOutcome, Cursor, Plan, Received, Sender, receive
from protocol.frames import FRAME_BYTES_MAX, FRAME_BYTES_MIN, ClockSample, Frame
from protocol.records import ClockQuality, next_digest
from tests.protocol.samples import EPOCH, GATEWAY_ID, chain

DATA = [f"record {number}".encode() for number in range(1, 31)]
OURS = chain(DATA)
THEIRS = chain([*DATA[:3], *(b"another " + one for one in DATA[3:])])


def digest_at(seq: int) -> bytes | None:
    return OURS[seq] if seq < len(OURS) else None


def frame(first: int, last: int, first_kept: int = 1, digests: list[bytes] = OURS) -> Frame:
    data = DATA if digests is OURS else [*DATA[:3], *(b"another " + one for one in DATA[3:])]
    sample = ClockSample(1, 1, 1, ClockQuality.SYNCED)
    records = data[first - 1 : last]
    ends = digests[first - 1], digests[last]
    return Frame(VERSION, GATEWAY_ID, EPOCH, first, first_kept, *ends, sample, records)


def cursor(through: int, *, closed: bool = False) -> Cursor:
    return Cursor(GATEWAY_ID, EPOCH, through, OURS[through], closed)


def received(through: int, sent: Frame, *, closed: bool = False) -> Received:
    return receive(
        cursor(through, closed=closed), sent, lambda seq: OURS[seq] if 0 < seq <= through else None
    )


def seqs(found: Received) -> list[int]:
    return [one.seq for one in found.fresh]


def test_what_follows_the_cursor_is_taken() -> None:
    found = received(5, frame(6, 9))
    assert (found.verdict, found.cursor, seqs(found)) == (Verdict.OK, cursor(9), [6, 7, 8, 9])
    assert [one.digest for one in found.fresh] == OURS[6:10]
    assert [one.data for one in found.fresh] == DATA[5:9]


def test_the_first_frame_of_an_epoch_starts_at_its_genesis() -> None:
    assert received(0, frame(1, 3)).cursor == cursor(3)
    assert Cursor.start(GATEWAY_ID, EPOCH) == cursor(0)
    other = msgspec.structs.replace(frame(1, 3), prev_digest=bytes(32))
    assert received(0, other).verdict is Verdict.FORKED


def test_what_begins_too_late_is_a_gap() -> None:
    found = received(5, frame(8, 9))
    assert (found.verdict, found.expect, found.cursor, found.fresh) == (Verdict.GAP, 6, cursor(5), ())


def test_what_is_no_longer_kept_is_declared_lost_and_the_rest_taken() -> None:
    found = received(5, frame(8, 9, first_kept=8))
    assert (found.verdict, found.lost, found.cursor, seqs(found)) == (Verdict.OK, (6, 7), cursor(9), [8, 9])


def test_an_empty_frame_can_say_that_everything_is_gone() -> None:
    found = received(5, frame(10, 9, first_kept=10))
    assert (found.verdict, found.lost, found.cursor, seqs(found)) == (Verdict.OK, (6, 9), cursor(9), [])


def test_an_overlap_that_agrees_gives_only_its_rest() -> None:
    found = received(5, frame(3, 9))
    assert (found.verdict, found.cursor, seqs(found)) == (Verdict.OK, cursor(9), [6, 7, 8, 9])


@pytest.mark.parametrize(("first", "last"), [(1, 3), (4, 5), (5, 5), (6, 5), (1, 0), (3, 2)])
def test_what_is_known_already_changes_nothing(first: int, last: int) -> None:
    found = received(5, frame(first, last))
    assert (found.verdict, found.cursor, found.fresh) == (Verdict.OK, cursor(5), ())


def test_what_was_declared_lost_and_comes_late_is_acknowledged_without_effect() -> None:
    found = receive(cursor(9), frame(6, 7), lambda _: None)
    assert (found.verdict, found.cursor, found.fresh) == (Verdict.OK, cursor(9), ())


@pytest.mark.parametrize(("first", "last"), [(4, 5), (4, 9), (6, 9), (2, 6), (5, 5), (6, 5), (5, 4)])
def test_what_contradicts_closes_the_epoch(first: int, last: int) -> None:
    found = received(5, frame(first, last, digests=THEIRS))
    assert (found.verdict, found.cursor, found.fresh) == (Verdict.FORKED, cursor(5, closed=True), ())


def test_a_closed_epoch_takes_nothing() -> None:
    found = received(5, frame(6, 9), closed=True)
    assert (found.verdict, found.fresh, found.cursor.closed) == (Verdict.FORKED, (), True)


def sender(acked: int = 0, head: int = 20, sent: tuple[int, ...] = ()) -> Sender:
    made = Sender(GATEWAY_ID, EPOCH, acked, head)
    for last in sent:
        made.dispatched(last, Echo(1, last))
    return made


def ack(through: int, echo: int = 0, digests: list[bytes] = OURS, **changes: Any) -> Ack:
    plain = Ack(
        VERSION, GATEWAY_ID, EPOCH, through, digests[through], None, Verdict.OK, [], 4, 0, Echo(1, echo)
    )
    return msgspec.structs.replace(plain, **changes)


def test_a_sender_plans_until_its_window_is_full_or_nothing_is_left() -> None:
    made = sender(head=3)
    plan = made.plan()
    assert plan is not None
    assert (plan.first, plan.bytes_max) == (1, FRAME_BYTES_MIN)
    made.dispatched(2, Echo(1, 1))
    assert (made.plan(), made.in_flight) == (None, 1)
    assert made.ack(ack(2, 1), digest_at) is AckOutcome.ADVANCED
    again = made.plan()
    assert again is not None
    assert again.first == 3
    made.dispatched(3, Echo(1, 2))
    assert made.plan() is None


def test_an_ack_advances_doubles_the_frame_and_widens_the_window() -> None:
    made = sender(sent=(2,))
    sizes, windows = [], []
    for seq in range(3, 12):
        assert made.ack(ack(seq - 1, seq - 1), digest_at) is AckOutcome.ADVANCED
        sizes.append(made.frame_bytes)
        windows.append(made.window)
        made.dispatched(seq, Echo(1, seq))
    assert sizes[:5] == [4096, 8192, 16384, 32768, 65536]
    assert sizes[-1] == FRAME_BYTES_MAX
    assert windows[:4] == [2, 3, 4, 4]
    assert max(windows) == WINDOW_MAX
    assert (made.acked, made.backlog, made.in_flight) == (10, 10, 1)


def test_the_cloud_can_ask_for_fewer_in_flight() -> None:
    made = sender(sent=(2,))
    made.ack(ack(2, 2, window=1), digest_at)
    assert made.window == 1


def test_a_repeated_ack_is_harmless_and_an_older_one_is_stale() -> None:
    made = sender(acked=5)
    assert made.ack(ack(5), digest_at) is AckOutcome.REPEATED
    assert made.ack(ack(3), digest_at) is AckOutcome.STALE
    assert made.ack(ack(3, expect=4, verdict=Verdict.GAP), digest_at) is AckOutcome.STALE
    assert made.acked == 5


@pytest.mark.parametrize("changes", [{"gateway": "ktm-drop-02"}, {"epoch": 7}], ids=str)
def test_an_ack_for_someone_else_is_foreign(changes: dict[str, Any]) -> None:
    assert sender().ack(ack(2, **changes), digest_at) is AckOutcome.FOREIGN


def test_a_gap_rewinds_once_however_often_it_is_told() -> None:
    made = sender(sent=(2, 4, 6))
    gap: dict[str, Any] = {"expect": 1, "verdict": Verdict.GAP}
    assert made.ack(ack(0, 4, **gap), digest_at) is AckOutcome.REWOUND
    assert (made.sent, made.in_flight) == (0, 0)
    made.dispatched(2, Echo(1, 7))
    assert made.ack(ack(0, 6, **gap), digest_at) is AckOutcome.REPEATED
    assert (made.sent, made.in_flight) == (2, 1)


def test_a_cloud_that_went_back_is_followed_back() -> None:
    made = sender(acked=10, sent=(12,))
    assert made.ack(ack(4, 12, expect=5, verdict=Verdict.GAP), digest_at) is AckOutcome.REWOUND
    assert (made.acked, made.sent) == (4, 4)


def test_a_cloud_that_went_back_beyond_what_is_kept_is_believed() -> None:
    made = sender(acked=10, sent=(12,))
    gap = ack(4, 12, THEIRS, expect=5, verdict=Verdict.GAP)
    assert made.ack(gap, lambda seq: digest_at(seq) if seq >= 9 else None) is AckOutcome.REWOUND
    assert made.acked == 4


def test_a_fork_ends_the_epoch_only_in_answer_to_our_own_frame() -> None:
    made = sender(acked=5, sent=(7,))
    assert made.ack(ack(5, 99, verdict=Verdict.FORKED), digest_at) is AckOutcome.STALE
    assert made.ack(ack(5, 7, verdict=Verdict.FORKED), digest_at) is AckOutcome.NEW_EPOCH


def test_a_cloud_that_knows_more_than_we_do_ends_the_epoch() -> None:
    made = sender(acked=2, head=6, sent=(5,))
    assert made.ack(ack(9, 99), digest_at) is AckOutcome.STALE
    assert made.ack(ack(9, 5), digest_at) is AckOutcome.NEW_EPOCH


def test_a_digest_that_differs_is_refused_and_answered_with_our_own_record() -> None:
    made = sender(acked=2, sent=(4, 8))
    assert made.ack(ack(6, 99, THEIRS), digest_at) is AckOutcome.MISMATCH
    assert (made.acked, made.sent, made.in_flight) == (2, 8, 2)
    assert made.ack(ack(6, 8, THEIRS), digest_at) is AckOutcome.MISMATCH
    plan = made.plan()
    assert plan is not None
    assert (made.acked, plan.first, made.in_flight) == (2, 6, 0)


def test_nothing_is_acknowledged_by_a_digest_nobody_here_can_check() -> None:
    assert sender(acked=2).ack(ack(6), lambda _: None) is AckOutcome.MISMATCH
    other_genesis = ack(0, head_digest=bytes(32))
    assert sender().ack(other_genesis, digest_at) is AckOutcome.MISMATCH


def test_a_stall_rewinds_halves_and_slows() -> None:
    made = sender(sent=(2,))
    made.ack(ack(2, 2), digest_at)
    made.dispatched(4, Echo(1, 4))
    made.stalled()
    assert (made.sent, made.in_flight, made.frame_bytes, made.window) == (2, 0, FRAME_BYTES_MIN, 1)


def test_a_lost_road_keeps_the_frame_size() -> None:
    made = sender(sent=(2,))
    made.ack(ack(2, 2), digest_at)
    made.dispatched(4, Echo(1, 4))
    made.road_lost()
    assert (made.sent, made.frame_bytes) == (2, 2 * FRAME_BYTES_MIN)


def test_the_last_record_says_hello_when_there_is_nothing_else() -> None:
    assert sender(head=0).hello() == Plan(1, FRAME_BYTES_MIN), "without records, to speak of older epochs"
    assert sender(acked=5).hello() is None
    made = sender(acked=20)
    plan = made.hello()
    assert plan is not None
    assert plan.first == 20
    made.dispatched(20, Echo(1, 50))
    assert made.hello() is None
    assert made.ack(ack(20, 50), digest_at) is AckOutcome.REPEATED


def test_what_the_journal_read_beyond_the_known_head_moves_the_head() -> None:
    made = sender(head=4)
    made.dispatched(6, Echo(1, 6))
    made.appended(5)
    assert made.head == 6
    assert made.ack(ack(6, 6), digest_at) is AckOutcome.ADVANCED


def test_only_an_answer_to_a_late_frame_of_ours_may_set_a_clock() -> None:
    made = sender(sent=(2,))
    assert made.answers(ack(2, 2))
    assert not made.answers(ack(2, 3))
    for seq in range(3, 70):
        made.dispatched(seq, Echo(1, seq))
    assert not made.answers(ack(2, 2))


def test_the_test_chains_part_after_the_third_record() -> None:
    assert OURS[:4] == THEIRS[:4]
    assert OURS[4] != THEIRS[4] == next_digest(OURS[3], b"another " + DATA[3])
