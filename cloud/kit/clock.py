"""The cloud's one clock; nothing else in `cloud` reads time. Servers keep theirs by NTP."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What every part is handed instead of the `time` module."""

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        ...

    def wall_ms(self) -> int:
        """UTC in milliseconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds of CLOCK_REALTIME."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the loop."""
        await asyncio.sleep(seconds)


def utc(wall_ms: int) -> datetime:
    """An aware datetime of milliseconds since 1970."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC)
