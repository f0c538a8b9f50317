"""How old something of the cloud's is, on a machine whose clock may say 1970.

A time the cloud signed is a lower bound of now for ever; what passed since on the monotonic clock adds to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.records import ClockQuality

if TYPE_CHECKING:
    from edge.clock import Clock

_FAST = 1_000
"""A crystal that gained more than one part of this would be broken (600 ppm: slewing and a poor one)."""


class TrustedTime:
    """Now, as far as it can be known. Times are UTC milliseconds since 1970."""

    def __init__(self, clock: Clock, signed_ms: int) -> None:
        self._clock = clock
        self.signed_ms = signed_ms
        self._heard_mono_ms = clock.mono_ms()

    def hear(self, signed_ms: int) -> None:
        """The cloud has signed this time; an earlier one than known tells nothing."""
        if signed_ms > self.earliest_ms():
            # In this order: whoever reads in between must not take old age for new.
            self._heard_mono_ms = self._clock.mono_ms()
            self.signed_ms = signed_ms

    def earliest_ms(self) -> int:
        """It is not earlier than this, even if the crystal runs fast."""
        elapsed_ms = max(self._clock.mono_ms() - self._heard_mono_ms, 0)
        return self.signed_ms + elapsed_ms - elapsed_ms // _FAST

    def now_ms(self) -> int:
        """The wall clock if it is synced; else the later of it and the earliest it can be.

        An unsynced clock that runs ahead makes things look older than they are, never younger.
        """
        wall_ms = self._clock.wall_ms()
        if self._clock.quality() is ClockQuality.SYNCED:
            return wall_ms
        return max(wall_ms, self.earliest_ms())

    def surely_ms(self) -> int:
        """It is surely this late: what calls cards and keys over. An unsynced clock alone never does, not
        even a battery's, which may be years off; what the cloud signed does, and a clock that is synced."""
        synced = self._clock.quality() is ClockQuality.SYNCED
        return self._clock.wall_ms() if synced else self.earliest_ms()

    def expired(self, not_after_s: int) -> bool:
        """Whether a key's time is surely over."""
        return self.surely_ms() > not_after_s * 1000
