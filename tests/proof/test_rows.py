"""Every row of the scorecard, shallow: nothing is lost, doubled or forged."""

from __future__ import annotations

import pytest

from tests.proof.row import Row
from tests.proof.rows import ROWS
from tests.proof.runner import run_row

SEED = 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_promise_holds(row: Row) -> None:
    result = run_row(row, row.shallow, SEED, lambda _: None)
    assert [f"{each.key}: {each.what}" for each in result.kept] == []
    assert result.count >= row.shallow
