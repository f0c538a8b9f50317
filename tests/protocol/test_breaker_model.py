"""The breaker against a model that shares nothing with it: hypothesis and long walks."""

from __future__ import annotations

import datetime
import random
from collections import Counter

import pytest
import time_machine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.breaker import Outcome
from tests.protocol.breaker_model import AGE_MAX, OPEN, TIMEOUT, Pair, walk

OUTCOMES = st.sampled_from(Outcome)
PAUSES = st.one_of(st.integers(1, 40), st.sampled_from([TIMEOUT, OPEN - 1, OPEN, AGE_MAX - 1, AGE_MAX + 1]))


class BreakerMachine(RuleBasedStateMachine):
    """Any history of waiting, asking, progress, reports in any order and steps of the wall clock."""

    @initialize()
    def begin(self) -> None:
        self.pair = Pair()
        self.travel = time_machine.travel(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), tick=False)
        self.wall = self.travel.start()

    def teardown(self) -> None:
        self.travel.stop()

    @rule(ticks=PAUSES)
    def wait(self, ticks: int) -> None:
        self.pair.model.pass_time(ticks)

    @rule()
    def wait_until_asking_helps(self) -> None:
        self.pair.model.pass_time(self.pair.model.rest())

    @rule(days=st.integers(-3650, 3650))
    def step_the_wall_clock(self, days: int) -> None:
        year = 2026 + days / 365
        self.wall.move_to(datetime.datetime(round(year), 1, 1, tzinfo=datetime.UTC))

    @rule()
    def ask(self) -> None:
        self.pair.admit()

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=25))
    def serve(self, outcomes: list[Outcome]) -> None:
        self.pair.serve(outcomes)

    @rule(count=st.integers(1, 12))
    def fail(self, count: int) -> None:
        self.pair.serve([Outcome.FAILURE] * count)

    @precondition(lambda self: self.pair.tickets)
    @rule(which=st.integers(0, 999), outcome=OUTCOMES)
    def report(self, which: int, outcome: Outcome) -> None:
        self.pair.report(which, outcome)

    @precondition(lambda self: self.pair.tickets)
    @rule(outcome=OUTCOMES)
    def report_the_newest(self, outcome: Outcome) -> None:
        self.pair.report(-1, outcome)

    @precondition(lambda self: self.pair.tickets)
    @rule()
    def progress_of_the_newest(self) -> None:
        self.pair.progress(-1)

    @precondition(lambda self: self.pair.tickets)
    @rule(which=st.integers(0, 999))
    def progress(self, which: int) -> None:
        self.pair.progress(which)

    @invariant()
    def both_agree(self) -> None:
        self.pair.compare()


BreakerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
test_any_history_agrees_with_the_model = BreakerMachine.TestCase


@pytest.mark.parametrize("seed", range(20))
def test_a_long_seeded_walk_agrees_with_the_model_and_takes_every_transition_often(seed: int) -> None:
    pair, chance = Pair(), random.Random(seed)
    for _ in range(500):
        walk(pair, chance)
        pair.compare()
    taken = Counter((change.old, change.new) for change in pair.heard)
    assert set(taken) == {
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
        ("half-open", "closed"),
    }
    assert min(taken.values()) >= 3
    assert pair.breaker.snapshot()["ignored_total"] > 0
