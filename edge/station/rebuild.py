"""What the station knows after a restart, read from the journal's last records. Pure.

Owns the decisions taken when a visit was cut off:

- A visit that is still open is closed as interrupted, never continued: nobody can tell who stands at the
  kiosk now. Its weighings stay credited, and its receipt is shown with what was really saved.
- A guest's claim code cannot be shown again, only its hash was journalled. It was on the screen from before
  the first weighing, and stays valid.
- The last receipt is shown again if its visit was the last thing that happened and is minutes old.
- The plate is taken to hold the last load that was counted, and is not armed: only a stable zero, or a
  weighed tare equal to that load, arms it. So a load saved before a crash is never weighed again as new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.station.arming import Plate
from edge.station.screen import Line
from protocol import bodies
from protocol.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.journal import Entry
    from protocol.records import Record

LOOKBACK = 2048
"""Records read back at a start: many times the longest visit, a fraction of a second on a Pi."""
RECEIPT_AGAIN_MS = 300_000
"""A receipt older than this is not shown again: its person is gone."""
LOADS_MAX = 64


@dataclass(slots=True)
class Visit:
    """A deposit as its records tell it; `closed` is the record that ended it, None while it is open."""

    seq: int
    id: str
    holder: bytes
    lines: list[Line] = field(default_factory=list)
    closed: Record | None = None
    outcome: bodies.Outcome | None = None

    @property
    def net_g(self) -> int:
        """Sum of its weighings in grams."""
        return sum(line.net_g for line in self.lines)

    @property
    def points(self) -> int:
        """Sum of the points shown."""
        return sum(line.points or 0 for line in self.lines)

    def closing(self) -> bodies.DepositClosed:
        """The record that ends this visit as interrupted."""
        return bodies.DepositClosed(
            self.seq, bodies.Outcome.INTERRUPTED, len(self.lines), self.net_g, self.points
        )


@dataclass(slots=True)
class Collection:
    """A pickup that is still open."""

    seq: int
    bins: int = 0
    net_g: int = 0

    def closing(self) -> bodies.PickupClosed:
        """The record that ends this pickup as interrupted."""
        return bodies.PickupClosed(self.seq, bodies.Outcome.INTERRUPTED, self.bins, self.net_g)


@dataclass(slots=True)
class Recovered:
    """What was read back. `visits` and `pickups` are open ones; `last` is the last visit, if it was last."""

    visits: dict[int, Visit] = field(default_factory=dict)
    pickups: dict[int, Collection] = field(default_factory=dict)
    last: Visit | None = None
    suspended: bool = False
    loads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def plate(self) -> Plate:
        """The plate to start from: unarmed, with the last counted load that was not voided."""
        return Plate(armed=False, saved_g=self.loads[-1][1] if self.loads else None)

    def closings(self) -> tuple[bodies.Body, ...]:
        """The records that end what is still open, oldest first."""
        ended = {seq: visit.closing() for seq, visit in self.visits.items()}
        given_up = {seq: pickup.closing() for seq, pickup in self.pickups.items()}
        return tuple(body for _, body in sorted((ended | given_up).items()))


def rebuild(entries: Iterable[Entry]) -> Recovered:
    """Read consecutive entries, oldest first, into what the station must know."""
    recovered = Recovered()
    for entry in entries:
        try:
            record = entry.record
        except RecordError:
            continue  # a kind of a newer version: carried and sent all the same, none of our business
        _take(recovered, entry.seq, str(entry.id), record)
    return recovered


def _take(recovered: Recovered, seq: int, record_id: str, record: Record) -> None:
    body = record.body
    match body:
        case bodies.DepositOpened():
            recovered.last = recovered.visits[seq] = Visit(seq, record_id, body.holder)
        case bodies.DepositClosed():
            visit = recovered.visits.pop(body.deposit, None)
            if visit is not None:
                visit.closed, visit.outcome = record, body.outcome
        case bodies.WeighingRecorded() | bodies.ManualEntered():
            _weighed(recovered, seq, body)
        case bodies.WeighingVoided():
            _voided(recovered, body)
        case bodies.IntakeSuspended() | bodies.IntakeResumed():
            recovered.suspended = isinstance(body, bodies.IntakeSuspended)
        case _:
            _picked_up(recovered, seq, body)


def _weighed(recovered: Recovered, seq: int, body: bodies.WeighingRecorded | bodies.ManualEntered) -> None:
    if isinstance(body, bodies.WeighingRecorded):
        _load(recovered, seq, body.gross_g)
    visit = recovered.visits.get(body.deposit)
    if visit is not None:
        visit.lines.append(Line(seq, body.material, body.net_g, body.points))


def _voided(recovered: Recovered, body: bodies.WeighingVoided) -> None:
    recovered.loads = [load for load in recovered.loads if load[0] != body.weighing]
    visit = recovered.visits.get(body.deposit)
    if visit is not None:
        visit.lines = [line for line in visit.lines if line.seq != body.weighing]


def _picked_up(recovered: Recovered, seq: int, body: bodies.Body) -> None:
    match body:
        case bodies.PickupOpened():
            recovered.last = None
            recovered.pickups[seq] = Collection(seq)
        case bodies.PickupClosed():
            recovered.pickups.pop(body.pickup, None)
        case bodies.BinWeighed() | bodies.BinEstimated():
            if isinstance(body, bodies.BinWeighed):
                _load(recovered, seq, body.gross_g)
            pickup = recovered.pickups.get(body.pickup)
            if pickup is not None:
                pickup.bins, pickup.net_g = pickup.bins + 1, pickup.net_g + body.net_g
        case _:
            pass


def _load(recovered: Recovered, seq: int, gross_g: int) -> None:
    recovered.loads = [*recovered.loads[1 - LOADS_MAX :], (seq, gross_g)]


def worth_showing(visit: Visit | None, boot: int, mono_ms: int, wall_ms: int) -> bool:
    """Whether this visit's receipt should be shown again: something was saved, and minutes ago at most.

    Across boots only the wall clock can tell; if it went backwards, the receipt is shown once too often.
    """
    if visit is None or not visit.lines:
        return False
    if visit.closed is None:
        return True
    if visit.outcome is bodies.Outcome.TIMEOUT:
        return False
    same_boot = visit.closed.boot == boot
    age_ms = mono_ms - visit.closed.mono_ms if same_boot else wall_ms - visit.closed.wall_ms
    return age_ms <= RECEIPT_AGAIN_MS
