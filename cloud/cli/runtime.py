"""What every command stands on: a migrated database, keys and services; and what a first run makes."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cloud.cli.restored import recover
from cloud.composition import Services, compose
from cloud.config import MqttSettings, Settings
from cloud.errors import ConfigError
from cloud.kit.authority import Authority
from cloud.kit.broker_door import BrokerDoor
from cloud.kit.clock import Clock, SystemClock, utc
from cloud.kit.database import create_engine_for, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.keyring import Keyring
from cloud.worker.broker import BrokerKeeper, broker_keeper

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
    authority: Authority
    services: Services
    clock: Clock
    schema: str
    token: str | None
    broker: BrokerKeeper | None
    """Keeps the broker's folder, where it is ours to keep."""

    def door(self, mqtt: MqttSettings) -> BrokerDoor:
        """Our way to the broker."""
        return BrokerDoor(mqtt, self.authority, self.services.certificates.now)

    async def gateways_changed(self) -> bool:
        """To be awaited after a commit that changed whom the broker lets in; whether the broker knows.

        If it does not, the worker's next round tells it.
        """
        try:
            return self.broker is None or await self.broker.sync(self.engine)
        except (OSError, ConfigError) as error:
            structlog.get_logger().warning("broker.folder", error=str(error))
            return False


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Runtime]:
    """Open the cloud of these settings; starts the embedded Postgres or attaches to the one that runs.

    Raises ConfigError or DatabaseError.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    keyring = Keyring.load_or_create(settings.keys_dir)
    authority = Authority.load_or_create(settings.authority_dir, utc(clock.wall_ms()))
    postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir / "postgres")
    url = settings.database_url or ""
    if postgres is not None:
        url = await asyncio.to_thread(postgres.start)
    try:
        schema = await asyncio.to_thread(migrate, url)
        engine = create_engine_for(url)
        try:
            yield await _runtime(settings, url, engine, (keyring, authority), clock, schema)
        finally:
            await engine.dispose()
    finally:
        if postgres is not None:
            await asyncio.to_thread(postgres.stop)


async def _runtime(  # noqa: PLR0917 - what was opened, in that order
    settings: Settings,
    url: str,
    engine: AsyncEngine,
    keys: tuple[Keyring, Authority],
    clock: Clock,
    schema: str,
) -> Runtime:
    keyring, authority = keys
    services = compose(settings, keyring, authority, clock, secrets.token_bytes)
    broker = broker_keeper(settings, authority, services.certificates, clock)
    async with engine.begin() as connection:
        token = await services.tokens.make_first(connection)
        await services.materials.seed(connection)
        await recover(services, connection)
        if token is not None:
            _keep_token(settings.data_dir / TOKEN_FILE, token)
    return Runtime(settings, url, engine, keyring, authority, services, clock, schema, token, broker)


def _keep_token(path: Path, token: str) -> None:
    """For this machine's own operator; only its hash is in the database."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
