"""Repairs the times of weighings, a journal a transaction, whenever ingest learnt something of a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from cloud.clocks.service import JOURNALS_A_ROUND

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.clocks.service import Clocks
    from cloud.kit.clock import Clock

EVERY_S = 15.0
PORTIONS_MAX = 100
"""Of journals in a round; what is due beyond them waits for the next."""


@dataclass(frozen=True, slots=True)
class Times:
    """Runs for ever; what fails is tried again at the next round."""

    engine: AsyncEngine
    clocks: Clocks
    clock: Clock

    async def run(self) -> None:
        """A round every EVERY_S seconds."""
        while True:
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 - others' work beside it must not end for a chore's sake
                structlog.get_logger().error("times.failed", exc_info=error)
            await self.clock.sleep(EVERY_S)

    async def once(self) -> int:
        """One round; how many weighings have another time now. One journal that fails keeps none waiting."""
        async with self.engine.begin() as connection:
            await self.clocks.prune(connection)
        changed = 0
        for _ in range(PORTIONS_MAX):
            async with self.engine.begin() as connection:
                due = await self.clocks.due(connection)
            for gateway, journal in due:
                changed += await self._repair(gateway, journal)
            if len(due) < JOURNALS_A_ROUND:
                break
        return changed

    async def _repair(self, gateway: str, journal: int) -> int:
        try:
            async with self.engine.begin() as connection:
                return await self.clocks.repair(connection, gateway, journal)
        except (SQLAlchemyError, psycopg.Error) as error:
            structlog.get_logger().warning("times.failed", gateway=gateway, journal=journal, error=str(error))
        async with self.engine.begin() as connection:
            await self.clocks.put_off(connection, gateway, journal)
        return 0
