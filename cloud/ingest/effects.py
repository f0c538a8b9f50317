"""What a decision asks of the database: rows as plain tuples in the column order of their tables.

Ids are 16 bytes, times microseconds since 2000-01-01 UTC (Postgres's own epoch), masses grams.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cloud.ingest.sightings import Sightings
from protocol.bodies import HolderKind

if TYPE_CHECKING:
    from cloud.ingest.views import EpochKey, Gap
    from protocol.acks import Echo, Verdict
    from protocol.delivery import Cursor

RecordRow = tuple[str, int, int, bytes, int, bytes, bytes, "int | None", "int | None"]
"""gateway, epoch, seq, id, kind, digest, data, carrying epoch and seq."""


class DepositRow(NamedTuple):
    """A visit. `closed_us` None: still open, or closed by a later record."""

    id: bytes
    gateway: str
    epoch: int
    seq: int
    holder: int
    opened_us: int
    closed_us: int | None
    outcome: str | None


class ClosingRow(NamedTuple):
    """The end, recorded at `own`, of the visit at `seq`, which was opened in an earlier batch."""

    id: bytes
    gateway: str
    epoch: int
    own: int
    seq: int
    at_us: int
    outcome: str
    data: bytes


class WeighingRow(NamedTuple):
    """A weighing to credit. `holder` numbers the effects' holders; `points_shown` -1: none were."""

    id: bytes
    gateway: str
    epoch: int
    seq: int
    deposit_seq: int
    drop_point: bytes | None
    holder: int
    material: str
    gross_g: int
    tare_g: int
    net_g: int
    points_per_kg: int
    points: int
    points_shown: int
    recorded_us: int
    boot: int
    mono_ms: int
    clock: int
    tare_kind: int
    late_catalog: bool
    manual: bool
    pending: bool


class VoidRow(NamedTuple):
    """A weighing taken back."""

    id: bytes
    gateway: str
    epoch: int
    seq: int
    weighing_seq: int
    data: bytes


class CustodyRow(NamedTuple):
    """One step of a pickup, applied one by one and in order: there are few."""

    kind: str
    id: bytes
    gateway: str
    epoch: int
    seq: int
    pickup_seq: int
    at_us: int
    drop_point: bytes | None
    data: bytes
    fields: dict[str, object]


class QuarantineRow(NamedTuple):
    """A record stored but not applied."""

    id: bytes
    gateway: str
    epoch: int
    seq: int
    code: str
    message: str
    data: bytes
    pending: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell a gateway about one frame once the batch is committed.

    `forgot`: records of older epochs are missing here that were acknowledged once. `missing`: the last seq
    of the epoch's gaps, 0 if there are none.
    """

    cursor: Cursor
    verdict: Verdict
    expect: int | None
    echo: Echo
    forgot: bool = False
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator must look at."""

    gateway: str
    code: str
    detail: dict[str, object]


@dataclass(slots=True)
class Effects:
    """Everything one batch does, to be applied in one transaction or not at all."""

    records: list[RecordRow] = field(default_factory=list)
    holders: dict[tuple[HolderKind, bytes], int] = field(default_factory=dict)
    """Who brought something, numbered."""
    deposits: list[DepositRow] = field(default_factory=list)
    closings: list[ClosingRow] = field(default_factory=list)
    weighings: list[WeighingRow] = field(default_factory=list)
    voids: list[VoidRow] = field(default_factory=list)
    custody: list[CustodyRow] = field(default_factory=list)
    sightings: Sightings = field(default_factory=Sightings)
    """What all this shows of gateways' clocks."""
    quarantine: list[QuarantineRow] = field(default_factory=list)
    since: dict[EpochKey, int] = field(default_factory=dict)
    """The first seq, of each epoch, of what takes effect here: whatever stands behind it may have waited."""
    again: list[bytes] = field(default_factory=list)
    """Records on a chain that were here before: those set aside as strays are none, and take effect now."""
    woken: list[bytes] = field(default_factory=list)
    """Records that waited in quarantine for one of these and took effect now; the storage fills this in."""
    gaps: dict[tuple[str, int], tuple[Gap, ...]] = field(default_factory=dict)
    """What is missing of an epoch now, where that changed."""
    alarms: list[Alarm] = field(default_factory=list)
    cursors: dict[tuple[str, int], Cursor] = field(default_factory=dict)
    """Cursors that moved or closed, as they shall be."""
    answers: list[Answer] = field(default_factory=list)
    """One per frame, in order."""
