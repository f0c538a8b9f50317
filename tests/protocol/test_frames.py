"""Frames: what is signed is bounded, adds up, and says its version before its shape."""

from __future__ import annotations

import random
import zlib
from typing import Any

import cbor2
import msgspec
import pytest

from protocol.cose import Purpose
from protocol.errors import EnvelopeError, FrameError, SignatureError
from protocol.frames import (
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    FRAME_EXPANDED_BYTES_MAX,
    FRAME_RECORDS_MAX,
    Frame,
    build_frame,
    fitting,
    open_frame,
)
from protocol.records import next_digest
from tests.protocol.samples import DOCUMENT, GATEWAY, KEYS, OTHER, sample_frame

FIELDS = list(Frame.__struct_fields__)


def signed(plain: bytes, tail: bytes = b"") -> bytes:
    return GATEWAY.sign(Purpose.FRAME, zlib.compress(plain, 9) + tail)


def wire(**changes: object) -> bytes:
    """A signed frame with fields replaced; `extra` is appended to them."""
    extra = changes.pop("extra", [])
    fields: dict[str, Any] = dict(zip(FIELDS, plain_fields(), strict=True)) | changes
    assert isinstance(extra, list)
    return signed(cbor2.dumps([*fields.values(), *extra]))


def plain_fields() -> list[Any]:
    found: list[Any] = msgspec.to_builtins(sample_frame(), builtin_types=(bytes,))
    return found


def refused(data: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        open_frame(data, KEYS.get)
    return caught.value.code


def with_records(records: list[bytes], first: int = 1) -> Frame:
    frame = sample_frame()
    head = frame.prev_digest
    for data in records:
        head = next_digest(head, data)
    return msgspec.structs.replace(frame, first=first, records=records, head_digest=head)


def test_a_frame_comes_back_as_it_was() -> None:
    frame = sample_frame()
    assert open_frame(build_frame(frame, GATEWAY), KEYS.get) == frame


def test_an_empty_frame_says_where_the_gateway_stands() -> None:
    frame = sample_frame(25, 0)
    assert open_frame(build_frame(frame, GATEWAY), KEYS.get).last == 24


def test_fields_added_by_a_later_version_are_passed_over() -> None:
    assert open_frame(wire(extra=["later", {"x": [1]}]), KEYS.get) == sample_frame()


@pytest.mark.parametrize("content", [[2], [2, "anything"], [0, 1, 2], [2**40, None]], ids=str)
def test_another_version_is_named_whatever_its_shape(content: list[object]) -> None:
    assert refused(signed(cbor2.dumps(content))) == "frame.version"


@pytest.mark.parametrize(
    "changes",
    [
        {"v": True},
        {"gateway": "KTM"},
        {"gateway": b"ktm-drop-01"},
        {"epoch": -1},
        {"epoch": 2**63},
        {"first": 0},
        {"first": 2**63 - 1},
        {"first": 2**63},
        {"first_kept": 0},
        {"first_kept": 2},
        {"prev_digest": b"short"},
        {"head_digest": bytes(33)},
        {"sample": [1, 2]},
        {"sample": [-1, 0, 0, 3]},
        {"sample": [1, 0, 2**63, 3]},
        {"sample": [1, 0, 0, 9]},
        {"records": ["text"]},
        {"records": None},
    ],
    ids=str,
)
def test_a_field_out_of_its_range_is_malformed(changes: dict[str, object]) -> None:
    assert refused(wire(**changes)) == "frame.malformed"


def test_records_that_do_not_add_up_break_the_chain() -> None:
    assert refused(wire(head_digest=bytes(32))) == "frame.chain"
    assert refused(wire(records=[])) == "frame.chain"


def test_a_frame_of_another_key_or_purpose_is_nobodys() -> None:
    with pytest.raises(SignatureError) as caught:
        open_frame(build_frame(sample_frame(), OTHER), KEYS.get)
    assert caught.value.code == "envelope.unknown_key"
    with pytest.raises(SignatureError):
        open_frame(DOCUMENT.sign(Purpose.DOCUMENT, b""), KEYS.get)
    with pytest.raises(EnvelopeError):
        open_frame(b"hello", KEYS.get)


def test_what_is_too_long_is_not_even_verified() -> None:
    with pytest.raises(FrameError) as caught:
        open_frame(bytes(FRAME_BYTES_MAX + 1), lambda _: pytest.fail("asked for a key"))
    assert caught.value.code == "frame.too_large"


def test_a_deflate_bomb_stops_at_1_mib() -> None:
    assert refused(signed(bytes(FRAME_EXPANDED_BYTES_MAX + 1))) == "frame.too_large"
    assert refused(signed(bytes(50 * FRAME_EXPANDED_BYTES_MAX))) == "frame.too_large"


def test_a_million_empty_records_are_too_many() -> None:
    assert refused(wire(records=[b""] * (FRAME_RECORDS_MAX + 1))) == "frame.too_large"


@pytest.mark.parametrize(
    "payload",
    [b"", b"not deflated", zlib.compress(b"\x81\x01")[:-1], zlib.compress(b"\x81\x01") + b"more"],
)
def test_a_payload_that_does_not_inflate_whole_is_malformed(payload: bytes) -> None:
    assert refused(GATEWAY.sign(Purpose.FRAME, payload)) == "frame.malformed"


def test_building_stops_at_each_limit() -> None:
    chance = random.Random(1)
    for records in ([chance.randbytes(8000)] * 12, [bytes(8000)] * 140, [b"x"] * (FRAME_RECORDS_MAX + 1)):
        frame = with_records(records if len(records) != 12 else [chance.randbytes(8000) for _ in range(12)])
        with pytest.raises(FrameError) as caught:
            build_frame(frame, GATEWAY)
        assert caught.value.code == "frame.too_large"


@pytest.mark.parametrize("seed", range(30))
def test_what_fits_can_always_be_built(seed: int) -> None:
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(1, 60)) for _ in range(chance.randrange(1, 50))]
    records = []
    for _ in range(chance.choice((1, 40, 900))):
        parts = chance.choices(words, k=chance.randrange(1, 30))
        records.append((b"".join(parts) + chance.randbytes(chance.choice((0, 3, 400))))[:8320])
    bytes_max = chance.choice((FRAME_BYTES_MIN, 8192, FRAME_BYTES_MAX, 10 * FRAME_BYTES_MAX))
    count = fitting(records, bytes_max)
    assert 1 <= count <= len(records)
    data = build_frame(with_records(records[:count]), GATEWAY)
    assert len(data) <= max(bytes_max, 9000)


def test_at_least_one_record_always_fits() -> None:
    assert fitting([random.Random(2).randbytes(8320)] * 3, FRAME_BYTES_MIN) == 1


def test_no_more_records_fit_than_a_frame_may_hold() -> None:
    assert fitting([b"x"] * (FRAME_RECORDS_MAX + 500), FRAME_BYTES_MAX) <= FRAME_RECORDS_MAX
