"""The row would notice: each planted fault is caught by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from cloud.clocks import repair
from cloud.clocks.service import Clocks
from edge.directory.trust import TrustedTime
from edge.journal import Journal
from edge.sync import trust
from protocol.records import ClockQuality
from tests.proof.clocks.bars import errors_of
from tests.proof.clocks.cases import Case, all_cases
from tests.proof.clocks.clocks import CLOCKS
from tests.proof.clocks.run import run_cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.clocks.models import Hour

LIVES = 300


def missed(*, liar: bool = False) -> int:
    """How many of some random lives have a bar that is wrong."""
    return sum(bool(errors_of(f"planted.{number}", liar=liar)[1]) for number in range(LIVES))


def found(*keys: str) -> list[str]:
    """What is wrong with these cases."""
    chosen = [(number, case) for number, case in enumerate(all_cases()) if case.key in keys]
    assert len(chosen) == len(keys)
    return [what for _, what in run_cases(chosen, lambda _: None).wrong]


@pytest.mark.parametrize("liar", [False, True])
def test_honest_repair_holds_the_truth(*, liar: bool) -> None:
    assert missed(liar=liar) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DRIFT_MS", 0),
        ("SYNCED_ERROR_MS", 1_000),
        ("CLOUD_ERROR_MS", -60_000),
        ("FLOOR_MS", 2_000_000_000_000),
    ],
)
def test_a_bar_drawn_too_narrow_is_caught(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(repair, name, value)
    assert missed() > 0


def test_boots_thought_to_be_in_another_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(hours: Sequence[Hour], a: int, b: int) -> object:
        return honest(hours, b, a)

    honest = repair._following
    monkeypatch.setattr(repair, "_following", swapped)
    assert missed() > 0


def test_believing_a_clock_that_lies_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair._Chain, "wrong", lambda *_: set())
    assert missed(liar=True) > 0


def test_a_worker_that_takes_clocks_at_their_word_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Clocks, connection: AsyncConnection, gateway: str, journal: int) -> int:
        changed = await honest(self, connection, gateway, journal)
        await connection.execute(text("UPDATE weighings SET happened_at = recorded_at, error_s = 16"))
        return changed

    honest = Clocks.repair
    monkeypatch.setattr(Clocks, "repair", hasty)
    assert any("misses the truth" in what for what in found("boot in 1970"))


def test_a_record_that_calls_a_wrong_clock_synchronised_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "_clock_quality", lambda *_: ClockQuality.SYNCED)
    assert any("s of error" in what for what in found("identified/1970/unknown"))


def test_a_good_card_that_a_battery_clock_refuses_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrustedTime, "surely_ms", lambda self: self._clock.wall_ms())
    assert any("the kiosk should show" in what for what in found("idle/+10 years/rtc"))


def test_a_road_that_a_refuted_clock_shuts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_BEHIND_MS", 2**50)
    assert any("the roads are shut" in what for what in found("a synchronised clock that lost its weeks"))


def test_every_case_has_a_name_of_its_own_and_is_dealt_once() -> None:
    keys = [case.key for case in all_cases()]
    assert len(set(keys)) == len(keys)
    dealt = sorted(number for task in CLOCKS.split(1, 1) for number in task.work["cases"])
    assert dealt == list(range(len(keys)))
    assert all(isinstance(case, Case) for case in all_cases())


def test_a_life_is_replayed_by_its_key() -> None:
    first, again = CLOCKS.replay("life/7.3"), CLOCKS.replay("life/7.3")
    assert first == again
    assert int(first.figures["error bars"]) > 0
