"""The directory's file: one row per document, its signed bytes kept as they came, swapped in one transaction.

Everything in it can be asked for again, so a damaged file is set aside and begun anew. Never the journal's
SQLite library: this file is opened through sqlite-utils only.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlite_utils import Database

from edge.errors import DirectoryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = 1
_BUSY_S: Final = 5.0
_COLUMNS: Final = {
    "name": str,
    "generation": int,
    "version": int,
    "issued_ms": int,
    "digest": bytes,
    "public_key": bytes,
    "data": bytes,
}


@dataclass(frozen=True, slots=True)
class Held:
    """A stored document. `public_key` is the key its signature was verified with when it came."""

    name: str
    generation: int
    version: int
    issued_ms: int
    digest: bytes
    public_key: bytes
    data: bytes


class Storage:
    """An open directory file; `set_aside` tells whether a damaged one had to make way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set_aside = False
        try:
            self._database = self._open()
        except (sqlite3.DatabaseError, KeyError) as error:
            if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                raise DirectoryError(f"{path} cannot be opened: {error}; check the disk") from error
            self._start_over()

    def _open(self) -> Any:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path.chmod(0o600)
        database: Any = Database(
            sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False), strict=True
        )
        try:
            _prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _start_over(self) -> None:
        """Keep one damaged file for whoever wants to look; the next one replaces it."""
        for side in ("", "-journal"):
            source = self._path.with_name(self._path.name + side)
            if source.exists():
                source.replace(self._path.with_name(self._path.name + ".damaged" + side))
        self.set_aside = True
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            raise DirectoryError(f"{self._path} cannot be made: {error}; check the disk") from error

    def load(self) -> list[Held]:
        """Every document held."""
        return [Held(**row) for row in self._database["documents"].rows]

    def swap(self, document: Held) -> None:
        """Put a document in the place of the one of its name, wholly or not at all; durable on return."""
        row = {name: getattr(document, name) for name in _COLUMNS}
        with self._saying("the document was not applied"), self._database.atomic():
            self._database["documents"].upsert(row, pk="name")

    def forget(self, name: str) -> None:
        """Drop a document, so that it is asked for anew."""
        with self._saying("the document was not dropped"), self._database.atomic():
            self._database["documents"].delete_where("name = ?", [name])

    def trusted_ms(self) -> int:
        """The latest time the cloud was known to have signed, 0 if never."""
        rows = list(self._database["facts"].rows_where("name = 'trusted_ms'"))
        return int(rows[0]["value"]) if rows else 0

    def save_trusted_ms(self, time_ms: int) -> None:
        """Remember the time across restarts."""
        with self._saying("the cloud's time was not kept"), self._database.atomic():
            self._database["facts"].upsert({"name": "trusted_ms", "value": time_ms}, pk="name")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _saying(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DirectoryError(f"{consequence}: {error}; check the disk") from error


def _prepare(database: Any) -> None:
    """Check the file and make what it lacks. A whole one is not written to: the disk may be full."""
    database.conn.execute("PRAGMA journal_mode=DELETE").fetchall()
    database.conn.execute("PRAGMA synchronous=FULL")
    (finding,) = database.conn.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged: {finding}")
    held = set(database.table_names())
    if "documents" not in held:  # `create` itself writes, even if it has nothing to create
        database["documents"].create(_COLUMNS, pk="name", not_null=set(_COLUMNS), if_not_exists=True)
    if "facts" not in held:
        database["facts"].create({"name": str, "value": int}, pk="name", if_not_exists=True)
    missing = set(_COLUMNS) - set(database["documents"].columns_dict)
    if missing:
        raise sqlite3.DatabaseError(f"the file lacks {', '.join(sorted(missing))}")
    if database.conn.execute("PRAGMA user_version").fetchone() != (_VERSION,):
        database.conn.execute(f"PRAGMA user_version={_VERSION}")


def _damaged(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", None) not in {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }
