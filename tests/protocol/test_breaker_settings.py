"""The breaker's figures: what they are by default, that others work, and that nonsense is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from protocol.breaker import Breaker, BreakerSettings


def test_the_figures_by_default_are_the_promised_ones() -> None:
    assert BreakerSettings() == BreakerSettings(
        timeout_s=3.0,
        failure_ratio=0.5,
        window=20,
        outcomes_min=5,
        outcome_age_max_s=120.0,
        open_s=30.0,
    )


@pytest.mark.parametrize(
    ("settings", "outcomes", "state"),
    [
        (BreakerSettings(failure_ratio=0.7, window=10), "SSSFFFFFFF", "open"),  # 0.7 is no sum of halves
        (BreakerSettings(failure_ratio=0.7, window=10), "SSSFFFFFF", "closed"),
        (BreakerSettings(failure_ratio=1.0), "SFFFF", "closed"),
        (BreakerSettings(outcomes_min=1, window=1), "F", "open"),
        (BreakerSettings(timeout_s=0.25, outcome_age_max_s=0.5, open_s=0.5), "FFFFF", "open"),
        (BreakerSettings(timeout_s=1 / 1024), "SSSSS", "open"),  # answers that take as long as the timeout
    ],
)
def test_other_figures_can_be_configured(settings: BreakerSettings, outcomes: str, state: str) -> None:
    ticks = itertools.count()
    breaker = Breaker("sms", lambda: next(ticks) / 1024, settings)
    for letter in outcomes:
        ticket = breaker.admit()
        ticket.success() if letter == "S" else ticket.failure()
    assert breaker.state == state


@pytest.mark.parametrize(
    ("figures", "named"),
    [
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"outcome_age_max_s": -1.0}, "outcome_age_max_s"),
        ({"open_s": 0.0}, "open_s"),
        ({"failure_ratio": 0.0}, "failure_ratio"),
        ({"failure_ratio": 1.01}, "failure_ratio"),
        ({"outcomes_min": 0}, "outcomes_min"),
        ({"outcomes_min": 21}, "outcomes_min"),
    ],
)
def test_figures_that_make_no_sense_are_refused_by_name(figures: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BreakerSettings(**figures)
