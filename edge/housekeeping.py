"""What an agent does beside its work: room on the disk, one check of the whole chain, word of any damage.

Owns when. Does not own what may go (the journal's retention) nor who reads the alarms.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from edge.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.journal import AsyncJournal, Birth

_LOGGER = logging.getLogger("reloop.agent")
_EVERY_S: Final = 30.0
CHECK_ROUNDS_MAX: Final = 120
"""Rounds after which the chain is checked although the outbox is being drained: an hour."""


class Housekeeping:
    """One journal's; `alarm` counts a code that an operator should see."""

    def __init__(self, journal: AsyncJournal, alarm: Callable[[str], None], clock: Clock) -> None:
        self._journal = journal
        self._alarm = alarm
        self._clock = clock
        self._birth: Birth | None = None
        self._checked = False
        self._rounds = 0
        self._acked = -1

    async def run(self) -> None:
        """For ever, a round at once and then one every half minute."""
        while True:
            await self.round()
            await self._clock.sleep(_EVERY_S)

    async def round(self) -> None:
        """Room comes first: without it nobody can weigh.

        The check of the whole chain takes the processor's time, so that it waits until nothing is being
        drained, but not for ever.
        """
        await self._prune()
        self.tell_damage()
        quiet = self._journal.acked in {self._acked, self._journal.head}
        if not self._checked and (quiet or self._rounds >= CHECK_ROUNDS_MAX):
            await self._check_chain()
            self._checked = True
        self._rounds, self._acked = self._rounds + 1, self._journal.acked

    def tell_damage(self) -> None:
        """Whatever was repaired, at the start or in use, is told once."""
        journal = self._journal.journal
        before, birth = self._birth, journal.birth
        self._birth = birth
        if birth is not before and (birth.unproven or birth.lost):
            self._alarm("journal.lost" if birth.lost else "journal.damaged")
            _LOGGER.error(
                "%d records are known to be missing, more may be (nobody was told of them if the power failed"
                " in the last commit); keep the .damaged files: %s",
                birth.lost,
                birth.detail,
            )
        for name in journal.take_forgotten():
            self._alarm("journal.evidence_removed")
            _LOGGER.warning("%s was removed; it was set aside as damaged, no record of it is missing", name)

    async def _prune(self) -> None:
        try:
            await self._journal.prune()
        except (JournalError, OSError) as error:
            self._alarm("journal.prune")
            _LOGGER.warning("nothing can be pruned: %s", error)

    async def _check_chain(self) -> None:
        try:
            sound = (await self._journal.check_rest()).ok
        except (JournalError, OSError):
            sound = False
        if not sound:
            self._alarm("journal.check")
            _LOGGER.error("the journal's chain does not add up; run: reloop-edge journal verify")
