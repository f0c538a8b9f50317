"""Whatever arrives, a decoder answers with a value or a ProtocolError, and soon."""

from __future__ import annotations

import random
import time
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import base45
import cbor2
import pytest

from protocol.acks import build_ack, open_ack
from protocol.bundle import peek_name, read_access, read_bundle
from protocol.cards import PREFIX, open_card
from protocol.codes import check_bin_code, claim_hash, gateway_code_secret
from protocol.cose import Purpose, parse
from protocol.courier import Direction, read_header, read_items
from protocol.documents import Name, open_document, read_part, split_document
from protocol.enrolment import open_enrolment
from protocol.errors import ProtocolError, RecordError
from protocol.frames import build_frame, open_frame
from protocol.records import decode_record, encode_record
from protocol.status import read_status, write_status
from protocol.topics import parse_topic
from tests.protocol import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INPUTS = 450  # of each of three sorts for each of 20 decoders: 27,000
SECONDS_MAX = 0.5


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def read_courier(data: bytes) -> object:
    stream = BytesIO(data)
    header = read_header(stream, Direction.UP)
    return header, list(read_items(stream))


def read_signed(purpose: Purpose, reader: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The reader behind a good signature: what a stolen gateway, or a cloud gone mad, could send."""
    return lambda payload: reader(samples.GATEWAY.sign(purpose, payload))


def opened_frame(data: bytes) -> object:
    return open_frame(data, samples.KEYS.get)


def deflated_frame(payload: bytes) -> object:
    return opened_frame(samples.GATEWAY.sign(Purpose.FRAME, zlib.compress(payload, 1)))


def opened_document(data: bytes) -> object:
    return open_document(data, Name.CATALOG, samples.KEYS.get)


def opened_ack(data: bytes) -> object:
    return open_ack(data, samples.KEYS.get)


def signed_card(payload: bytes) -> object:
    text = base45.b45encode(samples.GATEWAY.sign(Purpose.CARD, payload)).decode()
    return open_card(PREFIX + text, samples.KEYS.get)


def payload_of(data: bytes) -> bytes:
    return parse(data).payload


FRAME = build_frame(samples.sample_frame(), samples.GATEWAY)
RECORD = encode_record(samples.sample_records()[2])
CATALOG = samples.sample_documents()[Name.CATALOG]
ACK = build_ack(samples.sample_ack(), samples.ACK)
CARD_DATA = base45.b45decode(samples.card_text().removeprefix(PREFIX))

DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "record": (decode_record, RECORD),
    "frame": (opened_frame, FRAME),
    "signed frame": (deflated_frame, zlib.decompress(payload_of(FRAME))),
    "ack": (opened_ack, ACK),
    "signed ack": (read_signed(Purpose.ACK, opened_ack), payload_of(ACK)),
    "document": (opened_document, CATALOG),
    "signed document": (read_signed(Purpose.DOCUMENT, opened_document), payload_of(CATALOG)),
    "part": (read_part, split_document(Name.CATALOG, CATALOG)[0]),
    "name": (peek_name, CATALOG),
    "card": (
        lambda data: open_card(text_of(data), samples.KEYS.get),
        samples.card_text().encode(),
    ),
    "signed card": (signed_card, payload_of(CARD_DATA)),
    "enrolment": (open_enrolment, samples.sample_enrolment()),
    "courier": (read_courier, samples.sample_courier(Direction.UP)),
    "status": (read_status, write_status(samples.sample_status())),
    "bundle": (read_bundle, samples.sample_bundle()),
    "access": (read_access, b'{"gateway":"ktm-drop-01","root_public_key":"AA==","documents":[]}'),
    "topic": (lambda data: parse_topic(text_of(data)), b"reloop/v1/ktm-drop-01/doc/catalog"),
    "claim code": (lambda data: claim_hash(text_of(data)), samples.CLAIM_CODE.encode()),
    "gateway code": (lambda data: gateway_code_secret(text_of(data)), samples.GATEWAY_CODE.encode()),
    "bin code": (lambda data: check_bin_code(text_of(data)), b"RLB1:BIN-7"),
}


def noise(chance: random.Random, _: bytes) -> Iterator[bytes]:
    for _number in range(INPUTS):
        yield chance.randbytes(chance.choice((0, 1, 2, 5, 20, 100, 1000)))


def damaged(chance: random.Random, valid: bytes) -> Iterator[bytes]:
    """Bits flipped, bytes cut out, repeated, put in, and ends cut off."""
    for _number in range(INPUTS):
        data = bytearray(valid)
        for _time in range(chance.choice((1, 1, 1, 2, 8))):
            place = chance.randrange(len(data)) if data else 0
            match chance.randrange(5):
                case 0 if data:
                    data[place] ^= 1 << chance.randrange(8)
                case 1:
                    del data[place : place + chance.randrange(1, 9)]
                case 2:
                    data[place:place] = data[place : place + chance.randrange(1, 40)]
                case 3:
                    data[place:place] = chance.randbytes(chance.randrange(1, 9))
                case _:
                    del data[place:]
        yield bytes(data)


def odd_cbor(chance: random.Random, valid: bytes) -> Iterator[bytes]:
    """Well-formed CBOR of the wrong shape, and almost the right one with something odd in its place."""
    try:
        template = cbor2.loads(valid)
    except (cbor2.CBORError, ValueError):
        template = [1, "ktm-drop-01", 1, 1, b""]
    for _number in range(INPUTS):
        if chance.random() < 0.5 and isinstance(template, list):
            value = list(template)
            value[chance.randrange(len(value))] = odd(chance, 3)
            yield cbor2.dumps(value)
        else:
            yield chance.choice(ODD_BYTES) if chance.random() < 0.2 else cbor2.dumps(odd(chance, 4))


ODD_BYTES = [
    bytes.fromhex(text)
    for text in (
        *("9f0102ff", "bf0102ff", "5f4101ff", "7f6161ff", "ff", "f6", "f97e00", "fb7ff0000000000000"),
        *("9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff", "7bffffffffffffffff"),
        *("c074323031332d30332d32315432303a30343a30305a", "c249ffffffffffffffffff", "d81c81d81d00"),
        *("d9010281010203", "d82368282861612b292b", "a201010102", "a1f97e0001", "c48221196ab3", "d9d9f701"),
        *("81" * 5000, "a1" * 5000, "d818" * 3000, "d28443a10126a0f640", "82"),
    )
]


def odd(chance: random.Random, depth: int) -> object:
    scalars: tuple[object, ...] = (
        *(0, 1, -1, 23, 24, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**200, -(2**63) - 1),
        *(True, False, None, 1.0, float("nan"), float("inf"), "", "\0", "text", "PET\nX", "AAAA"),
        *(b"", b"\0" * 32, b"x" * 64, "é" * 40, samples.GATEWAY_ID, cbor2.undefined),
    )
    if depth == 0 or chance.random() < 0.4:
        return chance.choice(scalars)
    size = chance.randrange(0, 12)
    if chance.random() < 0.7:
        return [odd(chance, depth - 1) for _ in range(size)]
    return {
        chance.choice((4, 7, -70001, -70002, "a", b"b", None)): odd(chance, depth - 1) for _ in range(size)
    }


@pytest.mark.parametrize("sort", [noise, damaged, odd_cbor], ids=lambda sort: sort.__name__)
@pytest.mark.parametrize("name", DECODERS)
def test_only_a_protocol_error_comes_out(
    name: str, sort: Callable[[random.Random, bytes], Iterator[bytes]]
) -> None:
    decode, valid = DECODERS[name]
    for number, data in enumerate(sort(random.Random(f"{name} {sort.__name__}"), valid)):
        started_s = time.monotonic()
        error = outcome(lambda data=data: decode(data))  # type: ignore[misc]
        where = f"{name}, {sort.__name__} {number}, {data.hex()}: {error!r}"
        assert error is None or isinstance(error, ProtocolError), where
        assert error is None or (error.code.islower() and str(error)), where
        assert time.monotonic() - started_s < SECONDS_MAX, where


def outcome(call: Callable[[], object]) -> Exception | None:
    """What came out of the call, if not a value."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it was is the test
        return error
    return None


@pytest.mark.parametrize("name", sorted(set(DECODERS) - {"access"}))
def test_the_undamaged_message_is_taken(name: str) -> None:
    decode, valid = DECODERS[name]
    decode(valid)


@pytest.mark.parametrize("position", range(0, len(FRAME), 7))
def test_one_flipped_bit_in_a_frame_is_refused(position: int) -> None:
    data = bytearray(FRAME)
    data[position] ^= 1 << (position % 8)
    with pytest.raises(ProtocolError):
        opened_frame(bytes(data))


def test_a_record_of_any_flipped_bit_is_another_record_or_none() -> None:
    whole = decode_record(RECORD)
    for position in range(len(RECORD) * 8):
        data = bytearray(RECORD)
        data[position // 8] ^= 1 << (position % 8)
        try:
            changed = decode_record(bytes(data))
        except RecordError:
            continue
        assert changed != whole
