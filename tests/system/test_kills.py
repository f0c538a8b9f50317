from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.kills import TARGETS, prove

WEIGHINGS = int(os.environ.get("RELOOP_KILL_WEIGHINGS", "250"))


@pytest.mark.proof
def test_killing_agent_broker_cloud_and_postgres_loses_and_doubles_nothing(short_path: Path) -> None:
    result = prove(short_path, WEIGHINGS, seed=1)
    assert result["seen_saved"] >= WEIGHINGS
    assert set(result["kills"]) == set(TARGETS)
