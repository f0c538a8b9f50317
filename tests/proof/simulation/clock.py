"""Clocks on virtual time: monotonic as the loop has it, wall time wrong by as much as the schedule likes."""

from __future__ import annotations

import asyncio

from protocol.records import ClockQuality

EPOCH_MS = 1_780_000_000_000
"""The true time when a schedule begins."""


class SimulatedClock:
    """The clock of one machine, for edge and cloud alike. `booted_s` is when the kernel started."""

    def __init__(self) -> None:
        self.booted_s = -60.0
        self.off_ms = 0
        self.trust = ClockQuality.SYNCED

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return asyncio.get_running_loop().time()

    def mono_ms(self) -> int:
        """Milliseconds since this machine's boot."""
        return int((self.monotonic() - self.booted_s) * 1000)

    def wall_ms(self) -> int:
        """What this machine believes the time to be."""
        return max(EPOCH_MS + int(self.monotonic() * 1000) + self.off_ms, 0)

    def quality(self) -> ClockQuality:
        """What this machine believes of its belief."""
        return self.trust

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        await asyncio.sleep(seconds)
