"""Building the next epoch: what is not known to be acknowledged travels whole inside it.

Owns which records are carried and in which order, and that the new file is complete before it has a name.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from edge.journal import files
from edge.journal.store import Store
from protocol.bodies import RecordCarried
from protocol.errors import RecordError
from protocol.records import Record, decode_record, encode_record, next_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge.clock import Clock
    from edge.journal.filesystem import FileSystem
    from edge.journal.salvage import Intact
    from edge.journal.store import Row, State

_ROWS_A_COMMIT: Final = 1000


class Fate(IntEnum):
    """What became of an older epoch's records: a damaged file may have lost some, or was salvaged whole."""

    WHOLE = 0
    HURT = 1
    SAVED = 2


@dataclass(frozen=True, slots=True)
class Source:
    """An older epoch and those of its rows that travel on; `fate` is asked after the last of them."""

    epoch: int
    rows: Iterable[Intact]
    fate: Callable[[], int] = lambda: Fate.WHOLE


def carried_body(epoch: int, row: Intact) -> RecordCarried:
    """The body that carries a row; a row that carries another is replaced by the one inside it."""
    try:
        inner = decode_record(row.data).body
    except RecordError:  # of a newer version, or poison: it travels as it is
        inner = None
    if isinstance(inner, RecordCarried):
        return inner
    return RecordCarried(epoch, row.seq, row.prev_digest, row.data)


def build(
    directory: Path, state: State, sources: Iterable[Source], clock: Clock, disk: FileSystem
) -> tuple[Store, int]:
    """Write and publish the file of the epoch `state.epoch`; returns it with the number carried.

    Until it is published nothing has changed; a power cut before leaves only a file that is ignored.
    """
    try:
        carried = _fill(Store.create(files.new_path(directory, state.epoch), state, disk), sources, clock)
    except BaseException:
        with contextlib.suppress(OSError):  # else the next start does it
            files.remove(files.new_path(directory, state.epoch), disk)
        raise
    return Store(files.publish(directory, state.epoch, disk), disk), carried


def _fill(store: Store, sources: Iterable[Source], clock: Clock) -> int:
    taken: list[Source] = []
    try:
        for rows in _chunks(_chained(store, _bodies(sources, taken), clock)):
            store.insert(rows)
        store.change(
            ("set_carried_through", {"seq": store.head}),
            *(("add_source", {"epoch": source.epoch, "salvaged": int(source.fate())}) for source in taken),
        )
        store.complete()
        return store.head
    finally:
        store.close()


def _bodies(sources: Iterable[Source], taken: list[Source]) -> Iterator[RecordCarried]:
    """Each record once, under its own id, whichever road of carrying it came by."""
    seen: set[bytes] = set()
    for source in sources:
        taken.append(source)
        for row in source.rows:
            body = carried_body(source.epoch, row)
            digest = next_digest(body.prev_digest, body.data)[:16]
            if digest not in seen:
                seen.add(digest)
                yield body


def _chained(store: Store, bodies: Iterable[RecordCarried], clock: Clock) -> Iterator[Row]:
    seq, digest, boot = store.head, store.head_digest, store.state.boot
    quality = clock.quality()
    for body in bodies:
        seq += 1
        data = encode_record(Record(seq, boot, clock.mono_ms(), clock.wall_ms(), quality, body))
        digest = next_digest(digest, data)
        yield seq, data, digest


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_A_COMMIT:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
