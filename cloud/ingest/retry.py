"""The way out of quarantine: a held record is projected once more, as if it had just arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from cloud.ingest.effects import Effects, QuarantineRow
from cloud.ingest.opening import survey
from cloud.ingest.pack import pack
from cloud.ingest.project import Projector, read_record
from cloud.ingest.store import DATA_ERRORS, QUERIES, Store
from cloud.ingest.views import View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    from cloud.ingest.reading import Reference
    from cloud.kit.clock import Clock


class Retry:
    """Retries held records over a connection of its own, each in a transaction of its own."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        reference: Reference,
        clock: Clock,
        new_id: Callable[[], UUID],
    ) -> None:
        self._connection = connection
        self._reference = reference
        self._clock = clock
        self._store = Store(connection, new_id)

    async def run(self, which: Mapping[str, object], by: str) -> dict[UUID, str | None]:
        """Retry the held records with these `ids` and `codes` (None: all); None for each applied now."""
        await self._store.prepare()
        result = await self._connection.execute(QUERIES["list_held"], which)
        ids = [row[0] for row in await result.fetchall()]
        outcomes: dict[UUID, str | None] = {}
        for record_id in ids:
            held = await self._one(record_id, by)
            outcomes[record_id] = held.code if held is not None else None
        return outcomes

    async def _one(self, record_id: UUID, by: str) -> QuarantineRow | None:
        row = await (await self._connection.execute(QUERIES["lock_held"], (record_id,))).fetchone()
        if row is None:
            await self._store.rollback()
            return None
        place = QuarantineRow(row[0].bytes, row[1], row[2], row[3], row[4], row[5], bytes(row[6]), row[7])
        held = await self._apply(place)
        if held is not None:
            await self._store.rollback()
            await self._connection.execute(QUERIES["still_held"], (held.code, held.message, record_id))
        else:
            await self._connection.execute(QUERIES["mark_retried"], (by, record_id))
        await self._store.commit()
        return held

    async def _apply(self, place: QuarantineRow) -> QuarantineRow | None:
        """Apply the record; if it is unfit still, say how."""
        effects, view = Effects(), await self._view(place)
        Projector(effects, view, frozenset()).stored(place)
        try:
            if not effects.quarantine:
                await self._store.project(effects, pack(effects, view.received_ms))
        except DATA_ERRORS as error:
            return place._replace(code="record.refused_by_store", message=str(error))
        return effects.quarantine[0] if effects.quarantine else None

    async def _view(self, place: QuarantineRow) -> View:
        needs = survey([read_record(place.data)])
        return View(
            received_ms=self._clock.wall_ms(),
            cursors={},
            gateways=await self._store.read_gateways([place.gateway]),
            catalogs=await self._reference.catalogs(needs.catalogs, self._clock.monotonic()),
            rates=await self._reference.rates() if needs.unpriced else {},
        )
