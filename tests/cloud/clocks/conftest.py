"""Times are repaired from what ingest kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.keyring import Keyring
from tests.cloud.clocks.box import Box, Drop
from tests.cloud.hand_clock import CloudClock
from tests.cloud.ingest.conftest import Site
from tests.cloud.ingest.gateway import add_catalog, add_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture
async def drop(database_url: str, engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Drop]:
    """A gateway with a clock of its own, and a cloud whose clock is moved by hand."""
    keyring = Keyring.load_or_create(tmp_path / "keys")
    box, clock = Box("ktm-drop-01", add_catalog(database_url, keyring)), CloudClock()
    add_gateway(database_url, box)
    async with Ingest(PostgresStorage(database_url), keyring, clock, secrets.token_bytes) as ingest:
        drop = Drop(Site(database_url, keyring, engine, box, ingest), box, clock)
        yield drop
        report = await drop.site.verify()
        assert report.ok, report.faults
