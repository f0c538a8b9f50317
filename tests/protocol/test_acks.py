"""Acks: read by whoever holds the cloud's key, within their ranges."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest

from protocol.acks import ACK_BYTES_MAX, QUARANTINED_MAX, Ack, Quarantined, build_ack, open_ack
from protocol.cose import Purpose
from protocol.errors import AckError, SignatureError
from tests.protocol.samples import ACK, GATEWAY, KEYS, gap_ack, sample_ack


def wire(**changes: object) -> bytes:
    extra = changes.pop("extra", [])
    assert isinstance(extra, list)
    plain: list[Any] = msgspec.to_builtins(sample_ack(), builtin_types=(bytes,))
    fields = dict(zip(Ack.__struct_fields__, plain, strict=True)) | changes
    return ACK.sign(Purpose.ACK, cbor2.dumps([*fields.values(), *extra]))


def refused(data: bytes) -> str:
    with pytest.raises(AckError) as caught:
        open_ack(data, KEYS.get)
    return caught.value.code


@pytest.mark.parametrize("ack", [sample_ack(), gap_ack()], ids=["receipt", "gap"])
def test_an_ack_comes_back_as_it_was(ack: Ack) -> None:
    assert open_ack(build_ack(ack, ACK), KEYS.get) == ack


def test_fields_added_by_a_later_version_are_passed_over() -> None:
    assert open_ack(wire(extra=[1, "later"]), KEYS.get) == sample_ack()


def test_another_version_is_named_whatever_its_shape() -> None:
    assert refused(ACK.sign(Purpose.ACK, cbor2.dumps([2, "anything"]))) == "ack.version"


@pytest.mark.parametrize(
    "changes",
    [
        {"through": -1},
        {"through": 2**63},
        {"head_digest": b""},
        {"expect": 7},
        {"expect": 0},
        {"verdict": 3},
        {"window": 0},
        {"window": 2**64 - 1},
        {"epoch": -1},
        {"server_time_ms": 2**63},
        {"quarantined": [[0, "x"]]},
        {"quarantined": [[1]]},
        {"echo": [1]},
        {"gateway": None},
    ],
    ids=str,
)
def test_a_field_out_of_its_range_is_malformed(changes: dict[str, object]) -> None:
    assert refused(wire(**changes)) == "ack.malformed"


def test_an_ack_signed_by_a_gateway_or_for_a_frame_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_ack(ACK.sign(Purpose.FRAME, b""), KEYS.get)
    with pytest.raises(SignatureError):
        open_ack(build_ack(sample_ack(), GATEWAY), {ACK.key_id: ACK.public}.get)


def test_no_ack_is_made_that_no_gateway_would_take() -> None:
    many = [Quarantined(seq, "x") for seq in range(1, QUARANTINED_MAX + 2)]
    for held in (many, [Quarantined(1, "x" * ACK_BYTES_MAX)]):
        with pytest.raises(AckError) as caught:
            build_ack(msgspec.structs.replace(sample_ack(), quarantined=held), ACK)
        assert caught.value.code == "ack.too_large"
    assert refused(bytes(ACK_BYTES_MAX + 1)) == "ack.too_large"
