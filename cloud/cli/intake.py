"""The way in for frames, as commands and processes open it."""

from __future__ import annotations

import random
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.ingest.worker import MqttWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud.cli.runtime import Runtime
    from cloud.config import MqttSettings


@asynccontextmanager
async def intake(runtime: Runtime) -> AsyncIterator[Ingest]:
    """A running ingest on this runtime's database; what was submitted is committed or refused at its end."""
    async with Ingest(
        PostgresStorage(runtime.url), runtime.keyring, runtime.clock, secrets.token_bytes
    ) as ingest:
        yield ingest


def mqtt_road(runtime: Runtime, mqtt: MqttSettings, ingest: Ingest) -> MqttWorker:
    """What listens on the broker for this ingest."""
    return MqttWorker(runtime.door(mqtt), ingest, runtime.clock, random.random)
