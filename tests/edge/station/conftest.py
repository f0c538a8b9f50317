"""Fixtures of the station's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.station.bench import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A started site, closed at the end."""
    site = Site(tmp_path / "site")
    await site.start()
    yield site
    await site.close()
