"""The thin SQL side: reads what a decision needs, applies its effects in one transaction.

Owns one connection. Decides nothing: what it finds other than was decided on, it reports as stale.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from cloud.errors import DatabaseError
from cloud.ingest import rows
from cloud.ingest.clocks import note_sightings
from cloud.ingest.custody import apply_custody, pickups_first
from cloud.ingest.effects import QuarantineRow
from cloud.ingest.pack import pack
from cloud.ingest.project import STRAY
from cloud.ingest.storage import StaleError, StoredError, UnfitError
from cloud.ingest.views import Gap, GatewayView
from cloud.ingest.waiting import WAITING, WAITING_MAX, closing_waits, take_in, void_waits, wake
from cloud.kit.queries import load_queries
from cloud.ledger.accounts import ISSUER
from cloud.ledger.posting import Voided, reverse, settle
from protocol.delivery import Cursor
from protocol.records import genesis_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from typing import Any, ParamSpec, TypeVar

    from cloud.ingest.effects import Effects, VoidRow
    from cloud.ingest.pack import Payloads
    from cloud.ingest.views import EpochKey, View

    Given = ParamSpec("Given")
    Got = TypeVar("Got")

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
_CREDIT = QUERIES["credit"].replace(b"{issuer}", str(ISSUER).encode())


_UNFIT = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    psycopg.NotSupportedError,
    psycopg.errors.ProgramLimitExceeded,
)
"""What a record's content can provoke; anything else is Postgres's own trouble and is tried again."""
_NOT_READY = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,  # also: "cached plan must not change result type"
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.BadCopyFileFormat,
    psycopg.errors.InvalidBinaryRepresentation,
)
"""What no content can provoke although it stands beside what can: the schema is being changed, or a backup
was put back without its rights. Taken for a record's fault it would hold back every weighing that arrives.
"""
_MOVED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
"""Somebody else came first: decide anew."""


def in_our_words(ask: Callable[Given, Coroutine[Any, Any, Got]]) -> Callable[Given, Coroutine[Any, Any, Got]]:
    """Let what Postgres has to say leave in the words of the port: stale, unfit, or away."""

    @functools.wraps(ask)
    async def asked(*args: Given.args, **values: Given.kwargs) -> Got:
        try:
            return await ask(*args, **values)
        except _MOVED as error:
            raise StaleError(str(error)) from error
        except psycopg.Error as error:
            if isinstance(error, _UNFIT) and not isinstance(error, _NOT_READY):
                raise UnfitError(str(error)) from error
            raise DatabaseError(f"Postgres did not do it: {error}", code="database.lost") from error

    return asked


class Store:
    """Applies effects over one connection. `new_id` makes time-ordered ids."""

    def __init__(self, connection: psycopg.AsyncConnection, new_id: Callable[[], UUID]) -> None:
        self._connection = connection
        self._new_id = new_id

    @in_our_words
    async def prepare(self) -> None:
        """Make the stages of this connection; once per connection."""
        await self._connection.execute(QUERIES["session"])
        await self._connection.commit()

    @in_our_words
    async def rollback(self) -> None:
        """Forget what was applied since the last commit."""
        await self._connection.rollback()

    @in_our_words
    async def commit(self) -> None:
        """Make it durable; when this returns, it may be acknowledged."""
        await self._connection.commit()

    @in_our_words
    async def read_cursors(self, keys: Iterable[EpochKey]) -> dict[EpochKey, Cursor]:
        """Those of these cursors that exist, unlocked."""
        result = await self._connection.execute(QUERIES["read_cursors"], _keys(keys))
        return {(row[0], row[1]): _cursor(row) for row in await result.fetchall()}

    @in_our_words
    async def read_gateways(self, gateways: Iterable[str]) -> dict[str, GatewayView]:
        """What is known of these gateways."""
        result = await self._connection.execute(QUERIES["read_gateways"], {"gateways": sorted(set(gateways))})
        return {row[0]: GatewayView(row[0], row[1], row[2]) for row in await result.fetchall()}

    @in_our_words
    async def read_known(self, places: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], bytes]:
        """Committed digests at these places."""
        if not places:
            return {}
        result = await self._connection.execute(QUERIES["read_known"], _places(places))
        return {(row[0], row[1], row[2]): bytes(row[3]) for row in await result.fetchall()}

    @in_our_words
    async def read_stored(self, places: Iterable[tuple[str, int, int]]) -> frozenset[bytes]:
        """Ids (16 bytes) of the records stored at these places, whoever brought them."""
        ordered = sorted(set(places))
        if not ordered:
            return frozenset()
        result = await self._connection.execute(QUERIES["read_stored"], _places(ordered))
        return frozenset(row[0].bytes for row in await result.fetchall())

    @in_our_words
    async def read_gaps(self, keys: Iterable[EpochKey]) -> dict[EpochKey, tuple[Gap, ...]]:
        """What is missing of these epochs, for each of them."""
        gaps: dict[EpochKey, tuple[Gap, ...]] = dict.fromkeys(keys, ())
        if not gaps:
            return gaps
        result = await self._connection.execute(QUERIES["read_gaps"], _keys(gaps))
        for gateway, epoch, first, last, before, after in await result.fetchall():
            left = genesis_digest(gateway, epoch) if first == 1 else before
            gaps[gateway, epoch] += (Gap(first, last, left, after),)
        return gaps

    @in_our_words
    async def apply(self, effects: Effects, payloads: Payloads, view: View) -> None:
        """Apply everything; the caller commits. Effects gain what was found unfit on the way.

        Raises StaleError if what the decision stood on has changed, UnfitError for a record's content.
        """
        await self._lock(effects, view)
        await self._move_gaps(effects, view)
        await self.project(effects, payloads)
        if effects.again:
            await self._take_in_strays(effects, view)
        if effects.cursors:
            moved = list(effects.cursors.values())
            values = {**_columns(moved), "closed": [each.closed for each in moved]}
            await self._connection.execute(QUERIES["move_cursors"], values)
        if effects.gaps:
            await self._connection.execute(QUERIES["resolve_gap_alarms"], _keys(effects.gaps))

    @in_our_words
    async def project(self, effects: Effects, payloads: Payloads) -> None:
        """Apply everything but cursors: what records mean, wherever they come from."""
        await self._store_records(payloads)
        if payloads.holders is not None:
            await self._credit(payloads)
        await self._follow(effects, payloads.closings)
        await self._wake(effects)
        if payloads.holders is not None:
            await self._settle()
        await self._note(effects)
        await note_sightings(self._connection, effects.sightings)  # last: so does whoever repairs the times

    async def _lock(self, effects: Effects, view: View) -> None:
        """Lock every cursor the decision looked at, making the missing ones, and compare."""
        keys = set(view.cursors) | set(effects.cursors)
        absent = [Cursor.start(*key) for key in effects.cursors if key not in view.cursors]
        if absent:
            await self._connection.execute(QUERIES["start_cursors"], _columns(absent))
        result = await self._connection.execute(QUERIES["lock_cursors"], _keys(keys))
        found = {(row[0], row[1]): _cursor(row) for row in await result.fetchall()}
        expected = {cursor_key(cursor): cursor for cursor in absent} | dict(view.cursors)
        if found != expected:
            raise StaleError("a cursor moved")
        if await self.read_gateways(view.gateways) != view.gateways:
            raise StaleError("a gateway changed")
        if view.gaps and _places_of(await self.read_gaps(view.gaps)) != _places_of(view.gaps):
            raise StaleError("a gap changed")

    async def _move_gaps(self, effects: Effects, view: View) -> None:
        for key, gaps in effects.gaps.items():
            places = {gap[:2] for gap in gaps}
            known = {gap[:2] for gap in view.gaps.get(key, ())}
            for place in sorted(known - places):
                await self._connection.execute(QUERIES["close_gap"], (*key, *place))
            for place in sorted(places - known):
                await self._connection.execute(QUERIES["note_gap"], (*key, *place))

    async def _store_records(self, payloads: Payloads) -> None:
        if payloads.records is None:
            return
        try:
            await self._copy("records", rows.RECORD_COLUMNS, payloads.records)
        except psycopg.errors.UniqueViolation as error:
            raise StoredError("a record is stored already") from error

    async def _credit(self, payloads: Payloads) -> None:
        for table, columns, payload in (
            ("stage_holders", rows.HOLDER_COLUMNS, payloads.holders),
            ("stage_deposits", rows.DEPOSIT_COLUMNS, payloads.deposits),
            ("stage_weighings", rows.WEIGHING_COLUMNS, payloads.weighings),
        ):
            if payload is not None:
                await self._copy(table, columns, payload)
        await self._connection.execute(_CREDIT)

    async def _follow(self, effects: Effects, closings: bytes | None) -> None:
        """Apply what means another record; if that one is not applied, it waits in quarantine."""
        if closings is not None:
            await self._copy("stage_closings", rows.CLOSING_COLUMNS, closings)
            result = await self._connection.execute(QUERIES["close_visits"])
            unknown = {row[0].bytes for row in await result.fetchall()}
            effects.quarantine += [closing_waits(each) for each in effects.closings if each.id in unknown]
        if effects.voids:
            await self._void(effects)
        for step in pickups_first(effects.custody):
            refused = await apply_custody(self._connection, step)
            if refused is not None:
                effects.quarantine.append(refused)

    async def _wake(self, effects: Effects) -> None:
        """Let what waited for something applied just now take effect."""
        held = await self._waiting(effects)
        if not held:
            return
        woken = wake(held, await self.read_gateways({row.gateway for row in held}))
        await self._connection.execute(QUERIES["forget_closings"])
        await self._follow(woken, rows.pack_closings(woken.closings) if woken.closings else None)
        waiting = {row.id for row in woken.quarantine}
        effects.woken = [row.id for row in held if row.id not in waiting]
        ids = [UUID(bytes=each) for each in effects.woken]
        if ids:
            await self._connection.execute(QUERIES["mark_woken"], {"ids": ids})

    async def _take_in_strays(self, effects: Effects, view: View) -> None:
        """What was set aside because it joined no chain, and now came on one, takes effect."""
        values = {"ids": [UUID(bytes=each) for each in effects.again], "code": STRAY}
        result = await self._connection.execute(QUERIES["strays"], values)
        for row in await result.fetchall():
            try:
                async with self._connection.transaction():
                    woken = await self._take_in(held_row(row), view)
            except UnfitError:
                continue  # nothing the storage takes: it stays where a person finds it
            effects.quarantine = [each for each in effects.quarantine if each.id not in woken]

    async def _take_in(self, stray: QuarantineRow, view: View) -> list[bytes]:
        """Apply one; what waited for it."""
        effects = take_in(stray, view)
        await self._connection.execute(QUERIES["forget_stages"])
        await self.project(effects, pack(effects, view.received_ms))
        for held in effects.quarantine:
            values = (held.code, held.message, UUID(bytes=held.id))
            await self._connection.execute(QUERIES["still_held"], values)
        if not effects.quarantine:
            await self._connection.execute(QUERIES["mark_woken"], {"ids": [UUID(bytes=stray.id)]})
        return effects.woken

    async def _waiting(self, effects: Effects) -> list[QuarantineRow]:
        places = [(*key, seq) for key, seq in sorted(effects.since.items())]
        if not places:
            return []
        values = {**_places(places), "codes": list(WAITING), "limit": WAITING_MAX}
        result = await self._connection.execute(QUERIES["waiting"], values)
        return [held_row(row) for row in await result.fetchall()]

    async def _void(self, effects: Effects) -> None:
        values = _void_columns(effects.voids)
        orphans = await self._connection.execute(QUERIES["voids_without_weighing"], values)
        unknown = {row[0].bytes for row in await orphans.fetchall()}
        effects.quarantine += [void_waits(void) for void in effects.voids if void.id in unknown]
        result = await self._connection.execute(QUERIES["void_weighings"], values)
        voided = [Voided(*row) for row in await result.fetchall()]
        if voided:
            await reverse(self._connection, voided)

    async def _settle(self) -> None:
        result = await self._connection.execute(QUERIES["due"])
        for account, key in await result.fetchall():
            await settle(self._connection, account, bytes(key), self._new_id())

    async def _note(self, effects: Effects) -> None:
        async with self._connection.cursor() as cursor:
            if effects.quarantine:
                held = [(UUID(bytes=row.id), *row[1:]) for row in effects.quarantine]
                await cursor.executemany(QUERIES["hold"], held)
            if effects.alarms:
                alarms = [
                    (self._new_id(), alarm.gateway, alarm.code, json.dumps(alarm.detail))
                    for alarm in effects.alarms
                ]
                await cursor.executemany(QUERIES["raise_alarm"], alarms)

    async def _copy(self, table: str, columns: str, payload: bytes) -> None:
        async with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy,
        ):
            await copy.write(payload)


def cursor_key(cursor: Cursor) -> EpochKey:
    """Which cursor this is."""
    return cursor.gateway, cursor.epoch


def _cursor(row: Sequence[object]) -> Cursor:
    gateway, epoch, through, digest, closed = row
    return Cursor(str(gateway), int(epoch), int(through), bytes(digest), bool(closed))  # type: ignore[call-overload]


def _places_of(gaps: Mapping[EpochKey, tuple[Gap, ...]]) -> set[tuple[EpochKey, int, int]]:
    return {(key, gap.first, gap.last) for key, each in gaps.items() for gap in each}


def _keys(keys: Iterable[EpochKey]) -> dict[str, list[object]]:
    ordered = sorted(keys)
    return {"gateways": [key[0] for key in ordered], "epochs": [key[1] for key in ordered]}


def _places(places: Sequence[tuple[str, int, int]]) -> dict[str, list[object]]:
    gateways, epochs, seqs = (list(column) for column in zip(*places, strict=True))
    return {"gateways": gateways, "epochs": epochs, "seqs": seqs}


def _columns(cursors: Sequence[Cursor]) -> dict[str, list[object]]:
    return {
        "gateways": [each.gateway for each in cursors],
        "epochs": [each.epoch for each in cursors],
        "throughs": [each.through for each in cursors],
        "digests": [each.digest for each in cursors],
    }


def _void_columns(voids: Sequence[VoidRow]) -> dict[str, list[object]]:
    return {
        "ids": [UUID(bytes=void.id) for void in voids],
        "gateways": [void.gateway for void in voids],
        "epochs": [void.epoch for void in voids],
        "own": [void.seq for void in voids],
        "seqs": [void.weighing_seq for void in voids],
    }


def held_row(row: Sequence[Any]) -> QuarantineRow:
    """A row of quarantine as it is read."""
    return QuarantineRow(row[0].bytes, row[1], row[2], row[3], row[4], row[5], bytes(row[6]), row[7])
