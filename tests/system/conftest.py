from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local.people import make_people
from deploy.local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    """Children inherit no warning filter: a warning there is not this test's."""
    os.environ.pop("PYTHONWARNINGS", None)


@pytest.fixture(scope="module")
def short_path() -> Iterator[Path]:
    """A temporary folder whose name leaves room for the Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        yield Path(name)


@pytest.fixture
def stack(short_path: Path) -> Iterator[Stack]:
    """A cloud and a broker that run; drop points are the test's to add."""
    with Stack(short_path / f"stack-{time.monotonic_ns()}") as running:
        yield running


@pytest.fixture
def cards(stack: Stack) -> list[str]:
    """The card texts of twelve citizens."""
    with stack.cloud.api() as api:
        return make_people(api, stack.folder / "people", 12).cards.read_text().splitlines()
