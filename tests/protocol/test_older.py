"""Older epochs in frames and acks: said only where there are any, bounded, and read by both generations."""

from __future__ import annotations

import zlib

import cbor2
import msgspec
import pytest

from protocol.acks import Verdict, build_ack, open_ack
from protocol.cose import Purpose
from protocol.delivery import AckOutcome, Cursor, Sender, forgot, receive_carried
from protocol.errors import AckError, FrameError
from protocol.frames import OLDER_BYTES_MAX, OLDER_MAX, Older, build_frame, encode_frame, open_frame
from protocol.records import next_digest
from tests.protocol import samples

MANY = tuple(Older(2**63 - 1, 2**63 - 1, 2**63 - 1, bytes(16)) for _ in range(OLDER_MAX))


def test_a_frame_says_nothing_of_older_epochs_where_there_are_none() -> None:
    frame = samples.sample_frame()
    assert len(cbor2.loads(encode_frame(frame))) == 9
    assert open_frame(build_frame(frame, samples.GATEWAY), samples.KEYS.get).older == ()
    with_older = samples.frame_with_older()
    assert open_frame(build_frame(with_older, samples.GATEWAY), samples.KEYS.get) == with_older


def test_older_epochs_take_the_room_that_is_kept_for_them() -> None:
    frame = samples.sample_frame()
    longer = msgspec.structs.replace(frame, older=MANY)
    assert len(encode_frame(longer)) - len(encode_frame(frame)) <= OLDER_MAX * OLDER_BYTES_MAX + 2


def test_more_older_epochs_than_the_limit_are_neither_written_nor_read() -> None:
    frame = msgspec.structs.replace(samples.sample_frame(), older=(*MANY, MANY[0]))
    with pytest.raises(FrameError):
        build_frame(frame, samples.GATEWAY)
    data = samples.GATEWAY.sign(Purpose.FRAME, zlib.compress(encode_frame(frame)))
    with pytest.raises(FrameError, match="older epochs"):
        open_frame(data, samples.KEYS.get)


def test_an_ack_says_that_the_cloud_forgot_only_where_it_did() -> None:
    plain, asking = samples.sample_ack(), samples.forgot_ack()
    assert len(build_ack(asking, samples.ACK)) > 0
    assert not open_ack(build_ack(plain, samples.ACK), samples.KEYS.get).forgot
    assert open_ack(build_ack(asking, samples.ACK), samples.KEYS.get).forgot


def test_a_cloud_forgot_what_was_acknowledged_and_is_not_there() -> None:
    frame = msgspec.structs.replace(
        samples.sample_frame(), older=(Older(1, 0, 9, bytes(16)), Older(2, 5, 9, bytes(16)))
    )
    assert forgot(frame, lambda older: older.epoch != 2)
    assert not forgot(frame, lambda older: older.epoch == 2), "of epoch 1 nothing was ever acknowledged"


@pytest.mark.parametrize(
    ("ours", "carries_all", "outcome"),
    [
        (True, True, AckOutcome.FORGOTTEN),
        (True, False, AckOutcome.ADVANCED),
        (False, True, AckOutcome.ADVANCED),
    ],
)
def test_only_an_answer_to_a_frame_of_ours_makes_us_carry_everything(
    ours: bool, carries_all: bool, outcome: AckOutcome
) -> None:
    ack = samples.forgot_ack()
    sender = Sender(ack.gateway, ack.epoch, 0, 2, carries_all=carries_all)
    if ours:
        sender.dispatched(2, ack.echo)
    assert sender.ack(ack, lambda _: ack.head_digest) is outcome
    assert sender.acked == 2


@pytest.mark.parametrize(
    ("first_kept", "ours", "outcome"),
    [
        (1, True, AckOutcome.FORGOTTEN),
        (2, True, AckOutcome.ADVANCED),
        (1, False, AckOutcome.ADVANCED),
    ],
)
def test_a_record_lost_by_a_restored_cloud_behind_what_a_twin_carried_is_carried_if_it_is_held(
    first_kept: int, ours: bool, outcome: AckOutcome
) -> None:
    ack = samples.missing_ack()
    sender = Sender(ack.gateway, ack.epoch, 0, 2)
    if ours:
        sender.dispatched(2, ack.echo)
    assert sender.ack(ack, lambda _: ack.head_digest, first_kept) is outcome


def test_an_ack_names_what_is_missing_only_where_something_is() -> None:
    missing = samples.missing_ack()
    assert open_ack(build_ack(missing, samples.ACK), samples.KEYS.get) == missing
    assert len(build_ack(missing, samples.ACK)) == len(build_ack(samples.forgot_ack(), samples.ACK)) + 1
    impossible = build_ack(msgspec.structs.replace(missing, missing=3), samples.ACK)
    with pytest.raises(AckError, match="cannot miss"):
        open_ack(impossible, samples.KEYS.get)


DIGEST = bytes(range(32))
HERE = Cursor(samples.GATEWAY_ID, 7, 10, DIGEST)


@pytest.mark.parametrize(
    ("seq", "previous", "taken", "verdict", "through", "lost"),
    [
        (11, DIGEST, False, Verdict.OK, 11, None),
        (11, bytes(32), False, Verdict.FORKED, 10, None),
        (14, bytes(32), False, Verdict.OK, 14, (11, 13)),
        (4, bytes(32), False, Verdict.OK, 10, None),
        (4, bytes(32), True, Verdict.FORKED, 10, None),
    ],
    ids=["next", "next of another side", "beyond a gap", "in a gap", "taken"],
)
def test_a_carried_record_moves_the_epoch_it_is_from(  # noqa: PLR0917
    seq: int, previous: bytes, taken: bool, verdict: Verdict, through: int, lost: tuple[int, int] | None
) -> None:
    digest = next_digest(previous, b"record")
    received = receive_carried(HERE, seq, previous, digest, taken=taken)
    assert (received.verdict, received.cursor.through, received.lost) == (verdict, through, lost)
    assert received.cursor.closed is (verdict is Verdict.FORKED)
    if through > HERE.through:
        assert received.cursor.digest == digest


def test_a_closed_epoch_moves_no_more() -> None:
    closed = Cursor(samples.GATEWAY_ID, 7, 10, DIGEST, closed=True)
    received = receive_carried(closed, 11, DIGEST, next_digest(DIGEST, b"record"), taken=False)
    assert (received.verdict, received.cursor) == (Verdict.FORKED, closed)
