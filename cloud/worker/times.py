"""Repairs the times of weighings, a journal a transaction, whenever ingest learnt something of a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.clocks.service import Clocks
    from cloud.kit.clock import Clock

EVERY_S = 15.0


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
        changed = 0
        async with self.engine.begin() as connection:
            await self.clocks.prune(connection)
            due = await self.clocks.due(connection)
        for gateway, journal in due:
            try:
                async with self.engine.begin() as connection:
                    changed += await self.clocks.repair(connection, gateway, journal)
            except (SQLAlchemyError, psycopg.Error) as error:
                structlog.get_logger().warning(
                    "times.failed", gateway=gateway, journal=journal, error=str(error)
                )
        return changed
