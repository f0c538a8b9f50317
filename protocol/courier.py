"""Courier files: the third road, carried on a stick or a phone.

    file = CBOR sequence (RFC 8742): ["reloop-courier", v, direction, gateway, created_ms], [type, bytes], …

Up: enrolment and frames. Down: documents, then acks. Every item is signed on its own, so a file that
was cut short is good up to the cut. Owns the file's shape; pure: streams are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING

import cbor2

from protocol import VERSION
from protocol.errors import CourierError
from protocol.topics import check_gateway_id

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = "reloop-courier"
ITEM_BYTES_MAX = 5 * 1024 * 1024


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
    cbor2.dump([_MAGIC, VERSION, header.direction.value, header.gateway, header.created_ms], stream)


def write_item(stream: IO[bytes], item: Item, data: bytes) -> None:
    """Append one signed item."""
    cbor2.dump([item.value, data], stream)


def read_header(stream: IO[bytes], expected: Direction) -> Header:
    """Read the header. Raises CourierError for another kind of file, version or direction."""
    match _next(stream):
        case [str(magic), int(version), str(direction), str(gateway), int(created_ms)] if magic == _MAGIC:
            if version != VERSION:
                raise CourierError(f"courier version {version} is not spoken here", code="courier.version")
            if direction != expected.value:
                raise CourierError(
                    f"this courier file travels {direction}, not {expected.value}", code="courier.direction"
                )
            return Header(Direction(direction), check_gateway_id(gateway), created_ms)
        case _:
            raise CourierError("this is not a courier file")


def read_items(stream: IO[bytes]) -> Iterator[tuple[Item, bytes]]:
    """Yield items until the end. Raises CourierError `courier.cut` if the file ends within one."""
    while stream.read(1):
        stream.seek(-1, 1)
        match _next(stream):
            case [str(name), bytes(data)] if (
                name in Item.__members__.values() and len(data) <= ITEM_BYTES_MAX
            ):
                yield Item(name), data
            case _:
                raise CourierError("a courier file's item is not as it should be")


def _next(stream: IO[bytes]) -> object:
    try:
        # One object at a time: a decoder that reads ahead would swallow the next.
        value: object = cbor2.load(stream, read_size=1)
    except (
        cbor2.CBORError,
        ValueError,
        TypeError,
        EOFError,
        RecursionError,
        OverflowError,
        MemoryError,
    ) as error:
        raise CourierError(f"the courier file is cut or damaged: {error}", code="courier.cut") from error
    return value
