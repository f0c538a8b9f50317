"""The way in for frames, as commands and processes open it."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cloud.ingest.service import Ingest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud.cli.runtime import Runtime


@asynccontextmanager
async def intake(runtime: Runtime) -> AsyncIterator[Ingest]:
    """A running ingest on this runtime's database; what was submitted is committed or refused at its end."""
    async with Ingest(runtime.url, runtime.keyring, runtime.clock, secrets.token_bytes) as ingest:
        yield ingest


def mqtt_intake(runtime: Runtime, ingest: Ingest) -> Consumer:
    """What listens on the broker for this ingest."""
    from cloud.ingest.mqtt import MqttIngest

    return MqttIngest(runtime.settings.mqtt, ingest, runtime.clock)
