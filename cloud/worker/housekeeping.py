"""What must be done now and then: a fresh catalogue, certificates, the broker's folder; old answers go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cloud.kit.web.work import KEEP_DAYS
from cloud.worker.broker import ALARMS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.alarms.service import Alarms
    from cloud.documents.service import Documents
    from cloud.gateways.certificates import Certificates
    from cloud.kit.clock import Clock
    from cloud.worker.broker import BrokerKeeper

EVERY_S = 15.0
"""Also bounds how long a gateway that another process revoked may go on speaking to the broker."""
_PRUNE = f"delete from idempotency where created_at < now() - interval '{KEEP_DAYS} days'"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Runs for ever; what fails is tried again at the next round."""

    engine: AsyncEngine
    documents: Documents
    certificates: Certificates
    alarms: Alarms
    broker: BrokerKeeper | None
    clock: Clock

    async def run(self) -> None:
        """A round every EVERY_S seconds."""
        while True:
            try:
                await self.once()
            except (SQLAlchemyError, OSError) as error:
                structlog.get_logger().warning("housekeeping.failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - ingest beside it must not end for a chore's sake
                structlog.get_logger().error("housekeeping.failed", exc_info=error)
            await self.clock.sleep(EVERY_S)

    async def once(self) -> None:
        """One round."""
        async with self.engine.begin() as connection:
            await self.documents.reissue_due(connection)
            await connection.execute(text(_PRUNE))
            await self.documents.file_newest(connection)
            await self.certificates.prune(connection)
            due = await self.certificates.due(connection)
        for gateway in due:
            async with self.engine.begin() as connection:
                await self.documents.publish_config(connection, gateway)
        if self.broker is not None:
            await self._keep(self.broker)

    async def _keep(self, broker: BrokerKeeper) -> None:
        try:
            await broker.sync(self.engine, thorough=True)
        finally:
            complaints = broker.complaints()
            async with self.engine.begin() as connection:
                for code in ALARMS:
                    await self.alarms.keep(connection, code, complaints.get(code))
