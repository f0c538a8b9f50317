"""Ingest: takes envelopes from any road, commits them in batches, and only then answers.

Two tasks work hand in hand: one opens, decides and packs the next batch while the other has Postgres apply
the last. A decision stands on cursors as they will be once the batches before it are committed; if one of
those fails, the next finds its cursors stale and is decided again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from cloud.errors import UnavailableError
from cloud.ingest.batches import (
    Arrival,
    Batch,
    Counters,
    IngestReply,
    decide_and_pack,
    give_up,
    held_by_epoch,
    open_all,
    reply_to,
    tune_interpreter,
)
from cloud.ingest.decide import (
    all_places,
    carried_places,
    irregular,
    needed_digests,
    older_places,
    other_epochs,
)
from cloud.ingest.opening import Refusal, is_enrolment, take_apart
from cloud.ingest.reading import Reference
from cloud.ingest.retry import Retry
from cloud.ingest.storage import StaleError, UnfitError
from cloud.ingest.views import Opened, Road, View
from cloud.kit.ids import uuid7
from protocol import VERSION
from protocol.acks import QUARANTINED_MAX, Ack, Quarantined, build_ack
from protocol.delivery import WINDOW_MAX, Cursor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
    from typing import Any
    from uuid import UUID

    from cloud.ingest.effects import Answer, Effects
    from cloud.ingest.storage import Link, Storage
    from cloud.ingest.views import EpochKey, Gap
    from cloud.kit.clock import Clock
    from cloud.kit.keyring import Keyring

INBOX_MAX = 256
"""Envelopes waiting to be opened, 64 KiB each at most."""
BATCH_BYTES = 256 * 1024
"""A batch ends here: large enough to share a commit, small enough to answer within a second."""
BATCH_FRAMES_MAX = 64
CURSORS_MAX = 100_000
STALE_TRIES_MAX = 20
DATABASE_RETRY_S = 0.5
UPGRADE_RETRY_S = 5.0
SUBMIT_DEADLINE_S = 30.0
TRIES_MAX = 20
"""Times that an envelope is tried again while Postgres is away, before its sender is told to try later."""
CULPRITS_MAX = 64
"""Beyond this many bad records in a frame whole parts of it go to quarantine: it has an exit."""
_SAMPLE_BYTES_MAX = 8192

_log = structlog.get_logger(__name__)


class Ingest:
    """The one way in. `async with Ingest(...) as ingest:` runs it; `submit` from any task.

    `aside` runs a function that keeps a processor busy, so that others get their turn meanwhile.
    """

    def __init__(
        self,
        storage: Storage[Any],
        keyring: Keyring,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        self._storage = storage
        self._aside = aside
        self._keyring = keyring
        self._clock = clock
        self._random = random_bytes
        self._inbox: asyncio.Queue[Arrival] = asyncio.Queue(INBOX_MAX)
        self._ready: asyncio.Queue[Batch] = asyncio.Queue(1)
        self._cursors: dict[EpochKey, Cursor] = {}
        self._gaps: dict[EpochKey, tuple[Gap, ...]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._reference: Reference | None = None
        self._reader: Link[Any] | None = None
        self._writer: Link[Any] | None = None
        self._connecting = asyncio.Lock()
        self.counters = Counters()

    async def __aenter__(self) -> Ingest:
        tune_interpreter()
        self._tasks = [
            asyncio.create_task(self._keep(self._open_batches), name="ingest-open"),
            asyncio.create_task(self._keep(self._apply_batches), name="ingest-apply"),
            asyncio.create_task(self._upgrade(), name="ingest-upgrade"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    async def submit(self, data: bytes, road: str, gateway_hint: str | None) -> IngestReply:
        """Take one envelope, wait for its commit. Raises UnavailableError if the database stays away."""
        arrival = self._arrival(data, road, gateway_hint)
        try:
            async with asyncio.timeout(SUBMIT_DEADLINE_S):
                await self._inbox.put(arrival)
                return await arrival.reply
        except TimeoutError as error:
            raise UnavailableError(
                "the database takes nothing now; the gateway keeps its records and tries again",
                code="ingest.unavailable",
            ) from error

    def offer(self, data: bytes, road: str, gateway_hint: str | None) -> asyncio.Future[IngestReply] | None:
        """Take one envelope without waiting; None, and nothing taken, if the inbox is full."""
        arrival = self._arrival(data, road, gateway_hint)
        try:
            self._inbox.put_nowait(arrival)
        except asyncio.QueueFull:
            self.counters.dropped += 1
            return None
        return arrival.reply

    async def retry(self, record_ids: Sequence[UUID], by: str = "operator") -> dict[UUID, str | None]:
        """Try quarantined records once more, in the order of their seqs: None for those applied now,
        else the code under which they stay held. Ids that are not held are left out.
        """
        return await self._retry(list(record_ids), None, by)

    async def retry_unknown(self) -> dict[UUID, str | None]:
        """Try every record of unknown kind, as each start does: after an upgrade some may be known."""
        return await self._retry(None, ["record.unknown_kind"], "upgrade")

    async def _upgrade(self) -> None:
        """Beside the intake: a fleet that is ahead of its cloud may have filled the quarantine."""
        while True:
            try:
                await self.retry_unknown()
            except Exception:  # noqa: BLE001 - supervisor: what is held already must not stop the intake
                _log.exception("held records of unknown kind are tried again later")
                await self._clock.sleep(UPGRADE_RETRY_S)
            else:
                return

    async def _retry(
        self, ids: Sequence[UUID] | None, codes: Sequence[str] | None, by: str
    ) -> dict[UUID, str | None]:
        link = await self._storage.open(self._new_id)
        try:
            retry = Retry(self._storage, link, Reference(link, self._keyring), self._clock)
            return await retry.run(ids, codes, by)
        finally:
            await link.close()

    def _arrival(self, data: bytes, road: str, hint: str | None) -> Arrival:
        return Arrival(data, Road(road), hint, asyncio.get_running_loop().create_future())

    # -- opening ------------------------------------------------------------------------------------------

    async def _open_batches(self) -> None:
        reference, reader = await self._connect_reader()
        while True:
            arrivals = await self._gather()
            try:
                batch = await self._prepare(arrivals, reference, reader)
            except BaseException as error:
                await self._failed(arrivals, error)
                raise
            if batch is not None:
                await self._ready.put(batch)

    async def _gather(self) -> list[Arrival]:
        """The next arrival and those waiting behind it, up to the limits of a batch; one that was in a batch
        that failed is taken alone, so that it cannot drag others down again.
        """
        arrivals = [await self._inbox.get()]
        if arrivals[0].tries:
            return arrivals
        size = len(arrivals[0].data)
        while size < BATCH_BYTES and len(arrivals) < BATCH_FRAMES_MAX and not self._inbox.empty():
            arrivals.append(self._inbox.get_nowait())
            size += len(arrivals[-1].data)
        return arrivals

    async def _failed(self, arrivals: Sequence[Arrival], error: BaseException) -> None:
        """What becomes of a batch that failed: tried again, one by one if the fault may lie in its frames."""
        ours = isinstance(error, StaleError | UnfitError | UnavailableError)
        if ours or (isinstance(error, Exception) and len(arrivals) > 1):
            await self._give_back(arrivals)
        else:
            give_up(arrivals)

    async def _give_back(self, arrivals: Sequence[Arrival]) -> None:
        """Back into the inbox as far as there is room; whoever is dropped is not acked and sends again."""
        for arrival in arrivals:
            arrival.tries += 1
            if arrival.tries >= TRIES_MAX:
                give_up([arrival])
            elif not arrival.reply.done():
                try:
                    self._inbox.put_nowait(arrival)
                except asyncio.QueueFull:
                    self.counters.dropped += 1
                    reply_to(arrival, IngestReply(None, "ingest.busy", "the intake is full; send it again"))

    async def _prepare(
        self, arrivals: list[Arrival], reference: Reference, reader: Link[Any]
    ) -> Batch | None:
        """Open everything, answer what needs no commit, decide and pack the frames."""
        for arrival in arrivals:
            await self._take_apart(arrival, reader)
        framed = [each for each in arrivals if each.envelope is not None]
        keys = await reference.keys(each.envelope.key_id for each in framed if each.envelope)
        outcomes = await self._aside(open_all, framed, keys)
        opened = []
        for arrival, outcome in zip(framed, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                await self._refuse(arrival, outcome, reader)
            else:
                arrival.opened = outcome
                opened.append(arrival)
        gateways = await reader.read_gateways({each.opened.frame.gateway for each in opened if each.opened})
        live = [each for each in opened if not await self._revoked(each, gateways, reader)]
        return await self._decide(live, reference, reader) if live else None

    async def _take_apart(self, arrival: Arrival, reader: Link[Any]) -> None:
        envelope = take_apart(arrival.data)
        if isinstance(envelope, Refusal):
            await self._refuse(arrival, envelope, reader)
        elif is_enrolment(envelope):
            await self._enrol(arrival, reader)
        else:
            arrival.envelope = envelope

    async def _enrol(self, arrival: Arrival, reader: Link[Any]) -> None:
        refusal = await reader.enrol(arrival.data, arrival.expected)
        if refusal is None:
            reply_to(arrival, IngestReply(None))
        else:
            await self._refuse(arrival, refusal, reader)

    async def _revoked(self, arrival: Arrival, gateways: Mapping[str, object], reader: Link[Any]) -> bool:
        assert arrival.opened is not None  # noqa: S101 - narrows the type
        gateway = arrival.opened.frame.gateway
        view = gateways.get(gateway)
        if view is not None and not getattr(view, "revoked", True):
            return False
        await self._refuse(arrival, Refusal(gateway, "gateway.revoked", f"{gateway} is revoked"), reader)
        return True

    async def _decide(self, arrivals: list[Arrival], reference: Reference, reader: Link[Any]) -> Batch:
        frames = [each.opened for each in arrivals if each.opened is not None]
        view = await self._view(frames, reference, reader)
        effects, packed = await self._aside(decide_and_pack, frames, view, frozenset(), self._storage.pack)
        if len(self._cursors) > CURSORS_MAX:
            self._forget()
        self._remember(effects)
        return Batch(arrivals, view, effects, packed)

    async def _view(
        self, frames: Sequence[Opened], reference: Reference, reader: Link[Any], *, wary: bool = False
    ) -> View:
        """What the decision stands on: cursors as the batches before will leave them.

        `wary`: look for each record whether it is stored already, not only for those that were carried.
        """
        others = other_epochs(frames)
        keys = {each.key for each in frames} | others
        missing = keys - self._cursors.keys()
        if missing:
            self._cursors |= await reader.read_cursors(missing)
        cursors = {key: self._cursors[key] for key in keys if key in self._cursors}
        odd = irregular(frames, cursors)
        gaps = await self._gaps_of({each.key for each in odd} | others, reader)
        late = [each for each in odd if gaps[each.key]]
        digests = {digest for each in frames for digest in each.needs.catalogs}
        return View(
            received_ms=self._clock.wall_ms(),
            cursors=cursors,
            gateways=await reader.read_gateways({each.frame.gateway for each in frames}),
            catalogs=await reference.catalogs(digests, self._clock.monotonic()),
            rates=await reference.rates() if any(each.needs.unpriced for each in frames) else {},
            known=await reader.read_known(needed_digests(frames, cursors)),
            stored=await reader.read_stored(
                carried_places(frames) + older_places(frames) + all_places(frames if wary else late)
            ),
            gaps=gaps,
        )

    async def _gaps_of(self, keys: Set[EpochKey], reader: Link[Any]) -> dict[EpochKey, tuple[Gap, ...]]:
        gaps = {key: self._gaps[key] for key in keys if key in self._gaps}
        read = await reader.read_gaps(keys - gaps.keys())
        self._gaps |= read
        return gaps | read

    async def _refuse(self, arrival: Arrival, refusal: Refusal, reader: Link[Any]) -> None:
        """Note what was not taken in, one row per gateway, road, code and hour, and say so."""
        self.counters.refused += 1
        await reader.refuse(refusal, arrival.road, arrival.data[:_SAMPLE_BYTES_MAX])
        reply_to(arrival, IngestReply(None, refusal.code, refusal.detail))

    # -- applying -----------------------------------------------------------------------------------------

    async def _apply_batches(self) -> None:
        writer = await self._connect_writer()
        while True:
            batch = await self._ready.get()
            try:
                await self._commit(batch, writer)
            except BaseException as error:
                await self._failed(batch.arrivals, error)
                raise

    async def _commit(self, batch: Batch, writer: Link[Any]) -> None:
        """Apply and commit a batch; if the storage will not take it, find out which record is at fault."""
        try:
            await self._attempt(batch, writer)
        except UnfitError:
            await self._bisect(batch.arrivals, writer)

    async def _attempt(self, batch: Batch, writer: Link[Any], suspects: Set[bytes] = frozenset()) -> None:
        for _ in range(STALE_TRIES_MAX):
            try:
                await writer.apply(batch.effects, batch.packed, batch.view)
                await writer.commit()
            except StaleError:
                await writer.rollback()
                batch = await self._again(batch.arrivals, suspects)
            except BaseException:
                self._forget()
                await _quiet_rollback(writer)
                raise
            else:
                self._answer_all(batch)
                return
        raise StaleError(f"cursors moved {STALE_TRIES_MAX} times while deciding")

    async def _again(self, arrivals: Sequence[Arrival], suspects: Set[bytes]) -> Batch:
        """Decide anew on cursors as they are committed now; looks warily for records stored before."""
        self.counters.stale += 1
        reference, reader = await self._connect_reader()
        self._forget()
        opened = [each.opened for each in arrivals if each.opened is not None]
        gateways = await reader.read_gateways({each.frame.gateway for each in opened})
        live = [each for each in arrivals if not await self._revoked(each, gateways, reader)]
        frames = [each.opened for each in live if each.opened is not None]
        view = await self._view(frames, reference, reader, wary=True)
        effects, packed = decide_and_pack(frames, view, suspects, self._storage.pack)
        self._remember(effects)
        return Batch(live, view, effects, packed)

    def _remember(self, effects: Effects) -> None:
        """Cursors and gaps as they will be once these effects are committed."""
        self._cursors.update(effects.cursors)
        self._gaps.update(effects.gaps)

    def _forget(self) -> None:
        self._cursors.clear()
        self._gaps.clear()

    async def _bisect(self, arrivals: Sequence[Arrival], writer: Link[Any]) -> None:
        """Halve until one frame is left, then find its culprits; everybody else is committed as usual."""
        if len(arrivals) == 1:
            await self._isolate(arrivals[0], writer)
            return
        middle = len(arrivals) // 2
        for half in (arrivals[:middle], arrivals[middle:]):
            await self._commit(await self._again(half, frozenset()), writer)

    async def _isolate(self, arrival: Arrival, writer: Link[Any]) -> None:
        """Commit one frame with every record in quarantine that Postgres will not take."""
        self.counters.failures += 1
        batch = await self._again([arrival], frozenset())
        everything = [row[3] for row in batch.effects.records]
        fit: set[bytes] = set()
        culprits: set[bytes] = set()
        todo = [everything]
        while todo:
            part = todo.pop()
            # Beside all that was found fit before: of two that fit only without each other one must go.
            if await self._passes(arrival, set(everything) - fit - set(part), writer):
                fit.update(part)
            elif len(part) == 1 or len(culprits) >= CULPRITS_MAX:
                culprits.update(part)
            else:
                todo += [part[len(part) // 2 :], part[: len(part) // 2]]
        try:
            await self._attempt(await self._again([arrival], culprits), writer, culprits)
        except UnfitError as error:
            gateway = arrival.opened.frame.gateway if arrival.opened is not None else ""
            _, reader = await self._connect_reader()
            await self._refuse(arrival, Refusal(gateway, "ingest.unstorable", str(error)), reader)

    async def _passes(self, arrival: Arrival, suspects: Set[bytes], writer: Link[Any]) -> bool:
        """Whether Postgres takes the frame with `suspects` set aside; changes nothing."""
        for _ in range(STALE_TRIES_MAX):
            trial = await self._again([arrival], suspects)
            try:
                await writer.apply(trial.effects, trial.packed, trial.view)
            except UnfitError:
                return False
            except StaleError:
                continue
            finally:
                self._forget()
                await _quiet_rollback(writer)
            return True
        raise StaleError("cursors keep moving")

    def _answer_all(self, batch: Batch) -> None:
        """Postgres has it: say so."""
        effects = batch.effects
        self.counters.batches += 1
        self.counters.frames += len(batch.arrivals)
        self.counters.records += len(effects.records)
        self.counters.weighings += len(effects.weighings)
        self.counters.quarantined += len(effects.quarantine)
        self.counters.lag_s = (self._clock.wall_ms() - batch.view.received_ms) / 1000
        held = held_by_epoch(effects)
        for arrival, answer in zip(batch.arrivals, effects.answers, strict=True):
            reply_to(arrival, IngestReply(self._ack(answer, held)))

    def _ack(self, answer: Answer, held: Mapping[EpochKey, list[Quarantined]]) -> bytes:
        cursor = answer.cursor
        named = held.get((cursor.gateway, cursor.epoch), [])[:QUARANTINED_MAX]
        window = 1 if self._inbox.qsize() > INBOX_MAX // 2 else WINDOW_MAX
        ack = Ack(
            VERSION, cursor.gateway, cursor.epoch, cursor.through, cursor.digest, answer.expect,
            answer.verdict, named, window, self._clock.wall_ms(), answer.echo, answer.forgot, answer.missing,
        )  # fmt: skip
        return build_ack(ack, self._keyring.ack)

    # -- connections and supervision ----------------------------------------------------------------------

    async def _connect_reader(self) -> tuple[Reference, Link[Any]]:
        async with self._connecting:
            if self._reference is None or self._reader is None:
                self._reader = await self._storage.open(self._new_id, reading=True)
                self._reference = Reference(self._reader, self._keyring)
            return self._reference, self._reader

    async def _connect_writer(self) -> Link[Any]:
        await self._connect_reader()
        if self._writer is None:
            self._writer = await self._storage.open(self._new_id)
        return self._writer

    async def _disconnect(self) -> None:
        links, self._reference = (self._reader, self._writer), None
        self._reader = self._writer = None
        self._forget()
        for link in links:
            if link is not None:
                await link.close()

    async def _keep(self, work: Callable[[], object]) -> None:
        """Run one of the two tasks for ever; when the storage goes away, connect again."""
        while True:
            try:
                await work()  # type: ignore[misc]
            except Exception:  # noqa: BLE001 - supervisor: what one batch met must not stop the intake
                _log.exception("ingest starts again")
                self.counters.failures += 1
                await self._disconnect()
                await self._clock.sleep(DATABASE_RETRY_S * (1 + self._random(1)[0] / 255))

    def _new_id(self) -> UUID:
        return uuid7(self._clock.wall_ms(), self._random)


async def _quiet_rollback(writer: Link[Any]) -> None:
    try:
        await writer.rollback()
    except UnavailableError:
        return  # the connection is gone, and the transaction with it


__all__ = ["Counters", "Ingest", "IngestReply"]
