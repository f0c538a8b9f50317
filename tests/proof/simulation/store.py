"""A model of the cloud's database: ingest runs on it where no Postgres can, in virtual time, from a seed.

    model = Model(sleep=clock.sleep, chance=random.Random(seed))
    model.add_gateway("ktm-drop-01", key_id, public_key)            # claimed, enrolled
    model.add_catalog(digest, data, issued_at); model.add_rate("pet", since, 12_000)
    async with Ingest(model, keyring, clock, random_bytes, aside=at_once) as ingest: ...

`Model` is the `Storage` that `Ingest` takes. `aside` must not start threads in virtual time: `at_once` runs
what it is given where it stands. Beside that a test may at any moment, without awaiting:

    model.kill()            every connection dies; a commit under way was done, or was not: `chance` says
    model.away = True       and no new one is to be had until it is False again
    model.snapshot() / model.restore(backup)    the cloud goes back to a backup (and its connections die)
    model.revoke_gateway, revoke_card, add_citizen, add_tag, reject, claim, release, withdraw, release_holding
    model.tables            what is committed: `store_tables.Tables`, to read only
    model.balance("citizen", pseudonym), model.faults()

`sleep(seconds)` is awaited once for each call of a link, twice for a commit, with `latency_s()`. One writer
at a time: whoever applies waits until the one before has committed or rolled back. Does not own: queries'
costs, deadlocks, and whatever else only a real database has; that both do the same is R8's to show.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from cloud.errors import DatabaseError
from cloud.ingest.opening import Refusal
from cloud.ingest.storage import StaleError
from cloud.ingest.views import Gap, GatewayView
from protocol.cose import key_id_of
from protocol.delivery import Cursor
from protocol.enrolment import open_enrolment, proof_of
from protocol.errors import ProtocolError
from protocol.records import genesis_digest
from tests.proof.simulation import store_ledger as ledger
from tests.proof.simulation.store_effects import project, take_in_strays
from tests.proof.simulation.store_tables import (
    AccountRow,
    CardRow,
    CatalogRow,
    GatewayRow,
    HeldRow,
    RateRow,
    Tables,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime
    from typing import Any

    from cloud.ingest.effects import Effects, QuarantineRow
    from cloud.ingest.views import EpochKey, Road, View
    from tests.proof.simulation.store_tables import Place

Got = TypeVar("Got")
KEY_DOCUMENTS_MAX = 100


async def at_once(function: Callable[..., Got], *values: Any) -> Got:
    """Run a function here and now."""
    return function(*values)


class Model:
    """The database. `sleep` and `chance` are all that it takes from outside."""

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]],
        chance: random.Random,
        latency_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.tables = Tables()
        self.tables.accounts[ledger.ISSUER] = AccountRow("issuer", b"points", 0, None)
        self.away = False
        self.commits = 0
        self._sleep = sleep
        self._chance = chance
        self._latency_s = latency_s
        self._links: list[ModelLink] = []
        self.writing = asyncio.Lock()

    # -- the port -------------------------------------------------------------------------------------------

    def pack(self, effects: Effects, received_ms: int) -> None:
        """Nothing to make ready: effects are applied as they are."""
        return

    async def open(self, new_id: Callable[[], UUID], *, reading: bool = False) -> ModelLink:
        """Connect."""
        await self.pause()
        if self.away:
            raise DatabaseError("the model is away", code="database.unreachable")
        link = ModelLink(self, new_id, reading=reading)
        self._links.append(link)
        return link

    # -- faults ---------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Time passes."""
        await self._sleep(self._latency_s())

    def kill(self) -> None:
        """Every connection dies; of a commit under way nobody is told whether it was done."""
        for link in list(self._links):
            link.die(done=self._chance.random() < 0.5)

    def gone(self, link: ModelLink) -> None:
        """A link was closed, or died."""
        if link in self._links:
            self._links.remove(link)

    def snapshot(self) -> Tables:
        """A backup of what is committed."""
        return self.tables.copy()

    def restore(self, backup: Tables) -> None:
        """Go back to a backup."""
        for link in list(self._links):
            link.die(done=False)
        self.tables = backup.copy()

    # -- what others than ingest write ----------------------------------------------------------------------

    def add_gateway(
        self,
        gateway: str,
        key_id: bytes | None = None,
        public_key: bytes = b"",
        *,
        drop_point: UUID | None = None,
        secret: bytes | None = None,
    ) -> None:
        """Know a gateway; with a key it is enrolled, with a one-time code's secret it may enrol one."""
        self.tables.gateways[gateway] = GatewayRow(drop_point, False, secret)
        if key_id is not None:
            self.tables.keys[key_id] = (public_key, gateway)

    def revoke_gateway(self, gateway: str, *, revoked: bool = True) -> None:
        """Believe a gateway no more."""
        row = self.tables.gateways[gateway]
        self.tables.gateways[gateway] = row._replace(revoked=revoked)

    def add_catalog(
        self, digest: bytes, data: bytes, issued_at: datetime, generation: int = 1, version: int = 1
    ) -> None:
        """Issue a signed catalogue."""
        self.tables.catalogs[digest] = CatalogRow(generation, version, data, issued_at)

    def add_key_document(self, data: bytes) -> None:
        """Announce keys."""
        self.tables.key_documents[len(self.tables.key_documents)] = data

    def add_rate(self, material: str, valid_from: datetime, points_per_kg: int) -> None:
        """Let a material earn so much from a time on; later rates of a material come later."""
        self.tables.rates[len(self.tables.rates)] = RateRow(material, valid_from, points_per_kg)

    def add_citizen(self, citizen: UUID, pseudonym: bytes) -> None:
        """Know a citizen."""
        self.tables.citizens[pseudonym] = citizen

    def add_tag(self, raw: bytes, pseudonym: bytes) -> None:
        """Give a tag to a citizen."""
        self.tables.tags[raw] = pseudonym

    def revoke_card(self, serial: bytes, revoked_us: int | None) -> None:
        """Issue a card that is, or is not, revoked since so many microseconds after 2000."""
        self.tables.cards[serial] = CardRow(serial[:8], revoked_us)

    def reject(self, record: UUID) -> None:
        """An operator rejects a held record."""
        held = self.tables.quarantine[record.bytes]
        self.tables.quarantine[record.bytes] = HeldRow(held.row, "rejected")

    def claim(self, claim_hash: bytes, pseudonym: bytes) -> int:
        """A citizen claims a guest's deposit; the points moved. Raises NotFoundError, LedgerError."""
        return self._whole(lambda tables: ledger.claim(tables, claim_hash, pseudonym))

    def release_holding(self, holding: UUID, pseudonym: bytes) -> int:
        """An operator gives what a holding has to a citizen; the points moved."""
        return self._whole(lambda tables: ledger.inherit(tables, holding, pseudonym))

    def release(self, weighings: Sequence[UUID]) -> int:
        """Post pending awards; how many were posted."""
        return self._whole(lambda tables: ledger.release(tables, weighings))

    def withdraw(self, weighings: Sequence[UUID]) -> int:
        """Void pending awards; how many were voided."""
        return self._whole(lambda tables: ledger.withdraw(tables, weighings))

    def _whole(self, work: Callable[[Tables], Got]) -> Got:
        """A transaction between others. Where a batch is being applied, its commit would undo this."""
        if self.writing.locked():
            raise DatabaseError("a batch is being applied; ask again", code="database.busy")
        draft = self.tables.draft()
        result = work(draft)
        draft.keep()
        return result

    # -- what can be asked ----------------------------------------------------------------------------------

    def balance(self, kind: str, key: bytes) -> int:
        """Points of an account; 0 if there is none."""
        row = self.tables.accounts.get(ledger.account_of(kind, key))
        return row.balance if row is not None else 0

    def faults(self) -> list[str]:
        """What does not add up in the ledger."""
        return ledger.faults(self.tables)


class ModelLink:
    """One connection to the model."""

    def __init__(self, model: Model, new_id: Callable[[], UUID], *, reading: bool) -> None:
        self._model = model
        self._new_id = new_id
        self._reading = reading
        self._dead = False
        self._committing = False
        self._draft: Tables | None = None
        """Changes since the last commit; whoever has one holds the model's lock."""

    @property
    def tables(self) -> Tables:
        """What this connection sees: what is committed, and its own changes."""
        return self._draft or self._model.tables

    def die(self, *, done: bool) -> None:
        """Lose the connection; `done`: a commit under way was kept all the same."""
        if self._committing and done and self._draft is not None:
            self._keep()
        self._dead = True
        self._forget()
        self._model.gone(self)

    async def commit(self) -> None:
        """Keep the changes, all of them."""
        self._committing = True
        try:
            await self._ask()
            if self._draft is not None:
                self._keep()
            await self._ask()
        finally:
            self._committing = False

    async def rollback(self) -> None:
        """Forget the changes."""
        self._forget()
        await self._ask()

    async def close(self) -> None:
        """Give the connection up."""
        self.die(done=False)

    async def _ask(self) -> Tables:
        """One question to the database: takes its time, and fails if the connection dies meanwhile."""
        if not self._dead:
            await self._model.pause()
        if self._dead:
            raise DatabaseError("the connection to the model is lost", code="database.lost")
        return self.tables

    async def _begin(self) -> Tables:
        """Write: alone, and on a draft."""
        await self._ask()
        if self._draft is None:
            await self._model.writing.acquire()
            if self._dead:
                self._model.writing.release()
                raise DatabaseError("the connection to the model is lost", code="database.lost")
            self._draft = self._model.tables.draft()
        return self._draft

    def _keep(self) -> None:
        assert self._draft is not None
        self._draft.keep()
        self._model.commits += 1
        self._forget()

    def _forget(self) -> None:
        if self._draft is not None:
            self._draft = None
            self._model.writing.release()

    # -- reading --------------------------------------------------------------------------------------------

    async def read_cursors(self, keys: Iterable[EpochKey]) -> dict[EpochKey, Cursor]:
        """Those of these cursors that exist."""
        cursors = (await self._ask()).cursors
        return {key: cursors[key] for key in sorted(keys) if key in cursors}

    async def read_gateways(self, gateways: Iterable[str]) -> dict[str, GatewayView]:
        """What is known of these gateways."""
        rows = (await self._ask()).gateways
        known = [each for each in sorted(set(gateways)) if each in rows]
        return {each: GatewayView(each, rows[each].drop_point, rows[each].revoked) for each in known}

    async def read_known(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """Committed digests at these places."""
        tables = await self._ask()
        found = ((place, _digest(tables, place)) for place in places)
        return {place: digest for place, digest in found if digest is not None}

    async def read_stored(self, places: Iterable[Place]) -> frozenset[bytes]:
        """Ids of the records stored at these places."""
        records = (await self._ask()).records
        return frozenset(row[3] for place in places for row in records.get(place, ()))

    async def read_gaps(self, keys: Iterable[EpochKey]) -> dict[EpochKey, tuple[Gap, ...]]:
        """What is missing of these epochs."""
        tables = await self._ask()
        return {
            key: tuple(_gap(tables, key, *place) for place in sorted(tables.gaps.get(key, ())))
            for key in keys
        }

    async def read_keys(self, ids: Sequence[bytes]) -> list[tuple[bytes, bytes, str]]:
        """Key id, public key and gateway."""
        keys = (await self._ask()).keys
        return [(each, *keys[each]) for each in ids if each in keys]

    async def read_catalogs(self) -> list[tuple[bytes, int, int, datetime]]:
        """Digest, generation, version and time of issue."""
        rows = (await self._ask()).catalogs.items()
        return [(digest, row.generation, row.version, row.issued_at) for digest, row in rows]

    async def read_catalog(self, digest: bytes) -> bytes | None:
        """The signed catalogue."""
        row = (await self._ask()).catalogs.get(digest)
        return None if row is None else row.data

    async def read_key_documents(self) -> list[bytes]:
        """The signed keys documents, newest first."""
        documents = (await self._ask()).key_documents
        return [documents[number] for number in sorted(documents, reverse=True)][:KEY_DOCUMENTS_MAX]

    async def read_rates(self) -> list[tuple[str, datetime, int]]:
        """Every rate, those of a material oldest first."""
        rates = (await self._ask()).rates
        return [tuple(rates[number]) for number in sorted(rates)]  # type: ignore[misc]

    # -- writing --------------------------------------------------------------------------------------------

    async def apply(self, effects: Effects, packed: None, view: View) -> None:
        """Apply everything, if what it was decided on is so still."""
        tables = await self._begin()
        _compare(tables, effects, view)
        for key, gaps in effects.gaps.items():
            tables.gaps[key] = tuple(sorted((gap.first, gap.last) for gap in gaps))
        await self.project(effects, packed)
        take_in_strays(tables, effects, view, self._new_id)
        tables.cursors.update(effects.cursors)
        for key in effects.gaps:
            _resolve_alarms(tables, key)

    async def project(self, effects: Effects, packed: None) -> None:
        """Apply everything but cursors."""
        project(await self._begin(), effects, self._new_id)

    async def list_held(self, ids: Sequence[UUID] | None, codes: Sequence[str] | None) -> list[UUID]:
        """Records held, by gateway, epoch and seq."""
        rows = [held.row for held in (await self._ask()).quarantine.values() if held.state == "held"]
        wanted = None if ids is None else {each.bytes for each in ids}
        rows = [row for row in rows if wanted is None or row.id in wanted]
        rows = [row for row in rows if codes is None or row.code in codes]
        rows.sort(key=lambda row: (row.gateway, row.epoch, row.seq))
        return [UUID(bytes=row.id) for row in rows]

    async def lock_held(self, record: UUID) -> QuarantineRow | None:
        """A record, if it is held still."""
        held = (await self._begin()).quarantine.get(record.bytes)
        return held.row if held is not None and held.state == "held" else None

    async def still_held(self, record: UUID, code: str, message: str) -> None:
        """Note why a record stays."""
        tables = await self._begin()
        held = tables.quarantine[record.bytes]
        if held.state == "held":
            tables.quarantine[record.bytes] = HeldRow(held.row._replace(code=code, message=message), "held")

    async def mark_retried(self, record: UUID, by: str) -> None:
        """Let a record out."""
        tables = await self._begin()
        tables.quarantine[record.bytes] = HeldRow(tables.quarantine[record.bytes].row, "retried")

    async def refuse(self, refusal: Refusal, road: Road, sample: bytes) -> None:
        """Count something that was not taken in."""
        refusals = (await self._ask()).refusals
        key = refusal.gateway, road.value, refusal.code
        refusals[key] = refusals.get(key, 0) + 1

    async def enrol(self, data: bytes, expected: str | None) -> Refusal | None:
        """Enrol a key, if it comes with a proof of the one-time code."""
        tables = await self._ask()
        try:
            offer = open_enrolment(data)
        except ProtocolError as error:
            return Refusal("", error.code, str(error))
        if expected not in {None, offer.gateway}:
            return Refusal("", "frame.wrong_gateway", f"enrolment of {offer.gateway} as {expected}")
        row = tables.gateways.get(offer.gateway)
        if row is None or row.revoked:
            return Refusal("", "enrolment.refused", f"there is no gateway {offer.gateway} to enrol")
        known = tables.keys.get(key_id_of(offer.public_key))
        if known is not None:
            same = known == (offer.public_key, offer.gateway)
            return None if same else Refusal("", "enrolment.key_known", "this key id is another's")
        proof = proof_of(offer.gateway, offer.public_key, row.secret or b"")
        if row.secret is None or not hmac.compare_digest(proof, offer.proof):
            return Refusal(offer.gateway, "enrolment.refused", "the one-time code is used or another")
        tables.keys[key_id_of(offer.public_key)] = (offer.public_key, offer.gateway)
        tables.gateways[offer.gateway] = row._replace(secret=None)
        return None


def _compare(tables: Tables, effects: Effects, view: View) -> None:
    """Whether the decision stands on what is so. Raises StaleError."""
    for key in view.cursors.keys() | effects.cursors.keys():
        expected = view.cursors.get(key) or Cursor.start(*key)
        found = tables.cursors.get(key) or (None if key in view.cursors else Cursor.start(*key))
        if found != expected:
            raise StaleError("a cursor moved")
    for gateway, known in view.gateways.items():
        row = tables.gateways.get(gateway)
        if row is None or GatewayView(gateway, row.drop_point, row.revoked) != known:
            raise StaleError("a gateway changed")
    for key, gaps in view.gaps.items():
        if set(tables.gaps.get(key, ())) != {(gap.first, gap.last) for gap in gaps}:
            raise StaleError("a gap changed")


def _resolve_alarms(tables: Tables, key: EpochKey) -> None:
    """Nobody needs to look for what came in after all."""
    for number, alarm in list(tables.alarms.items()):
        detail = dict(alarm.detail)
        if alarm.code == "epoch.gap" and not alarm.resolved and (alarm.gateway, detail["epoch"]) == key:
            missing = tables.gaps.get(key, ())
            if not any(first <= detail["last"] and last >= detail["first"] for first, last in missing):
                tables.alarms[number] = alarm._replace(resolved=True)


def _gap(tables: Tables, key: EpochKey, first: int, last: int) -> Gap:
    before = genesis_digest(*key) if first == 1 else _digest(tables, (*key, first - 1))
    return Gap(first, last, before, _digest(tables, (*key, last + 1)))


def _digest(tables: Tables, place: Place) -> bytes | None:
    """The digest at a place; of several, that of the record which came by itself, or first."""
    rows = tables.records.get(place, ())
    if not rows:
        return None
    return min(rows, key=lambda row: (row[7] is not None, row[7] or 0, row[8] or 0))[5]
