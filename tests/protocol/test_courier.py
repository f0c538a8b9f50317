"""Courier files, enrolments and statuses: what nobody vouches for is read within bounds."""

from __future__ import annotations

import io
from io import BytesIO
from typing import Any

import cbor2
import msgspec
import pytest

from protocol.codes import gateway_code_secret
from protocol.cose import Purpose
from protocol.courier import (
    ITEM_BYTES_MAX,
    Direction,
    Header,
    Item,
    read_header,
    read_items,
    write_header,
    write_item,
)
from protocol.enrolment import (
    CSR_BYTES_MAX,
    ENROLMENT_BYTES_MAX,
    Enrolment,
    EnrolmentError,
    build_enrolment,
    open_enrolment,
    proof_of,
)
from protocol.errors import CourierError, EnvelopeError, ProtocolError, SignatureError
from protocol.status import Status, StatusError, read_status, write_status
from protocol.topics import TopicError
from tests.protocol.samples import (
    GATEWAY,
    GATEWAY_CODE,
    GATEWAY_ID,
    NOW_MS,
    OTHER,
    sample_courier,
    sample_status,
)

HEADER = ["reloop-courier", 1, "up", GATEWAY_ID, NOW_MS]
SECRET = gateway_code_secret(GATEWAY_CODE)


def read(data: bytes, direction: Direction = Direction.UP) -> list[tuple[Item, bytes]]:
    stream = BytesIO(data)
    read_header(stream, direction)
    return list(read_items(stream))


def refused(data: bytes, direction: Direction = Direction.UP) -> str:
    with pytest.raises(CourierError) as caught:
        read(data, direction)
    return caught.value.code


def file_of(*items: object, header: object = HEADER) -> bytes:
    return b"".join(cbor2.dumps(one) for one in (header, *items))


@pytest.mark.parametrize("direction", list(Direction))
def test_a_file_comes_back_as_it_was(direction: Direction) -> None:
    data = sample_courier(direction)
    assert read_header(BytesIO(data), direction) == Header(direction, GATEWAY_ID, NOW_MS)
    assert len(read(data, direction)) == 2


def test_a_stream_that_gives_little_at_a_time_and_cannot_seek_is_enough() -> None:
    class Drip(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._rest = data

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = min(3, len(buffer), len(self._rest))
            buffer[:size], self._rest = self._rest[:size], self._rest[size:]
            return size

    stream: Any = Drip(sample_courier(Direction.UP))
    read_header(stream, Direction.UP)
    assert [item for item, _ in read_items(stream)] == [Item.ENROLMENT, Item.FRAME]


def test_a_file_cut_anywhere_is_good_up_to_the_cut() -> None:
    data = sample_courier(Direction.UP)
    whole = read(data)
    seen = set()
    for end in range(len(data)):
        stream, items = BytesIO(data[:end]), []
        try:
            read_header(stream, Direction.UP)
            for item in read_items(stream):
                items.append(item)  # noqa: PERF402 - what came before the error counts
        except CourierError as error:
            assert error.code == "courier.cut", end  # noqa: PT017 - the items are looked at as well
        assert items == whole[: len(items)]
        seen.add(len(items))
    assert seen == {0, 1}


def test_fields_and_items_of_a_later_version_are_passed_over() -> None:
    data = file_of(["hologram", b"x"], ["frame", b"f", 1, "later"], header=[*HEADER, "later", -5, b"x"])
    assert read(data) == [(Item.FRAME, b"f")]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ([], "courier.malformed"),
        ("reloop-courier", "courier.malformed"),
        (["other", 1, "up", GATEWAY_ID, 1], "courier.malformed"),
        (["reloop-courier", 2], "courier.version"),
        (["reloop-courier", 1, "down", GATEWAY_ID, 1], "courier.direction"),
        (["reloop-courier", 1, "up", "x", 1], "courier.malformed"),
        (["reloop-courier", 1, "up", GATEWAY_ID, True], "courier.malformed"),
        (["reloop-courier", 1, "up", GATEWAY_ID, [1]], "courier.malformed"),
        (["reloop-courier", 1, "up", "x" * 300, 1], "courier.too_large"),
        ([0] * 17, "courier.malformed"),
    ],
    ids=str,
)
def test_another_header_has_its_own_code(header: object, code: str) -> None:
    assert refused(file_of(header=header)) == code


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x9f", b"\x9b" + b"\xff" * 8, b"\x85\x7b" + b"\xff" * 8, b"\x85\x61\xff"],
    ids=range(6),
)
def test_what_is_no_courier_file_is_refused_without_reading_on(data: bytes) -> None:
    assert refused(data + b"\0" * 50 if data else data).startswith("courier.")


@pytest.mark.parametrize("item", [[], ["frame"], ["frame", "text"], [1, b"x"], {"frame": b"x"}, 5], ids=str)
def test_an_item_of_another_shape_is_malformed(item: object) -> None:
    assert refused(file_of(item)) == "courier.malformed"


def test_an_item_is_bounded_on_both_sides() -> None:
    head = file_of() + b"\x82\x65frame\x5a" + (ITEM_BYTES_MAX + 1).to_bytes(4, "big")
    assert refused(head + b"x" * 10) == "courier.too_large"
    with pytest.raises(CourierError) as caught:
        write_item(BytesIO(), Item.FRAME, bytes(ITEM_BYTES_MAX + 1))
    assert caught.value.code == "courier.too_large"
    with pytest.raises(TopicError):
        write_header(BytesIO(), Header(Direction.UP, "x", 1))


def enrolment(**changes: object) -> bytes:
    body = Enrolment(1, GATEWAY_ID, GATEWAY.public, proof_of(GATEWAY_ID, GATEWAY.public, SECRET))
    fields = msgspec.structs.asdict(body) | changes
    extra = fields.pop("extra", [])
    return GATEWAY.sign(Purpose.ENROLMENT, cbor2.dumps([*fields.values(), *extra]))


def test_an_enrolment_is_signed_by_the_key_it_brings_and_proves_its_code() -> None:
    body = open_enrolment(build_enrolment(GATEWAY_ID, SECRET, GATEWAY))
    assert body.proof == proof_of(GATEWAY_ID, GATEWAY.public, SECRET)
    assert body.proof != proof_of("ktm-drop-02", GATEWAY.public, SECRET)
    assert open_enrolment(enrolment(csr=b"", extra=["later"])) == body
    assert body.csr == b""


def test_an_enrolment_may_ask_for_a_certificate_and_needs_no_code_once_the_key_is_known() -> None:
    body = open_enrolment(build_enrolment(GATEWAY_ID, b"", GATEWAY, b"a request"))
    assert (body.public_key, body.csr) == (GATEWAY.public, b"a request")
    largest = open_enrolment(build_enrolment("k" * 64, SECRET, GATEWAY, bytes(CSR_BYTES_MAX)))
    assert len(largest.csr) == CSR_BYTES_MAX


def test_an_enrolment_of_before_certificates_asks_for_none() -> None:
    short = [1, GATEWAY_ID, GATEWAY.public, proof_of(GATEWAY_ID, GATEWAY.public, SECRET)]
    assert open_enrolment(GATEWAY.sign(Purpose.ENROLMENT, cbor2.dumps(short))).csr == b""


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"v": 2, "gateway": 5}, EnrolmentError, "enrolment.version"),
        ({"gateway": "x"}, EnrolmentError, "enrolment.malformed"),
        ({"public_key": b"short"}, EnrolmentError, "enrolment.malformed"),
        ({"proof": b""}, EnrolmentError, "enrolment.malformed"),
        ({"csr": bytes(CSR_BYTES_MAX + 1)}, EnrolmentError, "enrolment.malformed"),
        ({"csr": "text"}, EnrolmentError, "enrolment.malformed"),
        ({"public_key": OTHER.public}, EnvelopeError, "envelope.malformed"),
    ],
    ids=str,
)
def test_a_wrong_enrolment_has_its_own_code(
    changes: dict[str, object], error: type[ProtocolError], code: str
) -> None:
    with pytest.raises(error) as caught:
        open_enrolment(enrolment(**changes))
    assert caught.value.code == code


def test_an_enrolment_whose_signature_is_broken_is_refused() -> None:
    data = bytearray(enrolment())
    data[-1] ^= 1
    with pytest.raises(SignatureError):
        open_enrolment(bytes(data))
    with pytest.raises(EnrolmentError):
        open_enrolment(bytes(ENROLMENT_BYTES_MAX + 1))


def test_a_status_is_json_that_passes_over_what_it_does_not_know() -> None:
    status = sample_status()
    assert read_status(write_status(status)) == status
    assert read_status(write_status(status)[:-1] + b',"later":[1]}') == status
    will = Status(False, GATEWAY_ID, 5, 1)
    assert write_status(will) == b'{"online":false,"gateway":"ktm-drop-01","epoch":5,"boot":1}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"online":true}',
        b'{"online":1,"gateway":"ktm-drop-01","epoch":1,"boot":1}',
        b'{"online":true,"gateway":"x","epoch":1,"boot":1}',
        b'{"online":true,"gateway":"ktm-drop-01","epoch":-1,"boot":1}',
        b'{"online":true,"gateway":"ktm-drop-01","epoch":9223372036854775808,"boot":1}',
        b'{"online":true,"gateway":"ktm-drop-01","epoch":1,"boot":1,"software":"\\u0000"}',
        b'{"online":true,"gateway":"ktm-drop-01","epoch":1,"boot":1,"software":"\xff"}',
        b" " * 5000,
    ],
    ids=range(10),
)
def test_a_status_that_cannot_be_kept_is_refused(data: bytes) -> None:
    with pytest.raises(StatusError):
        read_status(data)


def test_a_status_over_its_limit_is_not_sent() -> None:
    with pytest.raises(StatusError):
        write_status(msgspec.structs.replace(sample_status(), software="x" * 5000))
