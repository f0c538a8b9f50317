"""Repairs when weighings happened, as more becomes known. Raw times, order and ledger are never touched.

What comes out depends only on what is stored, so doing it twice, or in two processes, changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.clocks import repository
from cloud.clocks.repair import repair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.clocks.models import Bounds
    from cloud.clocks.repository import Stored

JOURNALS_A_ROUND = 100
RECORDS_A_ROUND = 20_000
"""Of one journal: a transaction that rewrites more keeps others waiting."""
SKEW_MS = 300_000
"""A gateway's clock that is surely further off than this is worth an operator's look,"""
SKEW_AFTER_MS = 600_000
"""but not in the first minutes after a start, when no network has set it yet."""
_WORTH = 0.9
"""Bounds must come in by a tenth before every weighing between them is written again."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Works through what is due; `new_id` makes time-ordered ids."""

    new_id: Callable[[], UUID]

    async def due(self, connection: AsyncConnection) -> list[tuple[str, int]]:
        """Gateways and journals of which something new is known, a round of them."""
        return await repository.due(connection, JOURNALS_A_ROUND)

    async def put_off(self, connection: AsyncConnection, gateway: str, journal: int) -> None:
        """A journal that cannot be repaired now waits behind all others."""
        await repository.put_off(connection, gateway, journal)

    async def repair(self, connection: AsyncConnection, gateway: str, journal: int) -> int:
        """Repair one journal in the caller's transaction; how many weighings have another time now.

        Leaves the rest of a large one due.
        """
        stored = await repository.hours(connection, gateway, journal)
        found = repair([each.hour for each in stored])
        chosen = _chosen(list(zip(stored, found, strict=True)))
        changed = await repository.rewrite(connection, gateway, journal, chosen)
        await self._flag(connection, gateway, journal, list(zip(stored, found, strict=True)))
        return changed

    async def prune(self, connection: AsyncConnection) -> None:
        """Forget what no later arrival can make better: what was not heard of for 400 days."""
        await repository.prune(connection)

    async def _flag(
        self,
        connection: AsyncConnection,
        gateway: str,
        journal: int,
        pairs: Sequence[tuple[Stored, Bounds | None]],
    ) -> None:
        """Raise an alarm if the clock is wrong now, close it once it is right; ask the latest frame."""
        own = [
            (one.hour.boot, one.shown_at_ms or 0, one.shown_ms, bounds)
            for one, bounds in pairs
            if one.shown_ms is not None and not one.hour.carried and bounds is not None
        ]
        latest = max(own, key=lambda each: each[:2], default=None)
        if latest is None:
            return
        boot, up_ms, shown_ms, bounds = latest
        off_ms = _off_ms(shown_ms, bounds)
        if abs(off_ms) <= SKEW_MS:
            await repository.resolve_skew(connection, gateway)
        if abs(off_ms) <= SKEW_MS or up_ms < SKEW_AFTER_MS:
            return
        detail = json.dumps({"epoch": journal, "boot": boot, "at_least_s": off_ms // 1000})
        await repository.raise_skew(connection, self.new_id(), gateway, detail)


def _off_ms(shown_ms: int, bounds: Bounds) -> int:
    """How far a clock is surely off, negative if it is behind."""
    return max(shown_ms - bounds.high_ms, 0) - max(bounds.low_ms - shown_ms, 0)


def _chosen(pairs: Sequence[tuple[Stored, Bounds | None]]) -> list[tuple[Stored, Bounds | None]]:
    """Those worth writing again, up to a round's portion. Those that are due come last, so that a journal
    which is not done stays due."""
    worth = [pair for pair in pairs if _is_worth(*pair)]
    worth.sort(key=lambda pair: pair[0].due)
    chosen: list[tuple[Stored, Bounds | None]] = []
    records = 0
    for pair in worth:
        records += pair[0].records
        if chosen and records > RECORDS_A_ROUND:
            break
        chosen.append(pair)
    return chosen


def _is_worth(stored: Stored, found: Bounds | None) -> bool:
    if stored.due or found is None:
        return stored.due
    if stored.low_ms is None or stored.high_ms is None:
        return True
    before_ms, now_ms = stored.high_ms - stored.low_ms, found.high_ms - found.low_ms
    return found.trusted != stored.trusted or now_ms < before_ms * _WORTH
