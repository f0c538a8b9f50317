"""A clock for the cloud's tests."""

from __future__ import annotations

from dataclasses import dataclass

NOW_MS = 1_790_000_000_000  # September 2026: what it really is when a test begins


@dataclass(slots=True)
class CloudClock:
    """The cloud's clock, which stands until it is moved."""

    now_ms: int = NOW_MS

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def wall_ms(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
