"""A Postgres of this process's own with one database, which can be kept and brought back as it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from cloud.kit.database import migrate
from cloud.kit.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TABLES = """
SELECT relname FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY 1
"""
_EMPTY = "empty"


class Database:
    """A migrated database. A backup is a schema with copies of all tables: as good as a dump, and quick."""

    def __init__(self, url: str) -> None:
        self.url = url
        migrate(url)
        self._admin = psycopg.connect(url, autocommit=True)
        self._admin.execute("SET session_replication_role = replica")  # rows may go: a database is made new
        self._tables = [row[0] for row in self._admin.execute(_TABLES).fetchall()]
        self.keep(_EMPTY)

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path) -> Iterator[Database]:
        """On a server in this folder, without fsync: nothing here cuts the power."""
        with EmbeddedPostgres(folder, fsync=False) as server:
            database = cls(server.url)
            try:
                yield database
            finally:
                database._admin.close()

    def empty(self) -> None:
        """As it was when it was made."""
        self.bring_back(_EMPTY)

    def keep(self, name: str) -> None:
        """Make a backup; there may be one of this name."""
        self._run("DROP SCHEMA IF EXISTS {name} CASCADE", name)
        self._run("CREATE SCHEMA {name}", name)
        for table in self._tables:
            self._run("CREATE TABLE {name}.{table} AS TABLE public.{table}", name, table)

    def bring_back(self, name: str) -> None:
        """Go back to a backup, all of it at once."""
        with self._admin.transaction():
            everything = sql.SQL(", ").join(sql.Identifier("public", table) for table in self._tables)
            self._admin.execute(sql.SQL("TRUNCATE {}").format(everything))
            for table in self._tables:
                statement = "INSERT INTO public.{table} OVERRIDING SYSTEM VALUE TABLE {name}.{table}"
                self._run(statement, name, table)

    def _run(self, statement: str, name: str, table: str = "") -> None:
        parts = {"name": sql.Identifier(name)} | ({"table": sql.Identifier(table)} if table else {})
        self._admin.execute(sql.SQL(statement).format(**parts))
