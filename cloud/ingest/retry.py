"""The way out of quarantine: a held record is projected once more, as if it had just arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from cloud.errors import UnavailableError
from cloud.ingest.effects import Effects, QuarantineRow
from cloud.ingest.opening import survey
from cloud.ingest.positions import Positions
from cloud.ingest.project import Projector, read_record
from cloud.ingest.storage import StaleError, UnfitError
from cloud.ingest.views import View

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloud.ingest.reading import Reference
    from cloud.ingest.storage import Link, Storage
    from cloud.kit.clock import Clock

STALE_TRIES_MAX = 20
"""Others hold the same accounts, and Postgres chose this transaction to give way."""


class Retry:
    """Retries held records over a link of its own, each in a transaction of its own."""

    def __init__(self, storage: Storage[Any], link: Link[Any], reference: Reference, clock: Clock) -> None:
        self._storage = storage
        self._link = link
        self._reference = reference
        self._clock = clock

    async def run(
        self, ids: Sequence[UUID] | None, codes: Sequence[str] | None, by: str
    ) -> dict[UUID, str | None]:
        """Retry the held records with these `ids` and `codes` (None: all); None for each applied now, be it
        that it waited for one of the others. Raises UnavailableError.
        """
        asked = await self._link.list_held(ids, codes)
        outcomes: dict[UUID, str | None] = {}
        for record in asked:
            outcomes |= await self._one(record, by)
        return {record: outcomes[record] for record in asked if record in outcomes}

    async def _one(self, record: UUID, by: str) -> dict[UUID, str | None]:
        """What became of a record; nothing if somebody else has decided on it meanwhile."""
        for _ in range(STALE_TRIES_MAX):
            try:
                return await self._try(record, by)
            except StaleError:
                await self._link.rollback()
        raise UnavailableError("others keep changing the same accounts; try it again", code="ingest.busy")

    async def _try(self, record: UUID, by: str) -> dict[UUID, str | None]:
        place = await self._link.lock_held(record)
        if place is None:
            await self._link.rollback()
            return {}
        effects = Effects()
        held = await self._apply(place, effects)
        if held is not None:
            await self._link.rollback()
            await self._link.still_held(record, held.code, held.message)
            await self._link.commit()
            return {record: held.code}
        await self._link.mark_retried(record, by)
        await self._link.commit()
        return dict.fromkeys([record, *(UUID(bytes=each) for each in effects.woken)])

    async def _apply(self, place: QuarantineRow, effects: Effects) -> QuarantineRow | None:
        """Apply the record; if it is unfit still, say how."""
        view = await self._view(place)
        Projector(effects, view, frozenset(), Positions(effects, view)).stored(place)
        try:
            if not effects.quarantine:
                packed = self._storage.pack(effects, view.received_ms)
                await self._link.project(effects, packed)
        except UnfitError as error:
            return place._replace(code="record.refused_by_store", message=str(error))
        return effects.quarantine[0] if effects.quarantine else None

    async def _view(self, place: QuarantineRow) -> View:
        needs = survey([read_record(place.data)])
        return View(
            received_ms=self._clock.wall_ms(),
            cursors={},
            gateways=await self._link.read_gateways([place.gateway]),
            catalogs=await self._reference.catalogs(needs.catalogs, self._clock.monotonic()),
            rates=await self._reference.rates() if needs.unpriced else {},
        )
