"""How everything reaches Postgres: the async engine for modules, plain psycopg for ingest, migrations.

Owns connections and the schema's version. Does not own any query.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, exc, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from cloud.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

POOL_SIZE = 5
POOL_OVERFLOW = 10
LOCK_TIMEOUT = "5s"
"""A migration that cannot get its lock gives up rather than queue everyone behind it."""
_MIGRATION_LOCK = 0x5245_4C4F_4F50  # "RELOOP": two starting processes migrate one after the other
_MIGRATIONS = Path(__file__).parent / "migrations"


def create_engine_for(url: str) -> AsyncEngine:
    """The modules' engine for a `postgresql://` URL; at most POOL_SIZE + POOL_OVERFLOW connections.

    `async with engine.begin() as connection:` is one transaction, committed when the block ends.
    """
    return create_async_engine(
        driver_url(url),
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=UTC"},
    )


def driver_url(url: str) -> str:
    """SQLAlchemy's spelling of a `postgresql://` URL."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise DatabaseError(f"{scheme!r} is no Postgres URL; write postgresql://…", code="database.url")
    return f"postgresql+psycopg://{rest}"


async def connect(url: str) -> psycopg.AsyncConnection:
    """A plain connection, autocommit off, times in UTC. Raises DatabaseError if Postgres is not reached.

    Who is cancelled while it connects leaves no open connection behind: psycopg alone would.
    """
    connecting = asyncio.ensure_future(_connect(url))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with contextlib.suppress(DatabaseError):
            await (await connecting).close()
        raise


async def _connect(url: str) -> psycopg.AsyncConnection:
    try:
        return await psycopg.AsyncConnection.connect(url, options="-c timezone=UTC", connect_timeout=10)
    except psycopg.Error as error:
        raise DatabaseError(f"Postgres cannot be reached: {error}", code="database.unreachable") from error


def migrate(url: str) -> str:
    """Bring the schema to the newest version and return it; all steps or none.

    Safe to run from several processes at once. Raises DatabaseError.
    """
    engine = create_engine(driver_url(url), poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (exc.DBAPIError, psycopg.Error) as error:
        raise DatabaseError(f"the schema cannot be migrated: {error}", code="database.migration") from error
    return newest_version()


def newest_version() -> str:
    """The schema version this code was written for."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
