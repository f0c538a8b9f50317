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

_AHEAD_MS = 5_000
"""A synchronised clock that runs ahead of the cloud's by less is believed as it stands."""

Source = tuple[str, int, int]
"""gateway, journal (the epoch that delivered), epoch (the one it was written in)."""
HourKey = tuple[str, int, int, int, int]
"""A source, boot, hour since boot."""


@dataclass(slots=True)
class Sighting:
    """One hour of a boot. `documents`: when each of those held was first seen (monotonic ms).

    `before_ms`: the true offset is not above this, as an instant was not after the arrival of its record.
    `unsure`: the clock of some record was not synchronised, or ran ahead of the cloud's.
    """

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
    unsure: bool = False
    documents: dict[bytes, int] = field(default_factory=dict)

    def at(self, mono_ms: int, received_ms: int) -> None:
        """This instant belongs to it, and was over when it arrived."""
        if mono_ms > self.last_ms:
            self.last_ms = mono_ms
            if received_ms - mono_ms < self.before_ms:
                self.before_ms = _offset(received_ms, mono_ms)
        elif mono_ms < self.first_ms:
            self.first_ms = mono_ms

    def written(self, seq: int) -> None:
        """The record at this seq belongs to it."""
        if self.first_seq is None or self.last_seq is None:
            self.first_seq = self.last_seq = seq
        elif seq > self.last_seq:
            self.last_seq = seq
        elif seq < self.first_seq:
            self.first_seq = seq

    def synced(self, offset_ms: int) -> None:
        """The clock showed this offset while it was synchronised."""
        if self.synced_low_ms is None or self.synced_high_ms is None:
            self.synced_low_ms = self.synced_high_ms = offset_ms
        elif offset_ms < self.synced_low_ms:
            self.synced_low_ms = offset_ms
        elif offset_ms > self.synced_high_ms:
            self.synced_high_ms = offset_ms

    def heard(self, offset_ms: int) -> None:
        """By its own word the true offset is not below this."""
        self.heard_ms = offset_ms if self.heard_ms is None else max(self.heard_ms, offset_ms)


@dataclass(slots=True)
class Sightings:
    """What one batch shows, by hour."""

    hours: dict[HourKey, Sighting] = field(default_factory=dict)
    again: list[tuple[str, int, int]] = field(default_factory=list)
    """Places (gateway, epoch, seq) of records whose effects came later than they."""
    _last: tuple[Source, int, int] | None = None
    _row: Sighting | None = None

    def frame(self, gateway: str, journal: int, sample: ClockSample, received_ms: int) -> None:
        """A frame was built at `sample` and was here by `received_ms`."""
        row = self._see((gateway, journal, journal), sample.boot, sample.mono_ms, received_ms)
        if row.shown_at_ms is None or sample.mono_ms >= row.shown_at_ms:
            row.shown_at_ms, row.shown_ms = sample.mono_ms, _offset(sample.wall_ms, sample.mono_ms)

    def record(self, source: Source, seq: int, record: Record, received_ms: int) -> None:
        """A record was written, and was here by `received_ms`."""
        mono_ms, body = record.mono_ms, record.body
        row = self._see(source, record.boot, mono_ms, received_ms)
        row.written(seq)
        if record.clock is ClockQuality.SYNCED:
            row.synced(_offset(record.wall_ms, mono_ms))
            row.unsure = row.unsure or record.wall_ms > received_ms + _AHEAD_MS
        else:
            row.unsure = True
        if type(body) is ClockHeard:
            row.heard(_offset(body.server_ms, mono_ms))
        digest = _document(body)
        if digest is not None and digest not in row.documents:
            row.documents[digest] = mono_ms

    def _see(self, source: Source, boot: int, mono_ms: int, received_ms: int) -> Sighting:
        """The row of this instant; mostly that of the one before."""
        place = (source, boot, mono_ms // HOUR_MS)
        row = self._row
        if row is None or place != self._last:
            row = self.hours.get((*source, boot, place[2]))
            if row is None:
                row = self.hours[*source, boot, place[2]] = Sighting(
                    mono_ms, mono_ms, _offset(received_ms, mono_ms)
                )
            self._last, self._row = place, row
        row.at(mono_ms, received_ms)
        return row


def _offset(utc_ms: int, mono_ms: int) -> int:
    """UTC minus monotonic milliseconds; see `cloud.clocks.models.Hour`."""
    offset_ms = utc_ms - mono_ms
    return offset_ms if -_LIMIT_MS < offset_ms < _LIMIT_MS else max(min(offset_ms, _LIMIT_MS), -_LIMIT_MS)


def _document(body: Body) -> bytes | None:
    """The digest of a document that the gateway held when it wrote this."""
    kind = type(body)
    if kind is WeighingRecorded or kind is ManualEntered:
        return body.catalog  # type: ignore[attr-defined,no-any-return]
    return body.digest if kind is DocumentApplied else None  # type: ignore[attr-defined]
