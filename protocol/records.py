"""Records: one journal entry each, encoded once, hashed into a chain, never re-encoded.

    record  = CBOR [code, boot, clock, base_ms, seq, mono_ms, body]     wall_ms = base_ms + mono_ms
    digest₀ = SHA-256("reloop/journal/1" ‖ gateway ‖ 0x00 ‖ epoch as 8 bytes)
    digestₙ = SHA-256(digestₙ₋₁ ‖ bytesₙ)

The wall time travels as its offset from the monotonic one, which stays constant while the clock is
steady: the pair costs a deflated backlog about three bytes a record instead of six.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from enum import IntEnum

import msgspec

from protocol.bodies import BODIES, Body, RecordCarried, Seq
from protocol.cbor import Count, Int31, Int64, convert, decode, encode
from protocol.errors import RecordError

RECORD_BYTES_MAX = 8 * 1024
"""A record longer than this is never journalled, and quarantined if one arrives."""

DIGEST_LENGTH = 32
_WRAPPING_BYTES = 128
_CARRIED_HEAD = b"\x87\x18\x18"  # an array of 7 that begins with the code of `record.carried`
_INT64_MAX = 2**63 - 1


class ClockQuality(IntEnum):
    """What the wall clock was worth when a record was written."""

    UNKNOWN = 0
    RESTORED = 1
    """Restored from the last shutdown: not earlier than then."""
    RTC = 2
    SYNCED = 3


class Record(msgspec.Struct, frozen=True, gc=False):
    """A decoded record. `boot` counts boots, `mono_ms` is since boot, `wall_ms` UTC as the clock said."""

    seq: int
    boot: int
    mono_ms: int
    wall_ms: int
    clock: ClockQuality
    body: Body

    @property
    def kind(self) -> str:
        """The record's kind, e.g. `weighing.recorded`."""
        return self.body.kind


class _Wire(msgspec.Struct, array_like=True, frozen=True, gc=False):
    code: int
    boot: Int31
    clock: ClockQuality
    base_ms: Int64
    seq: Seq
    mono_ms: Count
    body: list[object]


def encode_record(record: Record) -> bytes:
    """CBOR bytes of a record, read back before they are returned: what is journalled can be read.

    Raises RecordError: `record.too_large` above the limit, `record.malformed` if a field is out of its
    range. A carried record wraps one that kept the limit, so it may exceed it by its wrapping.
    """
    wire = [
        record.body.code,
        record.boot,
        record.clock,
        record.wall_ms - record.mono_ms,
        record.seq,
        record.mono_ms,
        record.body,
    ]
    data = encode(wire, f"a {record.kind} record", RecordError)
    _read(data)
    return data


def record_bytes_max(carried: bool) -> int:
    """Largest encoding allowed for a plain or a carried record."""
    return RECORD_BYTES_MAX + _WRAPPING_BYTES if carried else RECORD_BYTES_MAX


def decode_record(data: bytes) -> Record:
    """Read a record's bytes. Raises RecordError with code
    `record.too_large`, `record.malformed` or `record.unknown_kind`.
    """
    record = _read(data)
    # Refused here only: whoever carries an epoch over must never be stopped by a record it cannot read.
    if isinstance(record.body, RecordCarried) and record.body.data.startswith(_CARRIED_HEAD):
        raise RecordError("a carried record carries another; it must carry the innermost, whole")
    return record


def _read(data: bytes) -> Record:
    if len(data) > record_bytes_max(carried=data.startswith(_CARRIED_HEAD)):
        raise RecordError(f"a record of {len(data)} bytes is over the limit", code="record.too_large")
    try:
        wire = msgspec.convert(decode(data, "a record", RecordError), _Wire)
    except msgspec.ValidationError as error:
        raise RecordError(f"a record is not as it should be: {error}") from error
    kind = BODIES.get(wire.code)
    if kind is None:
        raise RecordError(f"kind {wire.code} is unknown to this version", code="record.unknown_kind")
    wall_ms = wire.base_ms + wire.mono_ms
    if abs(wall_ms) > _INT64_MAX:
        raise RecordError("a record's wall time is out of range")
    body = convert(wire.body, kind, f"a {kind.kind} record", RecordError)
    if [text for text in wire.body if type(text) is str and "\0" in text]:
        raise RecordError(f"a {kind.kind} record holds U+0000 in a text")
    return Record(wire.seq, wire.boot, wire.mono_ms, wall_ms, wire.clock, body)


def genesis_digest(gateway: str, epoch: int) -> bytes:
    """Digest before the first record of an epoch; 32 bytes."""
    return hashlib.sha256(b"reloop/journal/1" + gateway.encode() + b"\0" + struct.pack(">Q", epoch)).digest()


def next_digest(previous: bytes, data: bytes) -> bytes:
    """Digest after appending a record's bytes to the chain; 32 bytes."""
    return hashlib.sha256(previous + data).digest()


def record_id(digest: bytes) -> uuid.UUID:
    """A record's id for ever: a UUIDv8 (RFC 9562) of its digest's first 16 bytes."""
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | (8 << 76)
    value = value & ~(0b11 << 62) | (0b10 << 62)
    return uuid.UUID(int=value)
