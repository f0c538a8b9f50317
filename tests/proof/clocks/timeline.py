"""A gateway's life with its clocks, of which the truth is known: power cuts, bad clocks, long offline times.

Makes what the cloud would see of it (records, frames, arrivals) and keeps what it may not see: when each
record really happened. No product code decides anything here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from protocol.bodies import Body, ClockHeard, ClockSynced, DocumentApplied, ScaleZeroed
from protocol.frames import ClockSample
from protocol.records import ClockQuality, Record

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
YEAR = 365 * DAY
PPM_MAX = 600
SYNCED_MS = 16_000
CLOUD_MS = 1_000
WRONG = {
    "1970": 0,
    "2016": 1_451_606_400_000,
    "2038-01-19": 2**31 * 1_000,
    "9999": 253_402_300_799_000,
}
"""Wall times that no living clock should show."""
STEPS_MS = (-10 * YEAR, -HOUR, -SECOND, SECOND, HOUR, 10 * YEAR)


@dataclass(frozen=True, slots=True)
class Written:
    """A record of `epoch` at `seq`, and the UTC milliseconds at which it really was written."""

    epoch: int
    seq: int
    record: Record
    true_ms: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as it arrived: records with the epoch they were written in, by the cloud's clock."""

    journal: int
    sample: ClockSample
    records: tuple[Written, ...]
    received_ms: int


@dataclass(slots=True)
class Life:
    """One gateway. Drawn from a seed; `deliveries` and `issued_ms` (by digest) are all the cloud sees.

    `number` tells its documents from those of other lives. `liar`: now and then its clock says that it is
    synchronised and is years off.
    """

    chance: random.Random
    liar: bool = False
    number: int = 0
    true_ms: float = 0
    mono_ms: int = 0
    boot: int = 1
    journal: int = 1
    seq: int = 0
    offset_ms: int = 0
    clock: ClockQuality = ClockQuality.UNKNOWN
    waiting: list[Written] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    issued_ms: dict[bytes, int] = field(default_factory=dict)
    _under_way: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.true_ms = 1_767_225_600_000 + self.chance.random() * 8 * YEAR
        self._start()

    def live(self, steps: int) -> None:
        """So many things happen; at last everything arrives."""
        deeds = (
            (self._write, 10), (self._pass, 6), (self._power_cut, 1), (self._set_wrong, 1), (self._sync, 1),
            (self._send, 2), (self._document, 1), (self._new_epoch, 0.3), (self._hear, 1),
            (self._lie, 0.5 if self.liar else 0),
        )  # fmt: skip
        for _ in range(steps):
            self.chance.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]()
        self._send()
        self.deliveries.sort(key=lambda each: each.received_ms)

    # -- what happens -------------------------------------------------------------------------------------

    def _elapse(self, mono_ms: int) -> None:
        """Monotonic time passes; the crystal is up to 600 ppm off the truth. A synced clock stays near it."""
        self.mono_ms += mono_ms
        self.true_ms += mono_ms * (1 + self.chance.uniform(-PPM_MAX, PPM_MAX) / 1_000_000)
        if self.clock is ClockQuality.SYNCED and not self._near():
            self._sync()

    def _near(self) -> bool:
        return abs(self.mono_ms + self.offset_ms - self.true_ms) <= SYNCED_MS

    def _pass(self) -> None:
        self._elapse(int(self.chance.choice((SECOND, MINUTE, HOUR, DAY)) * self.chance.uniform(0.1, 4)))

    def _write(self) -> None:
        self._elapse(self.chance.randrange(0, 30 * SECOND))
        self._append(ScaleZeroed("SN-1"))

    def _append(self, body: Body, clock: ClockQuality | None = None) -> None:
        self.seq += 1
        wall_ms = self.mono_ms + self.offset_ms
        record = Record(
            self.seq, self.boot, self.mono_ms, wall_ms, self.clock if clock is None else clock, body
        )
        self.waiting.append(Written(self.journal, self.seq, record, self.true_ms))

    def _power_cut(self) -> None:
        off_ms = self.chance.choice((SECOND, HOUR, 30 * DAY)) * self.chance.random()
        self.true_ms += off_ms
        self.boot += 1
        self._start()

    def _start(self) -> None:
        """The machine starts: what its clock says then depends on what it has instead of one."""
        self.mono_ms = self.chance.randrange(2_000, 60_000)
        self.true_ms += self.mono_ms * (1 + PPM_MAX / 1_000_000)
        match self.chance.randrange(3):
            case 0:
                self.offset_ms, self.clock = 0, ClockQuality.UNKNOWN
            case 1:
                behind_ms = self.chance.randrange(0, 40 * DAY)
                self.offset_ms, self.clock = int(self.true_ms) - behind_ms, ClockQuality.RESTORED
            case _:
                error_ms = self.chance.choice((SECOND, HOUR, YEAR)) * self.chance.uniform(-5, 5)
                self.offset_ms, self.clock = int(self.true_ms + error_ms) - self.mono_ms, ClockQuality.RTC
        self._append(ScaleZeroed("start"))

    def _set_wrong(self) -> None:
        """Somebody sets the clock: from then on the kernel does not call it synchronised."""
        if self.chance.random() < 0.5:
            self.offset_ms += self.chance.choice(STEPS_MS)
        else:
            self.offset_ms = self.chance.choice(list(WRONG.values())) - self.mono_ms
        self.clock = self.chance.choice((ClockQuality.UNKNOWN, ClockQuality.RTC))

    def _sync(self) -> None:
        before_ms = self.mono_ms + self.offset_ms
        error_ms = self.chance.randint(-SYNCED_MS + 1, SYNCED_MS - 1)
        self.offset_ms = int(self.true_ms) + error_ms - self.mono_ms
        self.clock = ClockQuality.SYNCED
        if self.chance.random() < 0.8:
            self._append(ClockSynced(before_ms, "synced"))

    def _lie(self) -> None:
        """The clock is years off and says it is synchronised."""
        honest, offset_ms = self.clock, self.offset_ms
        self.offset_ms = self.chance.choice(list(WRONG.values())) - self.mono_ms
        self._append(ScaleZeroed("liar"), ClockQuality.SYNCED)
        self.clock, self.offset_ms = honest, offset_ms

    def _document(self) -> None:
        """A document that was signed a while ago is applied."""
        age_ms = self.chance.choice((SECOND, HOUR, 60 * DAY)) * self.chance.random()
        digest = (self.number << 64 | len(self.issued_ms)).to_bytes(32, "big")
        self.issued_ms[digest] = int(self.true_ms - age_ms + self.chance.uniform(-CLOUD_MS, CLOUD_MS))
        self._append(DocumentApplied("catalog", 1, 1, digest))

    def _hear(self) -> None:
        """Something the cloud signed a while ago comes in: an ack, fresh or out of a courier's file."""
        age_ms = self.chance.choice((SECOND, HOUR, 60 * DAY)) * self.chance.random()
        self._append(ClockHeard(int(self.true_ms - age_ms + self.chance.uniform(-CLOUD_MS, CLOUD_MS))))

    def _send(self) -> None:
        """Everything waiting leaves, in one frame or two; it arrives at once or by courier weeks later."""
        sample = ClockSample(self.boot, self.mono_ms, self.mono_ms + self.offset_ms, self.clock)
        travel_ms = self.chance.choice((SECOND, MINUTE, 30 * DAY)) * self.chance.random()
        received_ms = int(self.true_ms + travel_ms + self.chance.uniform(-CLOUD_MS, CLOUD_MS))
        cut = self.chance.randint(0, len(self.waiting))
        for part in (self.waiting[:cut], self.waiting[cut:]):
            if part:
                self.deliveries.append(Delivery(self.journal, sample, tuple(part), received_ms))
        self.waiting = []

    def _new_epoch(self) -> None:
        """The journal goes on in a new file; what was not sent is carried, whole."""
        self.journal, self.seq = self.journal + 1, len(self.waiting)


__all__ = ["CLOUD_MS", "SYNCED_MS", "Delivery", "Life", "Written"]
