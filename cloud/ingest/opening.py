"""Opens what arrived: whose is it, is it whole, can its records be read. Pure: keys are handed in.

Every way to fail is a typed refusal that names the gateway where that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.ingest.project import read_record
from cloud.ingest.views import Needs, Opened
from protocol.bodies import ManualEntered, RecordCarried, WeighingRecorded
from protocol.cose import Purpose, parse, verify
from protocol.errors import FrameError, ProtocolError, SignatureError
from protocol.frames import FRAME_BYTES_MAX, read_frame
from protocol.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protocol.cose import Envelope
    from protocol.errors import RecordError

ZLIB_HEADER = 0x78
"""First byte of a frame's deflated payload; an enrolment's is a CBOR array instead."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and whose it is."""

    gateway: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that arrived and is not taken in. `gateway` is empty where nobody vouches for one."""

    gateway: str
    code: str
    detail: str


def is_enrolment(envelope: Envelope) -> bool:
    """Tell an enrolment from a frame without verifying either."""
    return envelope.payload[:1] != bytes((ZLIB_HEADER,))


def take_apart(data: bytes) -> Envelope | Refusal:
    """The envelope of something that arrived."""
    if len(data) > FRAME_BYTES_MAX:
        return Refusal("", "frame.too_large", f"{len(data)} bytes are over the limit of {FRAME_BYTES_MAX}")
    try:
        return parse(data)
    except ProtocolError as error:
        return Refusal("", error.code, str(error))


def open_frame(
    envelope: Envelope, key_of: Callable[[bytes], Key | None], expected: str | None
) -> Opened | Refusal:
    """Verify and read a frame; `expected` is the gateway that the road says it is from, if it does."""
    key = key_of(envelope.key_id)
    if key is None:
        return Refusal("", "envelope.unknown_key", f"no key {envelope.key_id.hex()} is enrolled")
    try:
        frame = read_frame(verify(envelope, Purpose.FRAME, key.public_key))
    except SignatureError as error:
        return Refusal("", error.code, str(error))
    except FrameError as error:
        return Refusal(key.gateway, error.code, str(error))
    if frame.gateway != key.gateway or expected not in {None, frame.gateway}:
        detail = f"key of {key.gateway}, frame of {frame.gateway}, delivered as {expected or frame.gateway}"
        return Refusal(key.gateway, "frame.wrong_gateway", detail)
    records = [read_record(data) for data in frame.records]
    return Opened(frame, records, survey(records))


def survey(records: Sequence[Record | RecordError]) -> Needs:
    """What deciding on these records will need to know."""
    carried: set[int] = set()
    catalogs: set[bytes] = set()
    unpriced = False
    for record in records:
        if type(record) is not Record:
            continue
        body = record.body
        if type(body) is RecordCarried:
            carried.add(body.epoch)
            inner = read_record(body.data)
            body = inner.body if type(inner) is Record else body
        if type(body) is WeighingRecorded or type(body) is ManualEntered:
            unpriced = unpriced or body.points is None
            if body.catalog is not None:
                catalogs.add(body.catalog)
    return Needs(frozenset(carried), frozenset(catalogs), unpriced)
