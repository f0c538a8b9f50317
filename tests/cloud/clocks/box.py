"""A gateway whose clock does what a test says, in front of a cloud whose clock stands where it says."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloud.clocks.service import Clocks
from cloud.kit.ids import uuid7
from protocol import VERSION
from protocol.bodies import ClockSynced, DocumentApplied, WeighingVoided
from protocol.frames import ClockSample, Frame, build_frame
from protocol.records import ClockQuality, Record, encode_record
from tests.cloud.hand_clock import NOW_MS
from tests.cloud.ingest.gateway import Gateway

if TYPE_CHECKING:
    from protocol.bodies import Body
    from tests.cloud.hand_clock import CloudClock
    from tests.cloud.ingest.conftest import Site

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@dataclass(slots=True)
class Box(Gateway):
    """`show` sets what its clock says; `truth_ms` by seq is when a record really was written."""

    boot: int = 1
    true_ms: int = NOW_MS
    offset_ms: int = 0
    truth_ms: dict[int, int] = field(default_factory=dict)

    def pass_by(self, mono_ms: int) -> None:
        self.mono_ms += mono_ms
        self.true_ms += mono_ms

    def cut(self, off_ms: int) -> None:
        """The power goes, and comes back `off_ms` later; the clock begins at 1970."""
        self.boot, self.mono_ms = self.boot + 1, 20_000
        self.true_ms += off_ms + 20_000
        self.show(20_000, ClockQuality.UNKNOWN)

    def show(self, wall_ms: int, clock: ClockQuality) -> None:
        self.offset_ms, self.clock = wall_ms - self.mono_ms, clock

    def sync(self) -> None:
        before_ms = self.mono_ms + self.offset_ms
        self.show(self.true_ms, ClockQuality.SYNCED)
        self.append(ClockSynced(before_ms, "synced"))

    def holds(self, digest: bytes) -> None:
        self.append(DocumentApplied("catalog", 1, 1, digest))

    def void(self, deposit: int, weighing: int) -> None:
        self.append(WeighingVoided(deposit, weighing, "taken back"))

    def append(self, body: Body, *, seq: int | None = None) -> int:
        self.pass_by(1_000)
        wall_ms = self.mono_ms + self.offset_ms
        record = Record(seq or self.head + 1, self.boot, self.mono_ms, wall_ms, self.clock, body)
        at = self.append_bytes(encode_record(record))
        self.truth_ms[at] = self.true_ms
        return at

    def send(self, first: int, last: int | None = None, first_kept: int = 1) -> bytes:
        last = self.head if last is None else last
        sample = ClockSample(self.boot, self.mono_ms, self.mono_ms + self.offset_ms, self.clock)
        frame = Frame(
            VERSION, self.id, self.epoch, first, first_kept, self.digest_at(first - 1), self.digest_at(last),
            sample, self.records[first - 1 : last],
        )  # fmt: skip
        return build_frame(frame, self.key)


def clocks() -> Clocks:
    return Clocks(lambda: uuid7(NOW_MS, secrets.token_bytes))


async def repair_all(site: Site) -> int:
    """Everything that is due; how many weighings have another time now."""
    changed = 0
    async with site.engine.begin() as connection:
        while due := await clocks().due(connection):
            for gateway, journal in due:
                changed += await clocks().repair(connection, gateway, journal)
    return changed


def times(site: Site) -> dict[int, tuple[Any, ...]]:
    """seq → happened (UTC ms), error (s), how, raw (UTC ms), clock."""
    rows = site.rows(
        "SELECT seq, (extract(epoch FROM happened_at) * 1000)::bigint, error_s, time_how,"
        " (extract(epoch FROM recorded_at) * 1000)::bigint, clock FROM weighings ORDER BY seq"
    )
    return {row[0]: tuple(row[1:]) for row in rows}


@dataclass(slots=True)
class Drop:
    """Both sides."""

    site: Site
    box: Box
    clock: CloudClock

    async def deliver(self, first: int = 1, last: int | None = None, *, delay_ms: int = 2_000) -> None:
        """The records first..last arrive, and times are repaired."""
        self.clock.now_ms = self.box.true_ms + delay_ms
        await self.site.send(self.box.send(first, last))
        await repair_all(self.site)

    def hold(self) -> dict[int, tuple[Any, ...]]:
        """All times; every bar holds the truth, and no raw time was touched."""
        found = times(self.site)
        for seq, (happened_ms, error_s, _, _, _) in found.items():
            truth_ms = self.box.truth_ms[seq]
            if error_s is None:
                assert truth_ms <= happened_ms, (seq, truth_ms - happened_ms)
            else:
                assert abs(truth_ms - happened_ms) <= error_s * 1000, (seq, truth_ms - happened_ms, error_s)
        return found
