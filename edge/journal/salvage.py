"""What can be saved of a damaged journal: every row that the hash chain still vouches for.

A row is intact if its stored digest is SHA-256(previous digest ‖ data), the previous digest being stored or
recomputed; or, when its own stored digest was hit, if the next row confirms the recomputed one. Reads only.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import apsw

from edge.journal import database
from edge.journal.pages import PageFile
from edge.journal.statements import QUERIES
from edge.journal.wal import wal_frames
from protocol.records import next_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edge.journal.filesystem import FileSystem
    from edge.journal.store import Row, State

_STATES_MAX = 1000
_CANDIDATES_MAX = 8
"""Previous digests tried for one row; two is what damage leaves, more is only noise."""


class Intact(NamedTuple):
    """A row proven by the chain: `digest` = SHA-256(`prev_digest` ‖ `data`)."""

    seq: int
    prev_digest: bytes
    data: bytes
    digest: bytes


class Salvage:
    """Rows found in the pages of a file nobody has open, sorted in a scratch file beside it.

    Damage of any kind only means fewer rows; nothing is raised because of it. `states` are what looks like
    the row of facts of this gateway's epoch, the newest first; `cut`: the file's end is missing. Use as a
    context manager.
    """

    def __init__(self, path: Path, disk: FileSystem, gateway: str, epoch: int) -> None:
        self.cut = False
        self._disk = disk
        self._scratch = path.with_name(path.name + ".salvage")
        disk.remove(self._scratch)
        self._sorted = apsw.Connection(str(self._scratch), vfs=disk.vfs)
        try:
            database.pragma(self._sorted, "journal_mode", "OFF")
            database.pragma(self._sorted, "synchronous", 0)
            self._sorted.execute(QUERIES["salvage_table"])
            self.states = self._collect(path, gateway, epoch)
        except BaseException:
            self._sorted.close(True)
            raise

    def _collect(self, path: Path, gateway: str, epoch: int) -> list[State]:
        pages = PageFile(path, wal_frames(path, self._disk), self._disk)
        try:
            with self._sorted:
                for stale, rows in enumerate((pages.rows(), pages.stale_rows())):
                    found = ((seq, digest, stale, data) for seq, data, digest in rows)
                    self._sorted.executemany(QUERIES["salvage_row"], found)
            self.cut = pages.cut
            return list(itertools.islice(pages.states(gateway, epoch), _STATES_MAX))
        finally:
            pages.close()

    def holds(self, seq: int, digest: bytes) -> bool:
        """Whether a row with this seq and stored digest was found."""
        return self._sorted.execute(QUERIES["salvaged_digest"], (seq, digest)).fetchone() is not None

    def last(self) -> int:
        """The greatest seq that anything was found of, be it intact or not; 0 if nothing was."""
        row: Any = self._sorted.execute(QUERIES["salvaged_last"]).fetchone()
        seq: int = row[0]
        return seq

    def rows(self, after: int, starts: dict[int, bytes]) -> Iterator[Intact]:
        """Intact rows with seq > `after`, ascending; `starts` are digests known from elsewhere, by seq."""
        # One row earlier, for its digest.
        found = self._sorted.execute(QUERIES["salvaged_rows"], (max(after - 1, 0),))
        return (row for row in verified(found, starts) if row.seq > after)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sorted.close(True)
        self._disk.remove(self._scratch)


def verified(rows: Iterable[Row], starts: dict[int, bytes]) -> Iterator[Intact]:
    """The rows the chain vouches for, of (seq, data, digest) ascending by seq, the better of two first."""
    group = _Group(0, {starts[0]: None} if 0 in starts else {})
    for seq, data, digest in rows:
        if seq != group.seq:
            upcoming = group.upcoming if seq == group.seq + 1 else {}
            known: dict[bytes, Intact | None] = {starts[seq - 1]: None} if seq - 1 in starts else {}
            group = _Group(seq, {**known, **upcoming})
        yield from group.judge(data, digest)


class _Group:
    """Versions of one row. `previous` maps digests it may follow to the doubtful row they came from."""

    def __init__(self, seq: int, previous: dict[bytes, Intact | None]) -> None:
        self.seq = seq
        self.upcoming: dict[bytes, Intact | None] = {}
        self._previous = previous
        self._found = False

    def judge(self, data: bytes, digest: bytes) -> Iterator[Intact]:
        """Yield this version if it is the first that holds, after the doubtful row it confirms."""
        for previous, doubtful in self._previous.items():
            computed = next_digest(previous, data)
            if computed == digest and not self._found:
                if doubtful is not None:
                    yield doubtful
                self._found = True
                yield Intact(self.seq, previous, data, digest)
            elif computed != digest:
                self._offer(computed, Intact(self.seq, previous, data, computed))
        self._offer(digest, None)

    def _offer(self, digest: bytes, doubtful: Intact | None) -> None:
        if doubtful is None or (not self._found and len(self.upcoming) < _CANDIDATES_MAX):
            self.upcoming[digest] = doubtful
