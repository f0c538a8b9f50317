"""What every command stands on: a migrated database, keys and services; and what a first run makes."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.cli.restored import recover
from cloud.composition import Services, compose
from cloud.config import Settings
from cloud.kit.clock import Clock, SystemClock
from cloud.kit.database import create_engine_for, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.keyring import Keyring
from cloud.worker.broker import BrokerFiles, broker_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

TOKEN_FILE = "operator-token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class Runtime:
    """An open cloud. `token` is the operator's, if this was the first run; `schema` the schema's version."""

    settings: Settings
    url: str
    engine: AsyncEngine
    keyring: Keyring
    services: Services
    clock: Clock
    schema: str
    token: str | None

    @property
    def broker(self) -> BrokerFiles | None:
        """The broker's access files, where they are ours to keep."""
        return broker_files(self.settings, self.services.gateways, secrets.token_bytes)

    async def gateways_changed(self) -> None:
        """To be awaited after a commit that changed who may speak to the broker."""
        files = self.broker
        if files is not None:
            await files.sync(self.engine)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Runtime]:
    """Open the cloud of these settings; starts the embedded Postgres or attaches to the one that runs.

    Raises ConfigError or DatabaseError.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    keyring = Keyring.load_or_create(settings.keys_dir)
    postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir / "postgres")
    url = settings.database_url or ""
    if postgres is not None:
        url = await asyncio.to_thread(postgres.start)
    try:
        schema = await asyncio.to_thread(migrate, url)
        engine = create_engine_for(url)
        try:
            yield await _runtime(settings, url, engine, keyring, schema)
        finally:
            await engine.dispose()
    finally:
        if postgres is not None:
            await asyncio.to_thread(postgres.stop)


async def _runtime(
    settings: Settings, url: str, engine: AsyncEngine, keyring: Keyring, schema: str
) -> Runtime:
    clock = SystemClock()
    services = compose(settings, keyring, clock, secrets.token_bytes)
    async with engine.begin() as connection:
        token = await services.tokens.make_first(connection)
        await services.materials.seed(connection)
        await recover(services, connection)
        if token is not None:
            _keep_token(settings.data_dir / TOKEN_FILE, token)
    return Runtime(settings, url, engine, keyring, services, clock, schema, token)


def _keep_token(path: Path, token: str) -> None:
    """For this machine's own operator; only its hash is in the database."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
