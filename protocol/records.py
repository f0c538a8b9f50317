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

import cbor2
import msgspec

from protocol.bodies import BODIES, Body, RecordCarried
from protocol.errors import RecordError

RECORD_BYTES_MAX = 8 * 1024
"""A record longer than this is never journalled, and quarantined if one arrives."""

DIGEST_LENGTH = 32
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
    boot: int
    clock: ClockQuality
    base_ms: int
    seq: int
    mono_ms: int
    body: list[object]


def encode_record(record: Record) -> bytes:
    """CBOR bytes of a record. Raises RecordError `record.too_large` above RECORD_BYTES_MAX.

    A carried record wraps one that kept the limit, so it may exceed it by its wrapping of 128 bytes.
    """
    fields = msgspec.structs.astuple(record.body)
    data = cbor2.dumps(
        [
            record.body.code,
            record.boot,
            int(record.clock),
            record.wall_ms - record.mono_ms,
            record.seq,
            record.mono_ms,
            list(fields),
        ]
    )
    if len(data) > record_bytes_max(type(record.body) is RecordCarried):
        raise RecordError(f"a record of {len(data)} bytes is over the limit", code="record.too_large")
    return data


def record_bytes_max(carried: bool) -> int:
    """Largest encoding allowed for a plain or a carried record."""
    return RECORD_BYTES_MAX + 128 if carried else RECORD_BYTES_MAX


def decode_record(data: bytes) -> Record:
    """Read a record's bytes. Raises RecordError with code
    `record.too_large`, `record.malformed` or `record.unknown_kind`.
    """
    if len(data) > RECORD_BYTES_MAX + 128:
        raise RecordError(f"a record of {len(data)} bytes is over the limit", code="record.too_large")
    try:
        wire = msgspec.convert(cbor2.loads(data), _Wire)
    except (cbor2.CBORError, msgspec.ValidationError, *_DECODE_ERRORS) as error:
        raise RecordError(f"a record cannot be read: {error}") from error
    kind = BODIES.get(wire.code)
    if kind is None:
        raise RecordError(f"kind {wire.code} is unknown to this version", code="record.unknown_kind")
    if len(data) > record_bytes_max(kind is RecordCarried):
        raise RecordError(f"a record of {len(data)} bytes is over the limit", code="record.too_large")
    return _record(wire, kind)


def _record(wire: _Wire, kind: type[Body]) -> Record:
    wall_ms = wire.base_ms + wire.mono_ms
    if not (0 < wire.seq <= _INT64_MAX and 0 <= wire.mono_ms <= _INT64_MAX and 0 <= wire.boot <= _INT64_MAX):
        raise RecordError("a record's seq, boot or monotonic time is out of range")
    if abs(wall_ms) > _INT64_MAX:
        raise RecordError("a record's wall time is out of range")
    try:
        body = msgspec.convert(wire.body, kind)
    except msgspec.ValidationError as error:
        raise RecordError(f"a {kind.kind} record cannot be read: {error}") from error
    return Record(wire.seq, wire.boot, wire.mono_ms, wall_ms, wire.clock, body)


_DECODE_ERRORS = (ValueError, TypeError, EOFError, RecursionError, OverflowError, MemoryError)


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
