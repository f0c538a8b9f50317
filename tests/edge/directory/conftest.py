"""Fixtures of the directory's tests."""

from __future__ import annotations

import pytest

from tests.edge.directory.signing_cloud import Cloud
from tests.edge.hand_clock import HandClock


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
