"""The full check: every epoch's file and every row of its chain; reads only, beside a running writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import apsw

from edge.errors import JournalError
from edge.journal import database, files
from edge.journal.filesystem import LOCAL, FileSystem
from edge.journal.statements import QUERIES
from edge.journal.store import SEQ_MAX, Reader, State, digest_of, read_state
from protocol.records import next_digest

if TYPE_CHECKING:
    from pathlib import Path

FAULTS_MAX: Final = 100
"""Faults named; more are only counted by `ok` being false."""
_PROGRESS_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class ChainFault:
    """One thing wrong. `seq` is 0 if it is the file as a whole; `epoch` 0 if not even that is known."""

    epoch: int
    seq: int
    code: str
    message: str


@dataclass(slots=True)
class ChainReport:
    """What the check found: how many rows and epochs it went through, and what was wrong.

    `ok`: everything in use is as it was written; files that were set aside do not count.
    """

    ok: bool = True
    entries: int = 0
    epochs: int = 0
    faults: list[ChainFault] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)

    def add(self, epoch: int, seq: int, code: str, message: str) -> None:
        """Note a fault, up to FAULTS_MAX."""
        self.ok = False
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(ChainFault(epoch, seq, code, message))


Progress = Callable[[int, int], None]
"""Called with the rows checked so far and the rows there are."""


def verify_directory(
    directory: Path, progress: Progress | None = None, disk: FileSystem = LOCAL
) -> ChainReport:
    """Check every epoch in `directory`."""
    report = ChainReport(set_aside=[path.name for path in files.damaged_files(directory, disk)])
    paths = files.epoch_files(directory, disk)
    total = sum(_rows_held(path, disk) for path in paths) if progress else 0

    def tell(entries: int) -> None:
        if progress is not None:
            progress(entries, max(entries, total))

    for path in paths:
        report.epochs += 1
        epoch = files.epoch_of(path) or 0
        try:
            _verify_file(path, report, tell, disk)
        except apsw.Error as error:
            report.add(epoch, 0, "journal.unreadable", f"{path.name}: {error}")
    return report


def _rows_held(path: Path, disk: FileSystem) -> int:
    try:
        reader = Reader(path, disk)
        try:
            return reader.head(reader.state.anchor_seq) - reader.state.anchor_seq
        finally:
            reader.close()
    except (apsw.Error, JournalError):
        return 0


def _verify_file(path: Path, report: ChainReport, progress: Callable[[int], None], disk: FileSystem) -> None:
    connection = database.open_reader(path, disk)
    try:
        connection.execute("BEGIN")  # one snapshot: a pruning meanwhile must not look like a gap
        state = read_state(connection)
        for (finding,) in connection.execute("PRAGMA quick_check"):
            if finding != "ok":
                report.add(state.epoch, 0, "journal.structure", str(finding))
        _verify_chain(connection, state, report, progress)
        _verify_mark(connection, state, report)
    finally:
        connection.close(True)


def _verify_chain(
    connection: apsw.Connection, state: State, report: ChainReport, progress: Callable[[int], None]
) -> None:
    at, digest = state.anchor_seq, state.anchor_digest
    rows: Any = connection.execute(QUERIES["entries"], (0, SEQ_MAX))
    for seq, data, stored in rows:
        report.entries += 1
        if seq != at + 1:
            report.add(state.epoch, seq, "journal.gap", f"seq {at + 1} to {seq - 1} are missing")
        elif next_digest(digest, data) != stored:
            report.add(state.epoch, seq, "journal.chain", f"seq {seq} does not continue the chain")
        at, digest = seq, stored
        if report.entries % _PROGRESS_EVERY == 0:
            progress(report.entries)
    progress(report.entries)


def _verify_mark(connection: apsw.Connection, state: State, report: ChainReport) -> None:
    if state.acked <= state.anchor_seq:
        return
    if digest_of(connection, state.acked) != state.acked_digest:
        report.add(state.epoch, state.acked, "journal.mark", f"seq {state.acked} is not the one acknowledged")
