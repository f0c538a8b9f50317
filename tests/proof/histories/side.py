"""One side of a world: two ingests over one storage, at a time that stands still."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloud.ingest.batches import Arrival
from cloud.ingest.service import Ingest
from cloud.ingest.storage import StaleError, UnfitError
from cloud.ingest.views import Road
from tests.cloud.ingest.gateway import WALL_MS
from tests.proof.simulation.store import at_once

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    import psycopg

    from cloud.ingest.storage import Storage
    from cloud.kit.keyring import Keyring


class Stopped:
    """A clock that stands still until it is told to go on, so that both sides see the same time."""

    def __init__(self) -> None:
        self.ms = WALL_MS

    def monotonic(self) -> float:
        return self.ms / 1000

    def wall_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class Side:
    """Two ingests over one storage: what one commits, the other does not expect."""

    storage: Storage[Any]
    keyring: Keyring
    clock: Stopped
    chance: random.Random
    ingests: list[Ingest] = field(init=False)

    def __post_init__(self) -> None:
        self.ingests = [
            Ingest(self.storage, self.keyring, self.clock, self.chance.randbytes, aside=at_once)
            for _ in range(2)
        ]

    async def deliver(self, which: int, frames: Sequence[bytes], *, give_up: bool) -> tuple[Any, list[Any]]:
        """One batch, as ingest's two tasks would handle it; what was known of it, what each was answered.

        `give_up`: apply it and roll it back first, as when a connection is lost before the commit.
        """
        ingest = self.ingests[which]
        loop = asyncio.get_running_loop()
        arrivals = [Arrival(data, Road.HTTPS, None, loop.create_future()) for data in frames]
        reference, reader = await ingest._connect_reader()
        writer = await ingest._connect_writer()
        batch = await ingest._prepare(arrivals, reference, reader)
        view = None if batch is None else batch.view
        if batch is not None and give_up:
            await self._give_up(ingest, batch, writer)
            batch = await ingest._again(batch.arrivals, frozenset())
        if batch is not None:
            await ingest._commit(batch, writer)
        return view, [each.reply.result() for each in arrivals]

    async def _give_up(self, ingest: Ingest, batch: Any, writer: Any) -> None:
        try:
            await writer.apply(batch.effects, batch.packed, batch.view)
        except (StaleError, UnfitError):
            pass
        finally:
            await writer.rollback()
            ingest._forget()

    async def close(self) -> None:
        for ingest in self.ingests:
            await ingest._disconnect()


class Raw:
    """A connection as the ledger's service asks for it, around a plain one."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.driver_connection = connection

    async def get_raw_connection(self) -> Raw:
        return self
