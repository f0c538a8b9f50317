"""Frames: consecutive records on their way up, deflated, signed, the same bytes on every road.

    envelope = COSE_Sign1(FRAME, zlib(CBOR [v, gateway, epoch, first, first_kept, prev_digest,
                                            head_digest, [boot, mono_ms, wall_ms, clock], [record, …],
                                            ? [[epoch, acked, head, record], …]]))

Owns: building and opening frames, their limits, and that the chain inside adds up.
Does not own: whether the records can be read, nor where the frame fits (`delivery`).
"""

from __future__ import annotations

import zlib
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

import msgspec

from protocol import VERSION
from protocol.bodies import Seq
from protocol.cbor import Count, Digest, Int31, Int64, convert, decode, encode, require_version
from protocol.cose import Purpose, SigningKey, open_envelope
from protocol.errors import FrameError
from protocol.records import ClockQuality, next_digest
from protocol.topics import TopicError, check_gateway_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRAME_BYTES_MAX = 64 * 1024
"""Largest frame on the wire, deflated and signed."""
FRAME_EXPANDED_BYTES_MAX = 1024 * 1024
"""Largest frame once inflated: what a hostile sender may make us hold."""
FRAME_BYTES_MIN = 2 * 1024
"""Where frames start: on a link losing 40 % each way these pass and 64 KiB ones never do."""
FRAME_RECORDS_MAX = 16 * 1024
"""Most records of a frame, so that a hostile one cannot cost a million hashes."""
OLDER_MAX = 8
"""Older epochs that a frame speaks of, the newest: more are kept only by a gateway in deep trouble."""
OLDER_BYTES_MAX = 45
"""What each of them takes at most."""
_HEADER_ALLOWANCE = 512  # envelope and header take up to 300; the rest is deflate's own slack
_DEFLATE_LEVEL = 5  # on a backlog as small as level 9, in less than half the time
_INT64_MAX = 2**63 - 1


RecordId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class ClockSample(msgspec.Struct, array_like=True, frozen=True):
    """The gateway's clocks when the frame was built; echoed by the ack to measure the road."""

    boot: Int31
    mono_ms: Count
    wall_ms: Int64
    clock: ClockQuality


class Older(msgspec.Struct, array_like=True, frozen=True):
    """An older epoch that the gateway still holds: it ended at `head`, acknowledged through `acked`.

    `record` is the id of the record at `acked` (16 bytes; of the genesis digest if `acked` is 0).
    """

    epoch: Count
    acked: Count
    head: Count
    record: RecordId


class Frame(msgspec.Struct, array_like=True, frozen=True, dict=True):
    """A frame's content. `first` is the seq of `records[0]`, `first_kept` the oldest seq still held.

    `older` are epochs whose acknowledged records this epoch does not carry, because the cloud has them: one
    that was restored from a backup sees here what it lost. Left out on the wire where there are none.
    """

    v: int
    gateway: str
    epoch: Count
    first: Seq
    first_kept: Seq
    prev_digest: Digest
    head_digest: Digest
    sample: ClockSample
    records: list[bytes]
    older: tuple[Older, ...] = ()

    @property
    def last(self) -> int:
        """The seq of the last record; `first - 1` when the frame holds none."""
        return self.first + len(self.records) - 1

    def digests(self) -> list[bytes]:
        """The chain over the records: element i is the digest after record i (32 bytes each).

        Computed once per frame: opening, deciding and storing it all ask.
        """
        known: list[bytes] | None = self.__dict__.get("_chain")
        if known is None:
            known = list(accumulate(self.records, next_digest, initial=self.prev_digest))[1:]
            self.__dict__["_chain"] = known
        return known


def encode_frame(frame: Frame) -> bytes:
    """A frame's CBOR, before it is deflated and signed."""
    fields = msgspec.structs.astuple(frame)
    return encode(fields if frame.older else fields[:-1], "a frame", FrameError)


def build_frame(frame: Frame, key: SigningKey) -> bytes:
    """Encode, deflate and sign. Raises FrameError `frame.too_large` above the limits."""
    plain = encode_frame(frame)
    if (
        len(frame.records) > FRAME_RECORDS_MAX
        or len(frame.older) > OLDER_MAX
        or len(plain) > FRAME_EXPANDED_BYTES_MAX
    ):
        raise FrameError("the frame holds too many records or bytes", code="frame.too_large")
    data = key.sign(Purpose.FRAME, zlib.compress(plain, _DEFLATE_LEVEL))
    if len(data) > FRAME_BYTES_MAX:
        raise FrameError(f"the frame has {len(data)} bytes on the wire", code="frame.too_large")
    return data


def open_frame(data: bytes, key_for: Callable[[bytes], bytes | None]) -> Frame:
    """Verify, inflate and check a frame.

    `key_for` maps an 8-byte key id to a 32-byte public key or None. Raises EnvelopeError or
    SignatureError for what nobody known signed, FrameError (`frame.too_large`, `frame.malformed`,
    `frame.version`, `frame.chain`) for signed bytes that cannot be used.
    """
    if len(data) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(data)} bytes is over the limit", code="frame.too_large")
    return read_frame(open_envelope(data, Purpose.FRAME, key_for))


def read_frame(payload: bytes) -> Frame:
    """Read the verified payload of a frame's envelope; errors as `open_frame`."""
    value = decode(_inflate(payload), "a frame", FrameError)
    require_version(value, VERSION, "a frame", FrameError)
    frame = convert(value, Frame, "a frame", FrameError)
    try:
        check_gateway_id(frame.gateway)
    except TopicError as error:
        raise FrameError(f"a frame names no gateway: {error}") from error
    if len(frame.records) > FRAME_RECORDS_MAX:
        raise FrameError(f"a frame of {len(frame.records)} records is over the limit", code="frame.too_large")
    if len(frame.older) > OLDER_MAX:
        raise FrameError(f"a frame of {len(frame.older)} older epochs is over the limit")
    if frame.first_kept > frame.first or frame.last > _INT64_MAX:
        raise FrameError("a frame's seq is out of range")
    if (frame.digests() or [frame.prev_digest])[-1] != frame.head_digest:
        raise FrameError("a frame's records do not add up to its head digest", code="frame.chain")
    return frame


def _inflate(payload: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(payload, FRAME_EXPANDED_BYTES_MAX)
    except zlib.error as error:
        raise FrameError(f"a frame does not inflate: {error}") from error
    if inflater.unconsumed_tail and not inflater.eof:
        raise FrameError("a frame is over the limit when expanded", code="frame.too_large")
    if not inflater.eof or inflater.unused_data:
        raise FrameError("a frame does not end where its deflated data does")
    return plain


def fitting(records: Sequence[bytes], bytes_max: int) -> int:
    """How many of `records`, at least one, fit a frame of `bytes_max` bytes on the wire.

    Deflates as it counts, so the answer follows the data: a backlog of like records packs 4-6 times.
    """
    budget = min(bytes_max, FRAME_BYTES_MAX) - _HEADER_ALLOWANCE
    step = min(4096, budget)  # deflate holds data back; look at what it really made this often
    deflater = zlib.compressobj(_DEFLATE_LEVEL)
    wire = expanded = pending = fits = 0
    for count, data in enumerate(records, start=1):
        expanded += len(data) + 3
        pending += len(data) + 3
        wire += len(deflater.compress(data))
        if pending >= step or count == len(records):
            wire, pending = wire + len(deflater.flush(zlib.Z_SYNC_FLUSH)), 0
            if wire > budget or expanded > FRAME_EXPANDED_BYTES_MAX - 1024 or count > FRAME_RECORDS_MAX:
                break
            fits = count
    return max(fits, 1)
