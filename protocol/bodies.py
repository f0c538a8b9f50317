"""What each kind of record says: one frozen struct per kind, an array on the wire.

A body may only ever gain fields at its end, with defaults; anything else is a new kind with a new
code. Masses are integer grams, references to other records are `seq` of the same epoch, text holds no
U+0000 (neither C strings nor Postgres can).
Owns: kinds and bodies. Does not own: their bytes (`records`), nor what the cloud makes of them.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar

import msgspec

from protocol.cbor import Count, Digest, Int64

Seq = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A record's place in its epoch, from 1."""
Grams = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A mass in grams; 32 bits are 2,147 tonnes."""
Rate = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""Points per kilogram. With `Grams`, points stay below 2⁵³ and so exact in any JSON reader."""
Points = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class HolderKind(IntEnum):
    """How the person at the kiosk identified themselves."""

    GUEST = 0
    """`holder` is the 16-byte hash of the claim code."""
    CARD = 1
    """`holder` is the serial of a signed member card."""
    TAG = 2
    """`holder` is the raw value of an unsigned RFID tag: an identifier, not a credential."""


class TareKind(IntEnum):
    """Where the tare of a weighing comes from (R 76 asks to tell them apart)."""

    NONE = 0
    WEIGHED = 1
    PRESET = 2


class Stability(IntEnum):
    """How it was shown that the reading was stable."""

    FLAG = 0
    """The scale's own stability flag."""
    WINDOW = 1
    """Samples of at least one second within one division."""
    MANUAL = 2
    """Entered by hand; no scale said so."""


class Outcome(StrEnum):
    """How a deposit or pickup ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of every body. `kind` is the name people read, `code` the number on the wire."""

    kind: ClassVar[str]
    code: ClassVar[int]


class DepositOpened(Body, frozen=True):
    """A person began a visit."""

    kind = "deposit.opened"
    code = 1
    holder_kind: HolderKind
    holder: bytes


class DepositClosed(Body, frozen=True):
    """The visit ended; the sums are over its weighings that were not voided."""

    kind = "deposit.closed"
    code = 2
    deposit: Seq
    outcome: Outcome
    weighings: Count
    net_g: Grams
    points: Points


class WeighingRecorded(Body, frozen=True):
    """One weighing with its evidence. `points` is None when no fresh catalogue was at hand.

    `catalog` is the digest of the catalogue shown; `raw` the scale's own frame, untouched.
    """

    kind = "weighing.recorded"
    code = 3
    holder_kind: HolderKind
    holder: bytes
    material: str
    points_per_kg: Rate | None
    catalog: Digest | None
    scale: str
    unit: str
    division_g: Grams
    stability: Stability
    tare_kind: TareKind
    tare_g: Grams
    deposit: Seq
    raw: bytes
    gross_g: Grams
    net_g: Grams
    points: Points | None


class WeighingVoided(Body, frozen=True):
    """The last weighing was taken back at the kiosk before the visit ended."""

    kind = "weighing.voided"
    code = 4
    deposit: Seq
    weighing: Seq
    reason: str


class PickupOpened(Body, frozen=True):
    """A collector began emptying bins; `collector` is a card serial."""

    kind = "pickup.opened"
    code = 5
    collector: bytes


class PickupClosed(Body, frozen=True):
    """The pickup ended; sums over its bins."""

    kind = "pickup.closed"
    code = 6
    pickup: Seq
    outcome: Outcome
    bins: Count
    net_g: Grams


class BinScanned(Body, frozen=True):
    """The collector scanned a bin's code."""

    kind = "bin.scanned"
    code = 7
    pickup: Seq
    bin: str


class BinWeighed(Body, frozen=True):
    """A bin was weighed and emptied."""

    kind = "bin.weighed"
    code = 8
    pickup: Seq
    bin: str
    scale: str
    unit: str
    division_g: Grams
    stability: Stability
    tare_kind: TareKind
    tare_g: Grams
    raw: bytes
    gross_g: Grams
    net_g: Grams
    emptied: bool = True


class BinEstimated(Body, frozen=True):
    """A bin was emptied with its mass marked as an estimate."""

    kind = "bin.estimated"
    code = 9
    pickup: Seq
    bin: str
    net_g: Grams
    emptied: bool = True


class CustodyHandedOver(Body, frozen=True):
    """Custody of the pickup's kilos passed between two different cards."""

    kind = "custody.handed_over"
    code = 10
    pickup: Seq
    giver: bytes
    taker: bytes
    net_g: Grams


class ScaleZeroed(Body, frozen=True):
    """The scale was set to zero."""

    kind = "scale.zeroed"
    code = 11
    scale: str


class ScaleTared(Body, frozen=True):
    """A container was weighed as tare."""

    kind = "scale.tared"
    code = 12
    scale: str
    tare_g: Grams


class ScaleFaulted(Body, frozen=True):
    """The scale went into, or came out of, a fault state."""

    kind = "scale.faulted"
    code = 13
    scale: str
    fault: str
    detail: str


class ScaleCalibrated(Body, frozen=True):
    """The scale was verified or calibrated; stamp and its last valid day."""

    kind = "scale.calibrated"
    code = 14
    scale: str
    stamp: str
    valid_until: str


class DeviceAttached(Body, frozen=True):
    """A device answered."""

    kind = "device.attached"
    code = 15
    device: str
    detail: str


class DeviceDetached(Body, frozen=True):
    """A device went away."""

    kind = "device.detached"
    code = 16
    device: str
    detail: str


class ClockSynced(Body, frozen=True):
    """The wall clock became trustworthy: it was `before_ms`, it is this record's wall time."""

    kind = "clock.synced"
    code = 17
    before_ms: Int64
    source: str


class GatewayStarted(Body, frozen=True):
    """The agent started."""

    kind = "gateway.started"
    code = 18
    version: str
    boot_id: str
    reason: str


class GatewayStopped(Body, frozen=True):
    """The agent stopped on purpose."""

    kind = "gateway.stopped"
    code = 19
    reason: str


class IntakeSuspended(Body, frozen=True):
    """The kiosk takes no weighings until `intake.resumed`."""

    kind = "intake.suspended"
    code = 20
    reason: str


class IntakeResumed(Body, frozen=True):
    """The kiosk takes weighings again."""

    kind = "intake.resumed"
    code = 21
    reason: str


class DocumentApplied(Body, frozen=True):
    """A downlink document took effect."""

    kind = "document.applied"
    code = 22
    name: str
    generation: Count
    version: Count
    digest: Digest


class ManualEntered(Body, frozen=True):
    """A mass entered by hand because the scale could not be used; `by` is a steward's card."""

    kind = "manual.entered"
    code = 23
    holder_kind: HolderKind
    holder: bytes
    material: str
    points_per_kg: Rate | None
    catalog: Digest | None
    deposit: Seq
    by: bytes
    reason: str
    net_g: Grams
    points: Points | None


class RecordCarried(Body, frozen=True):
    """A record of an older epoch, whole; its identity stays SHA-256(prev_digest ‖ data)."""

    kind = "record.carried"
    code = 24
    epoch: Count
    seq: Seq
    prev_digest: Digest
    data: bytes


class ClockHeard(Body, frozen=True):
    """It was not earlier than `server_ms`, a time that the cloud signed, when this was written; it may have
    been later by however long that took to get here. Said while no clock is synchronised."""

    kind = "clock.heard"
    code = 25
    server_ms: Int64


BODIES: dict[int, type[Body]] = {body.code: body for body in Body.__subclasses__()}
"""Every kind this version knows, by wire code."""
