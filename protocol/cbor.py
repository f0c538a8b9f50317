"""The one door through which CBOR made by others becomes values.

Owns: what of RFC 8949 we take: no tags, no indefinite lengths, no repeated map keys, no bytes after the
value, 16 levels at most; and that whatever is wrong becomes the caller's own typed error.
Does not own: what the values mean.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import cbor2
import msgspec

if TYPE_CHECKING:
    from protocol.errors import ProtocolError

DEPTH_MAX = 16
"""Deepest nesting taken; our own messages need 4."""
INT64_MAX = 2**63 - 1

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=INT64_MAX)]
"""A whole number that fits a signed 64-bit integer: a C gateway and a database column hold it."""
Count = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
"""A number that never runs below 0."""
Int31 = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""A small counter, such as the number of boots."""
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A SHA-256 digest."""

_ShapeT = TypeVar("_ShapeT")
# Tags that cbor2 would turn into dates, sets, big numbers, cycles or compiled patterns; it hands every
# other tag to `tag_hook`. tests/protocol/test_cbor.py tries them all.
_KNOWN_TAGS = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54),
    *(100, 256, 258, 260, 261, 1004, 43000, 55799),
)
FAILURES = (
    cbor2.CBORError,
    msgspec.ValidationError,
    ValueError,
    TypeError,
    EOFError,
    RecursionError,
    OverflowError,
    MemoryError,
)
"""All that decoding or encoding can raise on values nobody expected."""


def _refuse(*_: object) -> NoReturn:
    raise ValueError("tags are not used here")


_REFUSED = dict.fromkeys(_KNOWN_TAGS, _refuse)


def decode(data: bytes, what: str, error: type[ProtocolError]) -> object:
    """The one value that `data` is. Raises `error`, naming `what`, if it is anything else."""
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=_refuse,
        semantic_decoders=_REFUSED,
        max_depth=DEPTH_MAX,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    try:
        value: object = decoder.decode()
    except FAILURES as failure:
        raise error(f"{what} is not the CBOR we take: {failure}") from failure
    if stream.tell() != len(data):
        raise error(f"{what} is followed by bytes that do not belong to it")
    return value


def convert(value: object, shape: type[_ShapeT], what: str, error: type[ProtocolError]) -> _ShapeT:
    """`value` as `shape`, types as they are on the wire (text never passes for bytes); raises `error`."""
    try:
        return msgspec.convert(value, shape, builtin_types=(bytes,))
    except FAILURES as failure:
        raise error(f"{what} is not as it should be: {failure}") from failure


def encode(value: object, what: str, error: type[ProtocolError]) -> bytes:
    """CBOR of a struct or of plain values, in the preferred (shortest) form; raises `error`."""
    try:
        return cbor2.dumps(msgspec.to_builtins(value, builtin_types=(bytes,)))
    except FAILURES as failure:
        raise error(f"{what} cannot be written: {failure}") from failure


def require_version(value: object, version: int, what: str, error: type[ProtocolError]) -> None:
    """Refuse a message whose first field is another version, before its shape is looked at.

    Raises `error` with the code `<root of its code>.version`.
    """
    match value:
        case [int(spoken), *_] if spoken != version:
            code = error.code.partition(".")[0] + ".version"
            raise error(f"{what} speaks version {spoken}; here it is {version}: update this side", code=code)
        case _:
            pass


def byte_string_head(length: int) -> bytes:
    """The bytes that announce a byte string of `length` < 2³² bytes, in the shortest form."""
    if length < 24:
        return bytes((0x40 + length,))
    if length < 1 << 8:
        return bytes((0x58, length))
    if length < 1 << 16:
        return b"\x59" + length.to_bytes(2, "big")
    return b"\x5a" + length.to_bytes(4, "big")
