"""Acks: the cloud's signed word that Postgres has committed everything up to `through`.

    envelope = COSE_Sign1(ACK, CBOR [v, gateway, epoch, through, head_digest, expect, verdict,
                                     [[seq, code], …], window, server_time_ms, [boot, mono_ms],
                                     ? forgot, ? missing])

Cumulative and idempotent: losing one is harmless, and an old one moves nothing backwards unless the
cloud itself went back, which it says with `expect`. The key id is in the envelope.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from protocol import VERSION
from protocol.bodies import Seq
from protocol.cbor import Count, Digest, Int31, Int64, convert, decode, encode, require_version
from protocol.cose import Purpose, SigningKey, open_envelope
from protocol.errors import AckError

if TYPE_CHECKING:
    from collections.abc import Callable

QUARANTINED_MAX = 64
"""An ack names at most this many quarantined records; the cloud's list is complete."""
ACK_BYTES_MAX = 8 * 1024


class Verdict(IntEnum):
    """What the cloud made of the frame that this ack answers."""

    OK = 0
    GAP = 1
    """Records before the frame are missing: rewind to `expect`."""
    FORKED = 2
    """The chain contradicts what is committed: this epoch is closed, open a new one and carry over."""


class Echo(msgspec.Struct, array_like=True, frozen=True):
    """The frame's (boot, mono_ms), returned so that a replayed ack cannot set the time."""

    boot: Int31
    mono_ms: Count


class Quarantined(msgspec.Struct, array_like=True, frozen=True):
    """One record that was stored but not applied, and why."""

    seq: Seq
    code: str


class Ack(msgspec.Struct, array_like=True, frozen=True):
    """A commit receipt. `window` is how many frames the cloud wants in flight at most.

    `forgot`: the cloud does not have all that it once acknowledged of the older epochs which the frame names.
    `missing`: the last seq up to `through` that it does not have of this epoch, 0 for none or not looked for.
    Both are left out on the wire where they say nothing.
    """

    v: int
    gateway: str
    epoch: Count
    through: Count
    head_digest: Digest
    expect: Seq | None
    verdict: Verdict
    quarantined: list[Quarantined]
    window: Seq
    server_time_ms: Int64
    echo: Echo
    forgot: bool = False
    missing: Count = 0


def build_ack(ack: Ack, key: SigningKey) -> bytes:
    """Encode and sign an ack. Raises AckError `ack.too_large` if no gateway would take it."""
    fields = msgspec.structs.astuple(ack)
    said = fields if ack.missing else fields[:-1] if ack.forgot else fields[:-2]
    data = key.sign(Purpose.ACK, encode(said, "an ack", AckError))
    if len(data) > ACK_BYTES_MAX or len(ack.quarantined) > QUARANTINED_MAX:
        raise AckError(f"an ack of {len(data)} bytes is over the limit", code="ack.too_large")
    return data


def open_ack(data: bytes, key_for: Callable[[bytes], bytes | None]) -> Ack:
    """Verify and read an ack. Raises EnvelopeError, SignatureError or AckError."""
    if len(data) > ACK_BYTES_MAX:
        raise AckError(f"an ack of {len(data)} bytes is over the limit", code="ack.too_large")
    value = decode(open_envelope(data, Purpose.ACK, key_for), "an ack", AckError)
    require_version(value, VERSION, "an ack", AckError)
    ack = convert(value, Ack, "an ack", AckError)
    if ack.expect not in (None, ack.through + 1):
        raise AckError(f"an ack through {ack.through} cannot expect {ack.expect}")
    if ack.missing > ack.through:
        raise AckError(f"an ack through {ack.through} cannot miss {ack.missing}")
    return ack
