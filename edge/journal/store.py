"""One epoch's file: rows appended in one transaction, the acknowledged mark, point and range reads.

Owns the commit and what is told when it fails. Does not own which epoch is current (`journal`), nor
records' meaning.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec

from edge.errors import JournalError
from edge.journal import database
from edge.journal.statements import QUERIES
from edge.journal.wal import wal_frames
from protocol.records import genesis_digest, next_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge.journal.filesystem import FileSystem

SEQ_MAX: Final = 2**63 - 1
HOUR_MS: Final = 3_600_000
_VACUUM_PAGES: Final = 4096
"""Pages given back to the disk after one pruning, so that it never holds the writer for long."""

Row = tuple[int, bytes, bytes]
"""(seq, record bytes, 32-byte digest after it)."""


class State(msgspec.Struct, array_like=True, frozen=True):
    """The file's one row of facts. Digests have 32 bytes, times are milliseconds signed by acks."""

    gateway: str
    epoch: int
    generation: int
    reason: str
    boot: int
    boot_id: str
    carried_through: int
    anchor_seq: int
    anchor_digest: bytes
    acked: int
    acked_digest: bytes
    server_time_ms: int
    settled_ms: int | None


class Store:
    """The writing side of one file; `head` and `head_digest` are those of the last committed row."""

    def __init__(self, path: Path, disk: FileSystem) -> None:
        self.path = path
        self._disk = disk
        self._writer: apsw.Connection | None = database.open_writer(path, disk)
        try:
            self.state = read_state(self._writer)
            self.head, self.head_digest = head_of(self._writer, self.state)
        except BaseException:
            self._drop_writer()
            raise

    @classmethod
    def create(cls, path: Path, state: State, disk: FileSystem) -> Store:
        """Make the file of a new epoch; `state` is as a newborn's, its anchor the genesis digest."""
        connection = database.create(path, disk)
        try:
            values = msgspec.structs.asdict(state)
            values["genesis"] = genesis_digest(state.gateway, state.epoch)
            connection.execute(QUERIES["create_journal"], values)
        finally:
            connection.close(True)
        return cls(path, disk)

    def ready(self) -> None:
        """If an earlier commit is in doubt, find out what was saved; `head` is right then.

        Raises JournalError `journal.failed` while the disk does not answer.
        """
        self._answering()

    def settle(self) -> None:
        """Put on the disk what was only read from a cache: a killed process may not have synced it.

        Then what is read here stays true. Raises JournalError.
        """
        try:
            writer = self._certain()
            try:
                checkpoint(writer)
            except apsw.BusyError:  # somebody reads an older state of it: the WAL at least is synced
                writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def complete(self) -> None:
        """Everything is in the main file and synced, so that it may be renamed. Raises JournalError."""
        try:
            checkpoint(self._certain())
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def _answering(self) -> apsw.Connection:
        try:
            return self._certain()
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def _certain(self) -> apsw.Connection:
        """The writer. After a failure the disk may lack what its cache still shows, so it is written anew."""
        if self._writer is not None:
            return self._writer
        writer = self._reopen()
        _empty_log(writer)
        return writer

    def insert(self, rows: Sequence[Row]) -> None:
        """Append consecutive rows; they are durable when this returns.

        Raises JournalError: `journal.full`, `journal.failed` (nothing of it was saved),
        `journal.unsure` (the disk does not answer, so nobody can tell).
        """
        writer = self._answering()
        try:
            if len(rows) == 1:
                writer.execute(QUERIES["insert_record"], rows[0])
            else:
                _insert_all(writer, rows)
        except apsw.Error as error:
            self._find_out(rows, error)
        self.head, _, self.head_digest = rows[-1]

    def _find_out(self, rows: Sequence[Row], cause: apsw.Error) -> None:
        """After a failed commit: return if the rows are there and on the disk, raise if they are not."""
        try:
            writer = self._reopen()
            saved = (self.head, self.head_digest) == (rows[-1][0], rows[-1][2])
            if saved or self._left_over(writer):
                # Copying what is there into the main file writes and syncs it anew, and empties the WAL: what
                # was read from a cache is then on the disk, and what was given up cannot come back.
                _empty_log(writer)
            if saved:
                return
        except (apsw.Error, OSError) as error:
            self._drop_writer()
            raise JournalError(
                f"it cannot be told whether the record was saved: {error}; check the disk",
                code="journal.unsure",
            ) from cause
        raise failure(cause) from cause

    def _left_over(self, writer: apsw.Connection) -> bool:
        """Whether the WAL holds a whole transaction that SQLite gave up: a restart would bring it back."""
        frames, _ = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        return any(frame.index > frames for frame in wal_frames(self.path, self._disk, strict=True))

    def _reopen(self) -> apsw.Connection:
        self._drop_writer()
        writer = database.open_writer(self.path, self._disk)
        self.head, self.head_digest = head_of(writer, self.state)
        self._writer = writer
        return writer

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(apsw.Error):  # what it could not do on closing, the next opening does
                writer.close(True)

    def change(self, *statements: tuple[str, dict[str, Any]]) -> None:
        """Run named statements in one transaction and read the state anew. Raises JournalError."""
        try:
            writer = self._certain()
            with writer:
                for name, values in statements:
                    writer.execute(QUERIES[name], values)
            self.state = read_state(writer)
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def acknowledge(self, through: int, digest: bytes, server_time_ms: int) -> None:
        """Move the acknowledged mark, forward or back; `server_time_ms` 0 means the ack told no time."""
        statements: list[tuple[str, dict[str, Any]]] = [
            ("set_acked", {"acked": through, "digest": digest, "server_time_ms": server_time_ms}),
            ("forget_acks_beyond", {"through": through}),
        ]
        if server_time_ms:
            statements.append(("note_ack", {"hour": server_time_ms // HOUR_MS, "through": through}))
        self.change(*statements)

    def acked_before(self, time_ms: int) -> int:
        """The last seq whose ack was signed before the hour of `time_ms`, 0 if none. Raises JournalError."""
        try:
            writer = self._certain()
            row: Any = writer.execute(QUERIES["acked_before"], (time_ms // HOUR_MS,)).fetchone()
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error
        return row[0] or 0

    def sources(self) -> dict[int, int]:
        """As `read_sources`. Raises JournalError."""
        try:
            return read_sources(self._certain())
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def prune(self, through: int) -> None:
        """Forget acknowledged rows up to `through`, leaving their digest as the anchor."""
        if self.state.anchor_seq < through <= self.state.acked:
            values = {"seq": through}
            names = ("set_anchor", "prune_records", "prune_acks", "prune_quarantined")
            self.change(*((name, values) for name in names))

    def shrink(self) -> int:
        """Give a portion of the file's free pages back to the disk; returns how many. Raises JournalError."""
        try:
            writer = self._certain()
            before = int(database.pragma(writer, "freelist_count"))
            if before:
                database.pragma(writer, "incremental_vacuum", _VACUUM_PAGES)
                writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return before - int(database.pragma(writer, "freelist_count"))
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def checkpoint(self) -> None:
        """Copy the WAL into the main file as far as readers allow, waiting for none. Raises JournalError.

        Done in quiet moments, it spares an append from doing it.
        """
        try:
            writer = self._certain()
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self._drop_writer()
            raise failure(error) from error

    def close(self) -> None:
        """Close the writing connection, leaving everything in the main file if the disk allows."""
        if self._writer is not None:
            try:
                checkpoint(self._writer)
                self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            except apsw.Error:
                pass  # the WAL stays beside the file and is read at the next start
            finally:
                self._drop_writer()


class Reader:
    """The reading side of one file, for any thread; never waits for the writer. `state` is as at opening.

    Methods raise JournalError: `journal.damaged` for a file that is not what it was, `journal.unread` else.
    """

    def __init__(self, path: Path, disk: FileSystem) -> None:
        self._connection = database.open_reader(path, disk)
        self._lock = threading.Lock()
        try:
            self.state = read_state(self._connection)
        except apsw.Error:
            self._connection.close(True)
            raise

    def read(self, first: int, bytes_max: int, previous: bytes) -> list[bytes]:
        """Consecutive record bytes from seq `first`: at most `bytes_max`, but at least one if it exists.

        `previous` is the digest before `first`; where the chain breaks is damage.
        """
        found: list[bytes] = []
        size = 0
        with self._reading() as connection:
            cursor = connection.execute(QUERIES["read_from"], (first,))
            try:
                for seq, data, digest in cursor:
                    size += len(data)
                    if found and size > bytes_max:
                        break
                    previous = next_digest(previous, data)
                    if previous != digest or seq != first + len(found):
                        raise apsw.CorruptError(f"the chain breaks at seq {seq}")
                    found.append(data)
            finally:
                cursor.close(True)
        return found

    def head(self, default: int) -> int:
        """The last seq held, `default` if none is."""
        with self._reading() as connection:
            row: Any = connection.execute(QUERIES["head"]).fetchone()
        return row[0] if row else default

    def quarantined(self) -> dict[int, str]:
        """What the cloud could not apply: code by seq."""
        with self._reading() as connection:
            rows: Any = connection.execute(QUERIES["read_quarantined"]).fetchall()
        return dict(rows)

    def digest_at(self, seq: int) -> bytes | None:
        """The stored digest of a row, None if it is not held."""
        with self._reading() as connection:
            return digest_of(connection, seq)

    def rows(self, first: int, last: int, step: int = 1000) -> Iterator[Row]:
        """Rows with first ≤ seq ≤ last, `step` at a time so that nobody waits long for the connection."""
        while first <= last:
            upto = min(last, first + step - 1)
            with self._reading() as connection:
                batch: Any = connection.execute(QUERIES["entries"], (first, upto)).fetchall()
            yield from batch
            first = upto + 1

    @contextlib.contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        try:
            with self._lock:
                yield self._connection
        except database.DAMAGE as error:
            raise JournalError(f"the journal is damaged: {error}", code="journal.damaged") from error
        except apsw.Error as error:
            raise JournalError(f"the journal cannot be read: {error}", code="journal.unread") from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock, contextlib.suppress(apsw.Error):
            self._connection.close(True)


def read_state(connection: apsw.Connection) -> State:
    """The file's row of facts. Raises apsw.NotADBError if it is not there or not as it should be."""
    try:
        return msgspec.convert(connection.execute(QUERIES["read_journal"]).fetchone(), State)
    except (apsw.SQLError, ValueError) as error:  # ValidationError and UnicodeDecodeError are ValueErrors
        raise apsw.NotADBError(f"the journal's state cannot be read: {error}") from error


def read_sources(connection: apsw.Connection) -> dict[int, int]:
    """Epochs older than this one when it was built, each with its fate; what was unacknowledged is in it."""
    rows: Any = connection.execute(QUERIES["read_sources"])
    return dict(rows)


def head_of(connection: apsw.Connection, state: State) -> tuple[int, bytes]:
    """The last row's seq and digest, the anchor's if none is held."""
    row: Any = connection.execute(QUERIES["head"]).fetchone()
    return row or (state.anchor_seq, state.anchor_digest)


def digest_of(connection: apsw.Connection, seq: int) -> bytes | None:
    """The stored digest of a row, None if it is not held."""
    row: Any = connection.execute(QUERIES["digest_at"], (seq,)).fetchone()
    return row[0] if row else None


def rows_after(connection: apsw.Connection, seq: int) -> Iterator[Row]:
    """Rows beyond `seq`, ascending."""
    rows: Any = connection.execute(QUERIES["entries"], (seq + 1, SEQ_MAX))
    return iter(rows)


def _empty_log(writer: apsw.Connection) -> None:
    """Checkpoint, so that not even a power cut brings the log back: SQLite does not sync that it is empty."""
    checkpoint(writer)
    writer.execute(QUERIES["begin_log_anew"])


def checkpoint(connection: apsw.Connection) -> None:
    """Move the whole WAL into the main file, synced, and empty it; waits for readers. Raises apsw.Error."""
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Whatever the disk refuses in here is told as a JournalError."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise failure(error) from error


def failure(error: apsw.Error | OSError) -> JournalError:
    """Say in our words what SQLite or the file system could not do."""
    if isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return JournalError("the disk is full; nothing was saved", code="journal.full")
    if isinstance(error, database.MISFITS):
        return JournalError(f"nothing was saved, the journal is damaged: {error}", code="journal.damaged")
    return JournalError(f"nothing was saved: {error}; check the disk", code="journal.failed")


def _insert_all(writer: apsw.Connection, rows: Sequence[Row]) -> None:
    writer.execute("BEGIN IMMEDIATE")
    writer.executemany(QUERIES["insert_record"], rows)
    writer.execute("COMMIT")
