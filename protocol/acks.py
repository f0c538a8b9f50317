"""Acks: the cloud's signed word that Postgres has committed everything up to `through`.

    envelope = COSE_Sign1(ACK, CBOR [v, gateway, epoch, through, head_digest, expect, verdict,
                                     [[seq, code], …], window, server_time_ms, [boot, mono_ms]])

Cumulative and idempotent: losing one is harmless, and an old one moves nothing backwards unless the
cloud itself went back, which it says with `expect`. The key id is in the envelope.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import cbor2
import msgspec

from protocol import VERSION
from protocol.cose import Purpose, SigningKey, open_envelope
from protocol.errors import AckError
from protocol.records import DIGEST_LENGTH

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

    boot: int
    mono_ms: int


class Quarantined(msgspec.Struct, array_like=True, frozen=True):
    """One record that was stored but not applied, and why."""

    seq: int
    code: str


class Ack(msgspec.Struct, array_like=True, frozen=True):
    """A commit receipt. `window` is how many frames the cloud wants in flight at most."""

    v: int
    gateway: str
    epoch: int
    through: int
    head_digest: bytes
    expect: int | None
    verdict: Verdict
    quarantined: list[Quarantined]
    window: int
    server_time_ms: int
    echo: Echo


def build_ack(ack: Ack, key: SigningKey) -> bytes:
    """Encode and sign an ack."""
    return key.sign(Purpose.ACK, cbor2.dumps(msgspec.to_builtins(ack, builtin_types=(bytes,))))


def open_ack(data: bytes, key_for: Callable[[bytes], bytes | None]) -> Ack:
    """Verify and read an ack. Raises EnvelopeError, SignatureError or AckError."""
    if len(data) > ACK_BYTES_MAX:
        raise AckError(f"an ack of {len(data)} bytes is over the limit")
    payload = open_envelope(data, Purpose.ACK, key_for)
    try:
        ack = msgspec.convert(cbor2.loads(payload), Ack)
    except (
        cbor2.CBORError,
        msgspec.ValidationError,
        ValueError,
        TypeError,
        EOFError,
        RecursionError,
    ) as error:
        raise AckError(f"an ack cannot be read: {error}") from error
    if ack.v != VERSION:
        raise AckError(f"ack version {ack.v} is not spoken here", code="ack.version")
    if ack.through < 0 or len(ack.head_digest) != DIGEST_LENGTH or ack.window < 1:
        raise AckError("an ack's fields are out of range")
    return ack
