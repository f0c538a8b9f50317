"""Connections to one epoch's SQLite file: pragmas set and read back, schema made or migrated.

Owns what SQLite must promise before a record is trusted to it. Does not own what the rows mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import apsw

from edge.errors import JournalError
from edge.journal.statements import SCHEMA, SCHEMA_VERSION, migrations

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal.filesystem import FileSystem

SQLITE_MIN: Final = 3_051_003
"""Older ones may corrupt a WAL file when a checkpoint races a commit (sqlite.org/wal.html, WAL-reset bug)."""
PAGE_BYTES: Final = 4096
WAL_BYTES_MAX: Final = 4 * 1024 * 1024
"""Size the WAL is cut back to after a checkpoint."""
_WAL_PAGES_CHECKPOINT: Final = 1000
_BUSY_MS: Final = 5_000
_FULL: Final = 2

DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SchemaChangeError, apsw.MismatchError)
"""What SQLite raises when a file is not what it was; never raised for a full or missing disk."""
MISFITS: Final = (*DAMAGE, apsw.SQLError, apsw.ConstraintError)
"""The same where only our own statements are run, which fit our own schema unless that was hit."""


def check_library() -> None:
    """Refuse a SQLite with the WAL-reset bug. Raises JournalError `journal.sqlite_old`."""
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_MIN or _running_version() < SQLITE_MIN:
        raise JournalError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a journal; install apsw 3.51.3 or newer",
            code="journal.sqlite_old",
        )


def _running_version() -> int:
    major, minor, patch = (int(part) for part in apsw.sqlite_lib_version().split(".")[:3])
    return major * 1_000_000 + minor * 1_000 + patch


def open_writer(path: Path, disk: FileSystem) -> apsw.Connection:
    """The one writing connection: WAL, synchronous=FULL, both read back; migrated to our schema.

    Creates nothing. Raises apsw.Error, or JournalError if a pragma did not take.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=disk.vfs)
    try:
        _configure(connection)
        _durable(connection)
        _migrate(connection)
    except BaseException:
        connection.close(True)
        raise
    return connection


def open_reader(path: Path, disk: FileSystem) -> apsw.Connection:
    """A connection that cannot write. Raises apsw.Error."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=disk.vfs)
    try:
        _configure(connection)
        pragma(connection, "query_only", 1)
        _schema_version(connection)
    except BaseException:
        connection.close(True)
        raise
    return connection


def create(path: Path, disk: FileSystem) -> apsw.Connection:
    """A new, empty file only its owner may read, as a writing connection."""
    disk.create(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=disk.vfs)
    try:
        _configure(connection)
        pragma(connection, "page_size", PAGE_BYTES)
        pragma(connection, "auto_vacuum", "INCREMENTAL")
        _durable(connection)
        with connection:
            connection.execute(SCHEMA)
            pragma(connection, "user_version", SCHEMA_VERSION)
    except BaseException:
        connection.close(True)
        raise
    return connection


def pragma(connection: apsw.Connection, name: str, value: object = None) -> Any:
    """Set or read a pragma; returns what SQLite says it is now."""
    return connection.pragma(name, value) if value is not None else connection.pragma(name)


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    # A damaged file must be found as it was left: nothing is checkpointed behind our back on close.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)


def _durable(connection: apsw.Connection) -> None:
    pragma(connection, "journal_mode", "WAL")
    pragma(connection, "synchronous", _FULL)
    pragma(connection, "journal_size_limit", WAL_BYTES_MAX)
    pragma(connection, "wal_autocheckpoint", _WAL_PAGES_CHECKPOINT)
    mode, level = pragma(connection, "journal_mode"), pragma(connection, "synchronous")
    if (mode, level) != ("wal", _FULL):
        raise JournalError(
            f"SQLite did not accept WAL with synchronous=FULL (it says {mode}, {level}); "
            "put the data folder on a local disk",
            code="journal.not_durable",
        )


def _schema_version(connection: apsw.Connection) -> int:
    version = int(pragma(connection, "user_version"))
    if version < 1:
        raise apsw.NotADBError("the file holds no journal schema")
    return version


def _migrate(connection: apsw.Connection) -> None:
    """Run what is missing. A file of a newer version is used as it is: migrations only add."""
    have = _schema_version(connection)
    for version, script in migrations():
        if version > have:
            with connection:
                connection.execute(script)
                pragma(connection, "user_version", version)
