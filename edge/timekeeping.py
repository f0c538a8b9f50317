"""Watches the wall clock and journals when it becomes trustworthy or jumps, so that times can be repaired.

Never sets a clock and never rewrites a record: `clock.synced` says what the clock said just before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.errors import JournalError
from protocol.bodies import ClockSynced
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.journal import AsyncJournal

_LOGGER = logging.getLogger("reloop.clock")
_LOOK_S = 5.0
_JUMP_MS = 2_000
"""A difference that slewing (500 ppm) cannot make between two looks."""


class Timekeeper:
    """Compares wall and monotonic time at every look."""

    def __init__(self, clock: Clock, journal: AsyncJournal) -> None:
        self._clock = clock
        self._journal = journal
        self._offset_ms = clock.wall_ms() - clock.mono_ms()
        self._quality = clock.quality()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            try:
                await self.look()
            except JournalError as error:
                _LOGGER.warning("the clock's change is journalled at the next look: %s", error)

    async def look(self) -> None:
        """Journal a `clock.synced` if the clock jumped or became synchronised since the last look."""
        offset_ms = self._clock.wall_ms() - self._clock.mono_ms()
        quality = self._clock.quality()
        jump_ms = offset_ms - self._offset_ms
        became_synced = quality is ClockQuality.SYNCED and self._quality is not ClockQuality.SYNCED
        if became_synced or abs(jump_ms) > _JUMP_MS:
            before_ms = self._clock.wall_ms() - jump_ms
            await self._journal.append(ClockSynced(before_ms, quality.name.lower()))
            self._offset_ms = offset_ms
        self._quality = quality
