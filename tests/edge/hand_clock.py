"""A clock for the gateway's tests."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.records import ClockQuality

NOW_MS = 1_780_000_000_000


@dataclass
class HandClock:
    """A clock that stands until it is moved."""

    wall: int = NOW_MS
    mono: int = 5_000
    worth: ClockQuality = ClockQuality.SYNCED

    def monotonic(self) -> float:
        return self.mono / 1000

    def mono_ms(self) -> int:
        return self.mono

    def wall_ms(self) -> int:
        return self.wall

    def quality(self) -> ClockQuality:
        return self.worth

    async def sleep(self, seconds: float) -> None:
        self.mono += int(seconds * 1000)
