"""Courier files: the third road, carried on a stick or a phone.

    file = CBOR sequence (RFC 8742): ["reloop-courier", v, direction, gateway, created_ms], [type, bytes], …

Up: enrolment and frames. Down: documents, then acks. Every item is signed on its own, so a file that
was cut short is good up to the cut; items of a later version are skipped. Nobody signed the file itself:
it is read with a bound on everything, never by a general decoder.
Owns the file's shape; pure: streams are handed in, read once from front to back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING

import cbor2

from protocol import VERSION
from protocol.errors import CourierError
from protocol.topics import TopicError, check_gateway_id

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = "reloop-courier"
ITEM_BYTES_MAX = 5 * 1024 * 1024
"""A document with its envelope, and some room."""
_SCALAR_BYTES_MAX = 256
_FIELDS_MAX = 16
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY = range(5)  # CBOR major types, RFC 8949 §3.1


class Direction(StrEnum):
    """Which way a courier file travels."""

    UP = "up"
    DOWN = "down"


class Item(StrEnum):
    """What an item is."""

    ENROLMENT = "enrolment"
    FRAME = "frame"
    DOCUMENT = "document"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Header:
    """Who a courier file is from (up) or for (down), and when it was written (UTC milliseconds)."""

    direction: Direction
    gateway: str
    created_ms: int


def write_header(stream: IO[bytes], header: Header) -> None:
    """Begin a courier file."""
    check_gateway_id(header.gateway)
    cbor2.dump([_MAGIC, VERSION, header.direction.value, header.gateway, header.created_ms], stream)


def write_item(stream: IO[bytes], item: Item, data: bytes) -> None:
    """Append one signed item. Raises CourierError if no reader would take it."""
    if len(data) > ITEM_BYTES_MAX:
        raise CourierError(f"an item of {len(data)} bytes is over the limit", code="courier.too_large")
    cbor2.dump([item.value, data], stream)


def read_header(stream: IO[bytes], expected: Direction) -> Header:
    """Read the header. Raises CourierError for another kind of file, version, direction or a bad gateway."""
    match [_scalar(stream, _SCALAR_BYTES_MAX) for _ in range(_array(stream, stream.read(1)))]:
        case [str(magic), int(version), *_] if magic == _MAGIC and version != VERSION:
            raise CourierError(f"courier version {version} is not spoken here", code="courier.version")
        case [str(magic), _, str(direction), str(gateway), int(created_ms), *_] if magic == _MAGIC:
            if direction != expected.value:
                raise CourierError(
                    f"this courier file travels {direction}, not {expected.value}", code="courier.direction"
                )
            return Header(expected, _gateway(gateway), created_ms)
        case _:
            raise CourierError("this is not a courier file")


def read_items(stream: IO[bytes]) -> Iterator[tuple[Item, bytes]]:
    """Yield items until the end. Raises CourierError `courier.cut` if the file ends within one."""
    while first := stream.read(1):
        fields = _array(stream, first)
        item = [
            _scalar(stream, ITEM_BYTES_MAX if place == 1 else _SCALAR_BYTES_MAX) for place in range(fields)
        ]
        match item:
            case [str(name), bytes(data), *_]:
                if name in Item.__members__.values():
                    yield Item(name), data
            case _:
                raise CourierError("a courier file's item is not as it should be")


def _gateway(text: str) -> str:
    try:
        return check_gateway_id(text)
    except TopicError as error:
        raise CourierError(f"this courier file names no gateway: {error}") from error


def _array(stream: IO[bytes], first: bytes) -> int:
    major, count = _head(stream, first)
    if major != _ARRAY or count > _FIELDS_MAX:
        raise CourierError("this is not a courier file, or it is damaged")
    return count


def _scalar(stream: IO[bytes], bytes_max: int) -> int | str | bytes:
    major, argument = _head(stream, _exactly(stream, 1))
    if major == _UNSIGNED:
        return argument
    if major == _NEGATIVE:
        return -1 - argument
    if major not in {_BYTES, _TEXT}:
        raise CourierError("a courier file holds numbers, text and byte strings, nothing else")
    if argument > bytes_max:
        raise CourierError(f"a field of {argument} bytes is over the limit", code="courier.too_large")
    data = _exactly(stream, argument)
    return data if major == _BYTES else _text(data)


def _head(stream: IO[bytes], first: bytes) -> tuple[int, int]:
    """Major type and argument (RFC 8949 §3) of the item that begins with the byte `first`."""
    if not first:
        raise CourierError("this courier file is empty or cut", code="courier.cut")
    major, short = first[0] >> 5, first[0] & 31
    if short < 24:
        return major, short
    if short > 27:
        raise CourierError("a courier file has items of definite length only")
    return major, int.from_bytes(_exactly(stream, 1 << (short - 24)), "big")


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    if len(data) < count:
        raise CourierError("the courier file is cut; what came before the cut is good", code="courier.cut")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CourierError("a text in the courier file is not UTF-8") from error
