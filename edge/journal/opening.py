"""What is done before the first append: every file examined, damage set aside, its records carried on.

Owns the decision which epoch is current. Nothing is deleted here, and nothing is trusted that the chain
from the acknowledged mark to the head does not vouch for.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import apsw

from edge.errors import JournalError
from edge.journal import carry, database, files
from edge.journal.carry import Fate
from edge.journal.salvage import Salvage, verified
from edge.journal.statements import QUERIES
from edge.journal.store import (
    Reader,
    State,
    Store,
    digest_of,
    failure,
    head_of,
    read_sources,
    read_state,
    rows_after,
)
from edge.journal.wal import last_commit_holds, wal_frames
from protocol.records import genesis_digest, next_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge.clock import Clock
    from edge.journal.filesystem import FileSystem
    from edge.journal.salvage import Intact


_TRIES: Final = 4
"""Examinations of a file of which the disk says that it cannot be read."""
_LEAP: Final = 1_000_000
"""Generations that a file may have seen that does not tell its own."""


@dataclass(frozen=True, slots=True)
class Birth:
    """How the current epoch came to be, as far as this start knows.

    `reason` is `first`, `continued`, `damaged` or what `new_epoch` was told; `set_aside` are files moved
    away by this start; `detail` says what was wrong with them; `lost` is how many records not known to be
    acknowledged are missing between those that could be salvaged: an operator must hear of it. They count
    even where a power cut tore the last commit, which nobody was told of: a log torn so looks as one that was
    hit later, and of the two mistakes silence is the worse one. `unproven`: records of what was set aside may
    be missing, counted or not.
    """

    reason: str
    carried: int = 0
    lost: int = 0
    set_aside: tuple[Path, ...] = ()
    detail: str = ""
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where and whose the journal is, and what it is handed. `random(n)` gives n random bytes."""

    directory: Path
    gateway: str
    boot_id: str
    clock: Clock
    random: Callable[[int], bytes]
    disk: FileSystem

    def mint_epoch(self) -> int:
        """A random number of 53 bits, what every JSON tool shows exactly; no file of it is here yet."""
        while True:
            epoch = int.from_bytes(self.random(8), "big") >> 11
            begin = files.epoch_path(self.directory, epoch).stem
            if epoch and not any(used.startswith(begin) for used in self.disk.names(self.directory)):
                return epoch


@dataclass(frozen=True, slots=True)
class _Examined:
    """`head`: at least as many records were told to be saved; None if nobody can tell how many."""

    path: Path
    epoch: int
    state: State | None
    damage: str
    sources: dict[int, int] = field(default_factory=dict)
    unreadable: bool = False
    head: int | None = None

    @property
    def rank(self) -> tuple[int, int]:
        return (self.state.generation if self.state else 0, self.epoch)


def open_current(site: Site, *, thorough: bool = False) -> tuple[Store, Birth]:
    """The store of the current epoch, made or rebuilt if need be. Raises JournalError.

    `thorough` looks at every page of every file, for when something in use was found damaged.
    """
    files.tidy(site.directory, site.disk)
    found = examine_all(site, thorough=thorough)
    current = max((one for one in found if not one.damage), key=lambda one: one.rank, default=None)
    inherited = current.sources if current else {}
    damaged = [one for one in found if one.damage]
    if any(one.epoch not in inherited for one in damaged):
        store, birth = next_epoch(site, "damaged", found)
    elif current is not None:
        store, birth = Store(current.path, site.disk), Birth("continued")
        store.settle()
    else:
        store, birth = _first(site), Birth("first")
    fates = store.sources() if damaged else {}
    hurt = {one.epoch for one in damaged if fates.get(one.epoch, Fate.HURT) == Fate.HURT}
    aside = tuple(
        files.set_aside(one.path, site.disk, None if one.epoch in hurt else one.rank[0]) for one in damaged
    )
    detail = "; ".join(one.damage for one in damaged)
    birth = replace(birth, set_aside=aside, detail=detail, unproven=bool(hurt))
    return _booted(store, site.boot_id), birth


def _first(site: Site) -> Store:
    epoch = site.mint_epoch()
    store, _ = carry.build(site.directory, _newborn(site, epoch, 1, "first", []), [], site.clock, site.disk)
    return store


def _booted(store: Store, boot_id: str) -> Store:
    if store.state.boot_id != boot_id:
        store.change(("set_boot", {"boot": store.state.boot + 1, "boot_id": boot_id}))
    return store


def examine_all(site: Site, *, thorough: bool = False) -> list[_Examined]:
    """Every epoch's file of the folder; none may be open for writing."""
    return [_examined(path, site, thorough) for path in files.epoch_files(site.directory, site.disk)]


def whole_files(site: Site) -> list[_Examined]:
    """The same where damage has just been set aside. Raises JournalError if there is some nevertheless."""
    found = examine_all(site)
    for one in found:
        if one.damage:
            raise JournalError(f"{one.damage}; restart the gateway to repair it", code="journal.unread")
    return found


def _examined(path: Path, site: Site, thorough: bool) -> _Examined:
    """What can be read at the second or third try is not damaged."""
    for _ in range(_TRIES - 1):
        one = _examine(path, site, thorough)
        if not one.unreadable:
            return one
    return _examine(path, site, thorough)


def next_epoch(
    site: Site, reason: str, found: Sequence[_Examined], *, everything: bool = False
) -> tuple[Store, Birth]:
    """Build the epoch after all `found`; returns its store and what it carries.

    `everything` carries also what is acknowledged, for a cloud that forgot.
    """
    states = [one.state for one in found if one.state]
    newest = max((one for one in found if not one.damage), key=lambda one: one.rank, default=None)
    # A whole file holds all that was not acknowledged in those it was built from.
    contained = newest.sources if newest and not everything else {}
    # A file that does not tell its generation must not outrank this one should it be read after all.
    step = 1 if len(states) == len(found) else _LEAP
    generation = max((state.generation for state in states), default=0) + step
    state = _newborn(site, site.mint_epoch(), generation, reason, states)
    lost: list[_Tally] = []
    with ExitStack() as stack:
        sources = []
        for one in sorted(found, key=lambda one: one.rank):
            if one.epoch in contained:
                sources.append(carry.Source(one.epoch, (), partial(int, contained[one.epoch])))
            elif one.damage:
                sources.append(_damaged_source(stack, one, site, everything, lost))
            else:
                sources.append(_whole_source(stack, one, site.disk, everything, lost))
        store, carried = carry.build(site.directory, state, sources, site.clock, site.disk)
    return store, Birth(reason, carried, sum(tally.missing for tally in lost))


class _Tally:
    """Passes rows on and counts what is missing between them; `last` is the seq of the last one.

    `after` is the last seq that need not be there, None if nobody knows.
    """

    def __init__(self, rows: Iterator[Intact], after: int | None) -> None:
        self.missing, self.last = 0, after or 0
        self._rows, self._known = rows, after is not None

    def __iter__(self) -> Iterator[Intact]:
        for row in self._rows:
            if self._known:
                self.missing += row.seq - self.last - 1
            self.last, self._known = row.seq, True
            yield row


def _newborn(site: Site, epoch: int, generation: int, reason: str, before: Sequence[State]) -> State:
    latest = max(before, key=lambda state: state.boot, default=None)
    boot, boot_id = (latest.boot, latest.boot_id) if latest else (1, site.boot_id)
    time_ms = max((state.server_time_ms for state in before), default=0)
    genesis = genesis_digest(site.gateway, epoch)
    return State(
        site.gateway, epoch, generation, reason, boot, boot_id, 0, 0, genesis, 0, genesis, time_ms, None
    )


def _whole_source(
    stack: ExitStack, one: _Examined, disk: FileSystem, everything: bool, lost: list[_Tally]
) -> carry.Source:
    """What is beyond the acknowledged mark was examined; what is before it is carried if the chain holds."""
    reader = Reader(one.path, disk)
    stack.callback(reader.close)
    state = reader.state
    after = state.anchor_seq if everything else max(state.acked, state.anchor_seq)
    previous = state.anchor_digest if after == state.anchor_seq else state.acked_digest
    rows = verified(reader.rows(after + 1, reader.head(after)), {after: previous})
    tally = _Tally(rows, after)
    lost.append(tally)
    return carry.Source(one.epoch, tally)


def _damaged_source(
    stack: ExitStack, one: _Examined, site: Site, everything: bool, lost: list[_Tally]
) -> carry.Source:
    found = stack.enter_context(Salvage(one.path, site.disk, site.gateway, one.epoch))
    starts = {0: genesis_digest(site.gateway, one.epoch)}
    state, after, counted_from = one.state or next(iter(found.states), None), 0, None
    if state is not None:
        for older in found.states:  # what SQLite still reads may be from before the last pruning
            starts.setdefault(older.anchor_seq, older.anchor_digest)
        starts[state.anchor_seq] = state.anchor_digest
        known = starts.get(state.acked) == state.acked_digest or found.holds(state.acked, state.acked_digest)
        after = state.acked if known and not everything else 0
        counted_from = max(after, state.anchor_seq)
    tally = _Tally(found.rows(after, starts), counted_from)
    lost.append(tally)

    def fate() -> Fate:
        # What cannot be read today may be read another day; what was found and not proven may be missing.
        told = one.head is not None and not one.unreadable and not found.cut
        whole = told and not tally.missing and max(one.head or 0, found.last()) <= tally.last
        return Fate.SAVED if whole else Fate.HURT

    return carry.Source(one.epoch, tally, fate)


def _examine(path: Path, site: Site, thorough: bool) -> _Examined:
    epoch = files.epoch_of(path) or 0
    committed = max((frame.index for frame in wal_frames(path, site.disk)), default=0)
    state: State | None = None
    head: int | None = None
    try:
        connection = database.open_writer(path, site.disk)
        try:
            state = read_state(connection)
            frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            if committed > max(frames, 0):
                head = 0 if last_commit_holds(path, site.disk) else None
                raise apsw.CorruptError(f"the WAL holds {committed} frames but reads only {frames}")
            head = head_of(connection, state)[0]
            check_tail(connection, state)
            sources = read_sources(connection)
            _check_structure(connection, thorough)
        finally:
            connection.close(True)
    except database.MISFITS as error:
        return _Examined(path, epoch, state, f"{path.name}: {error}", head=head)
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) in _UNREADABLE:
            return _Examined(path, epoch, state, f"{path.name}: {error}", unreadable=True)
        raise failure(error) from error
    except apsw.Error as error:
        raise JournalError(f"{path} cannot be opened: {error}", code="journal.unopened") from error
    return _ours(_Examined(path, epoch, state, "", sources), state, site.gateway)


_UNREADABLE = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS)


def _ours(one: _Examined, state: State, gateway: str) -> _Examined:
    newborn = state.anchor_seq == 0 and state.anchor_digest == genesis_digest(gateway, one.epoch)
    if (state.gateway, state.epoch) == (gateway, one.epoch):
        return one
    if newborn or state.gateway == gateway:
        return _Examined(one.path, one.epoch, state, f"{one.path.name}: its name and its content differ")
    raise JournalError(
        f"{one.path} is the journal of gateway {state.gateway!r}, this is {gateway!r}; "
        "give each gateway a data folder of its own",
        code="journal.foreign",
    )


def _check_structure(connection: apsw.Connection, thorough: bool) -> None:
    """Raise one of MISFITS unless the tables' pages are sound; of a large file only if `thorough`.

    A page that tells its own content wrong reads well, until an append overwrites a record in it.
    """
    connection.execute(QUERIES["acked_before"], (0,)).fetchall()
    connection.execute(QUERIES["read_quarantined"]).fetchall()
    size_bytes = int(database.pragma(connection, "page_count")) * database.PAGE_BYTES
    for pragma in _QUICK_CHECKS if thorough or size_bytes <= _QUICK_BYTES_MAX else _SMALL_CHECKS:
        for (finding,) in connection.execute(pragma):
            if finding != "ok":
                raise apsw.CorruptError(str(finding))


_SMALL_CHECKS: Final = tuple(
    f"PRAGMA quick_check({table})" for table in ("journal", "sources", "acks", "quarantined")
)
_QUICK_CHECKS: Final = ("PRAGMA quick_check(1)",)
_QUICK_BYTES_MAX: Final = 128 * 1024**2
"""As much as a slow card reads in three seconds, a month of a busy drop point; the rest is checked later."""


def check_tail(connection: apsw.Connection, state: State) -> None:
    """Verify the chain from the acknowledged mark to the head. Raises apsw.CorruptError.

    Records behind the mark prove it, but mostly there are none: then its row is what the next one is chained
    to, and nothing else would tell before the cloud refused to take that one.
    """
    seq, digest = state.anchor_seq, state.anchor_digest
    if state.acked > seq:
        if digest_of(connection, state.acked) != state.acked_digest:
            raise apsw.CorruptError(f"seq {state.acked} is not the one that was acknowledged")
        seq, digest = state.acked, state.acked_digest
    for number, data, stored in rows_after(connection, seq):
        digest = next_digest(digest, data)
        if number != seq + 1 or digest != stored:
            raise apsw.CorruptError(f"the chain breaks at seq {seq + 1}")
        seq = number
