"""Records: encoded once, read anywhere, and never journalled if they could not be read."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest

from protocol import bodies
from protocol.bodies import BODIES, HolderKind
from protocol.errors import RecordError
from protocol.records import (
    RECORD_BYTES_MAX,
    ClockQuality,
    Record,
    decode_record,
    encode_record,
    genesis_digest,
    next_digest,
    record_bytes_max,
    record_id,
)
from tests.protocol.samples import COLLECTOR, GATEWAY_ID, NOW_MS, sample_bodies, sample_records

ZEROED = Record(1, 1, 5, NOW_MS, ClockQuality.RTC, bodies.ScaleZeroed("A9"))


def wire(**changes: object) -> bytes:
    """The bytes of ZEROED with fields of the outer array replaced."""
    fields: dict[str, Any] = {"code": 11, "boot": 1, "clock": 2, "base_ms": 0, "seq": 1, "mono_ms": 5}
    return cbor2.dumps(list((fields | {"body": ["A9"]} | changes).values()))


def refused(data: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        decode_record(data)
    return caught.value.code


def test_every_kind_has_a_sample_and_its_own_name() -> None:
    assert [type(body) for body in sample_bodies()] == list(BODIES.values())
    assert list(BODIES) == list(range(1, 26))
    assert len({body.kind for body in BODIES.values()}) == len(BODIES)


@pytest.mark.parametrize("record", sample_records(), ids=lambda record: record.kind)
def test_every_kind_comes_back_as_it_was(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("body", sample_bodies(), ids=lambda body: body.kind)
def test_fields_added_by_a_later_version_are_passed_over(body: bodies.Body) -> None:
    fields = cbor2.loads(encode_record(Record(1, 1, 5, NOW_MS, ClockQuality.RTC, body)))
    fields[6] += ["from the future", {"a": 1}, None]
    fields.append("and one outside")
    assert decode_record(cbor2.dumps(fields)).body == body


@pytest.mark.parametrize("kind", BODIES.values(), ids=lambda kind: kind.kind)
def test_a_body_of_an_older_version_lacks_only_fields_with_defaults(kind: type[bodies.Body]) -> None:
    sample = next(body for body in sample_bodies() if type(body) is kind)
    wire_fields = [field.required for field in msgspec.structs.fields(kind)]
    assert wire_fields == sorted(wire_fields, reverse=True)
    needed = wire_fields.count(True)
    fields = cbor2.loads(encode_record(Record(1, 1, 5, NOW_MS, ClockQuality.RTC, sample)))
    fields[6] = fields[6][:needed]
    assert type(decode_record(cbor2.dumps(fields)).body) is kind
    fields[6] = fields[6][: needed - 1]
    assert refused(cbor2.dumps(fields)) == "record.malformed"


@pytest.mark.parametrize("code", [0, 26, 1000, -1, 2**63])
def test_a_kind_of_a_later_version_is_named_unknown(code: int) -> None:
    assert refused(wire(code=code)) == "record.unknown_kind"


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 0},
        {"seq": -1},
        {"seq": 2**63},
        {"seq": True},
        {"seq": 1.0},
        {"boot": -1},
        {"boot": 2**31},
        {"mono_ms": -1},
        {"base_ms": 2**63},
        {"base_ms": 2**63 - 1},
        {"base_ms": None},
        {"clock": 4},
        {"code": "11"},
        {"body": "A9"},
        {"body": []},
        {"body": [b"A9"]},
        {"body": ["A\0"]},
    ],
    ids=str,
)
def test_a_field_out_of_its_range_is_malformed(changes: dict[str, object]) -> None:
    assert refused(wire(**changes)) == "record.malformed"


def test_a_mass_needs_32_bits() -> None:
    assert decode_record(wire(code=12, body=["A9", 2**31 - 1]))
    assert refused(wire(code=12, body=["A9", 2**31])) == "record.malformed"


def test_base64_text_is_not_taken_for_bytes() -> None:
    assert refused(wire(code=5, body=["ERITFBUWFxgC"])) == "record.malformed"


def test_a_record_of_8_kib_is_journalled_and_one_byte_more_is_not() -> None:
    def fault(length: int) -> Record:
        return Record(1, 1, 5, NOW_MS, ClockQuality.RTC, bodies.ScaleFaulted("", "", "x" * length))

    room = RECORD_BYTES_MAX - len(encode_record(fault(1000))) + 1000
    assert len(encode_record(fault(room))) == RECORD_BYTES_MAX
    with pytest.raises(RecordError) as caught:
        encode_record(fault(room + 1))
    assert caught.value.code == "record.too_large"


def test_the_largest_record_can_still_be_carried() -> None:
    wrapped = Record(
        2**63 - 1,
        2**31 - 1,
        2**63 - 1,
        NOW_MS,
        ClockQuality.RTC,
        bodies.RecordCarried(2**63 - 1, 2**63 - 1, bytes(32), bytes(RECORD_BYTES_MAX)),
    )
    assert RECORD_BYTES_MAX < len(encode_record(wrapped)) <= record_bytes_max(carried=True)


def test_a_carried_record_carries_the_innermost() -> None:
    carried = encode_record(sample_records()[23])  # record.carried
    again = Record(1, 1, 5, NOW_MS, ClockQuality.RTC, bodies.RecordCarried(1, 1, bytes(32), carried))
    data = encode_record(again)  # whoever carries over what it cannot read is not stopped
    with pytest.raises(RecordError, match="innermost"):
        decode_record(data)


@pytest.mark.parametrize(
    "record",
    [
        msgspec.structs.replace(ZEROED, seq=0),
        msgspec.structs.replace(ZEROED, boot=2**40),
        msgspec.structs.replace(ZEROED, body=bodies.ScaleZeroed("\ud800")),
        msgspec.structs.replace(ZEROED, body=bodies.ScaleTared("A9", 2**40)),
        msgspec.structs.replace(ZEROED, body=bodies.DocumentApplied("catalog", 1, 1, b"short")),
        msgspec.structs.replace(ZEROED, body=bodies.DepositOpened(HolderKind.CARD, None)),  # type: ignore[arg-type]
    ],
    ids=lambda record: record.kind,
)
def test_what_could_not_be_read_is_never_journalled(record: Record) -> None:
    with pytest.raises(RecordError) as caught:
        encode_record(record)
    assert caught.value.code == "record.malformed"


def test_the_wall_time_travels_as_its_offset_and_may_lie_before_1970() -> None:
    record = msgspec.structs.replace(ZEROED, wall_ms=-5)
    assert decode_record(encode_record(record)).wall_ms == -5
    assert cbor2.loads(encode_record(ZEROED))[3] == NOW_MS - 5


def test_digests_chain_and_separate_gateways_and_epochs() -> None:
    starts = {genesis_digest(GATEWAY_ID, 1), genesis_digest(GATEWAY_ID, 2), genesis_digest("ktm-drop-02", 1)}
    assert len(starts) == 3
    assert next_digest(bytes(32), b"a") != next_digest(bytes(32), b"b")


def test_a_record_id_is_a_uuid_of_version_8() -> None:
    found = record_id(bytes(range(32)))
    assert (found.version, found.variant) == (8, "specified in RFC 4122")
    assert record_id(b"\xff" * 32).version == 8


def test_the_collector_is_a_card_serial() -> None:
    assert decode_record(wire(code=5, body=[COLLECTOR])).body == bodies.PickupOpened(COLLECTOR)
