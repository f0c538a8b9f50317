"""The strict door: what of CBOR is taken, and what is refused as the caller's own error."""

from __future__ import annotations

import cbor2
import msgspec
import pytest

from protocol.cbor import byte_string_head, convert, decode, encode
from protocol.errors import AckError


class Pair(msgspec.Struct, array_like=True):
    number: int
    data: bytes


def refused(data: bytes) -> str:
    with pytest.raises(AckError) as caught:
        decode(data, "an ack", AckError)
    assert caught.value.code == "ack.malformed"
    return str(caught.value)


def test_plain_values_come_through() -> None:
    value = [0, -1, "नेपाल", b"\0", None, True, {"a": [1]}, 1.5]
    assert decode(cbor2.dumps(value), "it", AckError) == value


def test_no_tag_is_ever_interpreted() -> None:
    for tag in (*range(300), 1004, 43000, 55799, 65535, 2**32, 2**64 - 1):
        head = cbor2.dumps(cbor2.CBORTag(tag, 0)) if tag > 300 else bytes((0xD9, *tag.to_bytes(2, "big"), 0))
        for content in (b"", b"\x60", b"\x80", b"\x41\x01", b"\x82\x01\x02"):
            refused(head[:-1] + (content or b"\x00"))


@pytest.mark.parametrize("data", ["9f01ff", "bf0102ff", "5f4101ff", "7f6161ff"])
def test_indefinite_lengths_are_refused(data: str) -> None:
    refused(bytes.fromhex(data))


def test_a_repeated_map_key_is_refused() -> None:
    refused(bytes.fromhex("a201010102"))


def test_bytes_after_the_value_are_refused() -> None:
    assert "do not belong" in refused(b"\x01\x02")
    assert "do not belong" in refused(cbor2.dumps([b"x" * 10_000]) + b"\0")


def test_nothing_is_not_a_value() -> None:
    refused(b"")


def test_nesting_stops_at_16() -> None:
    assert decode(b"\x81" * 15 + b"\x80", "it", AckError) is not None
    refused(b"\x81" * 17 + b"\x80")


def test_a_length_beyond_the_data_costs_nothing() -> None:
    for major in (2, 3, 4, 5):
        refused(bytes(((major << 5) | 27,)) + b"\x7f" * 8)


def test_text_never_passes_for_bytes() -> None:
    assert convert([1, b"AAAA"], Pair, "it", AckError).data == b"AAAA"
    with pytest.raises(AckError, match="it is not as it should be"):
        convert([1, "AAAA"], Pair, "it", AckError)


@pytest.mark.parametrize("number", [True, 1.0, "1", None])
def test_only_a_whole_number_passes_for_one(number: object) -> None:
    with pytest.raises(AckError):
        convert([number, b""], Pair, "it", AckError)


def test_what_cannot_be_written_is_a_typed_error() -> None:
    with pytest.raises(AckError, match="cannot be written"):
        encode(["\ud800"], "it", AckError)
    with pytest.raises(AckError):
        encode([object()], "it", AckError)


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65535, 65536, 200_000])
def test_a_byte_string_head_is_the_preferred_one(length: int) -> None:
    assert byte_string_head(length) + bytes(length) == cbor2.dumps(bytes(length))
