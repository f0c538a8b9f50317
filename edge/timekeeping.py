"""Watches the wall clock and journals when it becomes trustworthy or jumps, so that times can be repaired.

Never sets a clock and never rewrites a record: `clock.synced` says what the clock said just before, and
`clock.heard` how late it is at least, by what the cloud signed, while no clock is synchronised.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.errors import JournalError
from protocol.bodies import ClockHeard, ClockSynced
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.journal import AsyncJournal

_LOGGER = logging.getLogger("reloop.clock")
_LOOK_S = 5.0
_JUMP_MS = 2_000
"""A difference that slewing (500 ppm) cannot make between two looks."""

_WORTH_MS = 30_000
"""By so much must a signed time be better than the one before to be worth a record. A boot has few of them:
the one kept from before, the first fresh ack's, and one whenever the crystal has drifted that far."""


class Timekeeper:
    """Compares wall and monotonic time at every look.

    `earliest_ms`: how late it is at least, by what the cloud signed (UTC milliseconds); None: it never did.
    """

    def __init__(
        self, clock: Clock, journal: AsyncJournal, earliest_ms: Callable[[], int | None] = lambda: None
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._earliest_ms = earliest_ms
        self._heard_ms: int | None = None
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
        if quality is not ClockQuality.SYNCED:
            await self._note_signed()

    async def _note_signed(self) -> None:
        """Journal a `clock.heard` if what the cloud signed says more of this boot than it did before."""
        earliest_ms = self._earliest_ms()
        if earliest_ms is None:
            return
        heard_ms = earliest_ms - self._clock.mono_ms()
        if self._heard_ms is None or heard_ms >= self._heard_ms + _WORTH_MS:
            await self._journal.append(ClockHeard(earliest_ms))
            self._heard_ms = heard_ms
