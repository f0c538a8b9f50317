"""What records and frames show of their gateway's clock, gathered by hour of the boot they are from. Pure.

Only gathers: what follows for the times of weighings is `cloud.clocks`'s to say, whenever it gets to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.bodies import ClockHeard, DocumentApplied, ManualEntered, WeighingRecorded
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from protocol.bodies import Body
    from protocol.frames import ClockSample
    from protocol.records import Record

HOUR_MS = 3_600_000
_LIMIT_MS = 2**62
"""Nobody's clock is further off; within it no sum of two leaves 64 bits."""

HourKey = tuple[str, int, int, int, int]
"""gateway, journal (the epoch that delivered), epoch (the one it was written in), boot, hour since boot."""


@dataclass(slots=True)
class Sighting:
    """One hour of a boot. Offsets are UTC minus monotonic milliseconds; see `cloud.clocks.models.Hour`."""

    first_ms: int
    last_ms: int
    before_ms: int
    first_seq: int | None = None
    last_seq: int | None = None
    shown_at_ms: int | None = None
    shown_ms: int | None = None
    synced_low_ms: int | None = None
    synced_high_ms: int | None = None
    heard_ms: int | None = None

    def synced(self, offset_ms: int) -> None:
        """The clock showed this offset while it was synchronised."""
        if self.synced_low_ms is None or self.synced_high_ms is None:
            self.synced_low_ms = self.synced_high_ms = offset_ms
        else:
            self.synced_low_ms = min(self.synced_low_ms, offset_ms)
            self.synced_high_ms = max(self.synced_high_ms, offset_ms)


@dataclass(slots=True)
class Sightings:
    """What one batch shows. `documents` are those that a gateway held: (hour, digest) → monotonic ms."""

    hours: dict[HourKey, Sighting] = field(default_factory=dict)
    documents: dict[tuple[HourKey, bytes], int] = field(default_factory=dict)
    again: list[tuple[str, int, int]] = field(default_factory=list)
    """Places (gateway, epoch, seq) of records whose effects came later than they."""

    def frame(self, gateway: str, journal: int, sample: ClockSample, received_ms: int) -> None:
        """A frame was built at `sample` and was here by `received_ms`."""
        key = (gateway, journal, journal, sample.boot, sample.mono_ms // HOUR_MS)
        row = self._see(key, sample.mono_ms, received_ms)
        if row.shown_at_ms is None or sample.mono_ms >= row.shown_at_ms:
            row.shown_at_ms, row.shown_ms = sample.mono_ms, _offset(sample.wall_ms, sample.mono_ms)

    def record(
        self, source: tuple[str, int, int], seq: int, record: Record, received_ms: int
    ) -> None:  # fmt: skip
        """A record was written, and was here by `received_ms`.

        `source`: its gateway, the epoch that delivered it and the one it was written in.
        """
        mono_ms = record.mono_ms
        key = (*source, record.boot, mono_ms // HOUR_MS)
        row = self._see(key, mono_ms, received_ms)
        if row.first_seq is None or row.last_seq is None:
            row.first_seq = row.last_seq = seq
        else:
            row.first_seq, row.last_seq = min(row.first_seq, seq), max(row.last_seq, seq)
        if record.clock is ClockQuality.SYNCED:
            row.synced(_offset(record.wall_ms, mono_ms))
        if type(record.body) is ClockHeard:
            heard_ms = _offset(record.body.server_ms, mono_ms)
            row.heard_ms = heard_ms if row.heard_ms is None else max(row.heard_ms, heard_ms)
        digest = _document(record.body)
        if digest is not None:
            self.documents.setdefault((key, digest), mono_ms)

    def _see(self, key: HourKey, mono_ms: int, received_ms: int) -> Sighting:
        before_ms = _offset(received_ms, mono_ms)
        row = self.hours.get(key)
        if row is None:
            row = self.hours[key] = Sighting(mono_ms, mono_ms, before_ms)
        else:
            row.first_ms = min(row.first_ms, mono_ms)
            row.last_ms = max(row.last_ms, mono_ms)
            row.before_ms = min(row.before_ms, before_ms)
        return row


def _offset(utc_ms: int, mono_ms: int) -> int:
    return min(max(utc_ms - mono_ms, -_LIMIT_MS), _LIMIT_MS)


def _document(body: Body) -> bytes | None:
    """The digest of a document that the gateway held when it wrote this."""
    match body:
        case WeighingRecorded() | ManualEntered():
            return body.catalog
        case DocumentApplied():
            return body.digest
        case _:
            return None
