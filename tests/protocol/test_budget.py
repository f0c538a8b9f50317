"""The retry budget: 50 tokens, a retry costs 5, after a timeout 10, a success returns 1."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.budget import BudgetSettings, RetryBudget


def drained() -> RetryBudget:
    budget = RetryBudget()
    while budget.spend():
        pass
    return budget


def test_it_starts_with_50_tokens() -> None:
    assert RetryBudget().tokens == 50


def test_it_pays_for_ten_retries_in_a_row_and_no_more() -> None:
    budget = RetryBudget()
    assert [budget.spend() for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.tokens == 0


def test_it_pays_for_five_retries_after_timeouts_and_no_more() -> None:
    budget = RetryBudget()
    assert [budget.spend(timed_out=True) for _ in range(6)] == [True] * 5 + [False]


def test_what_it_cannot_afford_costs_nothing() -> None:
    budget = drained()
    for _ in range(9):
        budget.earn()
    assert not budget.spend(timed_out=True)
    assert budget.tokens == 9
    assert budget.spend()
    assert budget.tokens == 4


def test_five_successes_earn_one_retry() -> None:
    budget = drained()
    for _ in range(4):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()


def test_many_successes_at_once_earn_as_much_as_one_by_one() -> None:
    budget = drained()
    budget.earn(12)
    assert budget.tokens == 12
    budget.earn(0)
    assert budget.tokens == 12


def test_successes_never_fill_it_above_50() -> None:
    budget = RetryBudget()
    budget.earn()
    assert budget.tokens == 50
    budget.spend()
    for _ in range(1000):
        budget.earn()
    assert budget.tokens == 50


@given(st.lists(st.sampled_from(["retry", "timeout", "success"]), max_size=300))
def test_over_any_history_what_was_spent_was_there(history: list[str]) -> None:
    budget = RetryBudget()
    for step in history:
        before = budget.tokens
        match step:
            case "success":
                budget.earn()
                assert budget.tokens == min(50, before + 1)
            case _:
                cost = 10 if step == "timeout" else 5
                paid = budget.spend(timed_out=step == "timeout")
                assert paid == (before >= cost)
                assert budget.tokens == before - cost * paid


def test_prices_can_be_configured() -> None:
    budget = RetryBudget(BudgetSettings(tokens_max=4, retry_cost=1, timeout_retry_cost=4, success_return=3))
    assert budget.spend(timed_out=True)
    budget.earn()
    assert budget.tokens == 3
    assert budget.spend()


@pytest.mark.parametrize(
    "prices", [{"retry_cost": 0}, {"success_return": -1}, {"timeout_retry_cost": 51}, {"tokens_max": 9}]
)
def test_prices_that_make_no_sense_are_refused(prices: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tokens_max"):
        BudgetSettings(**prices)


def test_prices_at_the_limits_are_taken() -> None:
    tight = BudgetSettings(tokens_max=1, retry_cost=1, timeout_retry_cost=1, success_return=1)
    assert RetryBudget(tight).spend()
