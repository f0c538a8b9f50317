"""The breaker's table of transitions, one sentence per row, on a clock that only moves when told."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
import time_machine

from protocol.breaker import Breaker, BreakerOpen, BreakerSettings, Outcome, Transition, outcome_of
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The promise in figures, spelled out here and not taken from the code under test.
TIMEOUT_S = 3.0
OPEN_S = 30.0
OUTCOMES_MIN = 5
AGE_MAX_S = 120.0
TICK_S = 0.125  # the smallest step used here: a power of two, so that sums of seconds are exact


class Clock:
    """Monotonic seconds that only a test moves; it starts at an odd moment, as a real one does."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Bench:
    """A breaker with its clock and the transitions it announced."""

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.clock = Clock()
        self.changes: list[Transition] = []
        self.breaker = Breaker("mqtt", self.clock, settings, self.changes.append)

    @property
    def state(self) -> str:
        return self.breaker.state

    def play(self, outcomes: str) -> None:
        """S, F and N are outcomes of attempts one after the other, a tick apart."""
        for letter in outcomes:
            ticket = self.breaker.admit()
            self.clock.advance(TICK_S)
            {"S": ticket.success, "F": ticket.failure, "N": ticket.neutral}[letter]()

    def trip(self) -> None:
        self.play("F" * OUTCOMES_MIN)
        assert self.state == "open"

    def half_open(self) -> None:
        self.trip()
        self.clock.advance(OPEN_S)
        assert self.state == "half-open"

    def steps(self) -> list[tuple[str, str]]:
        return [(change.old, change.new) for change in self.changes]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def rejection(breaker: Breaker) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as caught:
        breaker.admit()
    return caught.value


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", "closed"),
        ("FFFF", "closed"),  # fewer than 5 outcomes never open
        ("FFFFF", "open"),  # 5 of 5
        ("SSFFF", "open"),  # 3 of 5
        ("SSSFF", "closed"),  # 2 of 5
        ("SSSFFF", "open"),  # exactly half
        ("SSSSFFF", "closed"),  # 3 of 7
        ("SFSFSF", "open"),  # exactly half, never two failures in a row
        ("FFFFS", "closed"),  # a success never opens,
        ("FFFFSF", "open"),  # the next failure does: 5 of 6
        ("S" * 10 + "F" * 9, "closed"),  # 9 of 19
        ("S" * 10 + "F" * 10, "open"),  # 10 of 20
        ("S" * 11 + "F" * 9, "closed"),  # 9 of 20
        ("S" * 11 + "F" * 10, "open"),  # 21 outcomes, of the last 20 exactly half failed
        ("S" * 1000 + "F" * 9, "closed"),  # a long good past weighs no more than 20 outcomes
        ("S" * 1000 + "F" * 10, "open"),
        ("SSSSF" * 200, "closed"),  # a fifth fails for ever
        ("SSF" * 300, "closed"),  # a third fails for ever
        ("N" * 100, "closed"),
        ("NFNFNFNF" + "N" * 50, "closed"),  # neutral is no outcome: 4 of 4
        ("NFNFNFNFNF", "open"),  # nor does it thin the failures out: 5 of 5
    ],
)
def test_closed_opens_at_half_of_the_last_twenty_outcomes(bench: Bench, outcomes: str, state: str) -> None:
    bench.play(outcomes)
    assert bench.state == state
    assert bench.steps() == ([("closed", "open")] if state == "open" else [])


def test_it_opens_at_the_very_failure_that_reaches_half(bench: Bench) -> None:
    bench.play("S" * 10 + "F" * 9)
    bench.breaker.admit().failure()
    assert rejection(bench.breaker).retry_after_s == OPEN_S


def test_four_failures_in_five_open_although_no_five_fail_in_a_row(bench: Bench) -> None:
    with pytest.raises(BreakerOpen):
        bench.play("FFFFS" * 200)
    assert bench.breaker.snapshot()["admitted_total"] == 6


@pytest.mark.parametrize(("age_s", "state"), [(AGE_MAX_S, "open"), (AGE_MAX_S + TICK_S, "closed")])
def test_an_outcome_counts_until_it_is_older_than_120_s(age_s: float, state: str) -> None:
    bench = Bench()
    bench.breaker.admit().failure()
    bench.clock.advance(age_s - 4 * TICK_S)
    bench.play("FFFF")
    assert bench.state == state


def test_old_successes_do_not_hold_it_closed_either(bench: Bench) -> None:
    bench.play("S" * 15)
    bench.clock.advance(AGE_MAX_S + TICK_S)
    bench.play("FFFFF")
    assert bench.state == "open"


def test_a_caller_that_only_ever_times_out_serially_opens_it_with_the_fifth(bench: Bench) -> None:
    for _ in range(OUTCOMES_MIN):
        ticket = bench.breaker.admit()
        bench.clock.advance(TIMEOUT_S)
        ticket.failure()
    assert bench.state == "open"
    assert bench.clock.now_s == 1000.0 + 15.0


@pytest.mark.parametrize(("waited_s", "state"), [(OPEN_S - TICK_S, "open"), (OPEN_S, "half-open")])
def test_open_lasts_30_s(bench: Bench, waited_s: float, state: str) -> None:
    bench.trip()
    bench.clock.advance(waited_s)
    assert bench.breaker.retry_after_s == OPEN_S - waited_s
    assert bench.state == state


def test_open_rejects_with_a_code_the_name_and_the_time_left(bench: Bench) -> None:
    bench.trip()
    bench.clock.advance(10.0)
    error = rejection(bench.breaker)
    assert isinstance(error, ProtocolError)
    assert (error.code, error.retry_after_s) == ("breaker.open", 20.0)
    assert str(error) == "mqtt is resting after failures: try again in 20.0 s"


def test_rejections_neither_prolong_the_rest_nor_count_as_outcomes(bench: Bench) -> None:
    bench.trip()
    for _ in range(240):
        rejection(bench.breaker)
        bench.clock.advance(TICK_S)
    assert bench.state == "half-open"
    assert bench.breaker.snapshot()["outcomes"] == 5


def test_half_open_admits_one_trial_and_tells_the_others_when_it_must_be_over(bench: Bench) -> None:
    bench.half_open()
    assert bench.breaker.retry_after_s == 0.0
    bench.breaker.admit()
    bench.clock.advance(1.0)
    assert [rejection(bench.breaker).retry_after_s for _ in range(999)] == [TIMEOUT_S - 1.0] * 999
    assert bench.breaker.snapshot()["admitted_total"] == 6


def test_a_successful_trial_closes_and_the_past_is_forgotten(bench: Bench) -> None:
    bench.half_open()
    bench.play("S")
    assert bench.steps() == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]
    assert bench.breaker.snapshot()["outcomes"] == 0
    bench.play("FFFF")
    assert bench.state == "closed"
    bench.play("F")
    assert bench.state == "open"


def test_a_failed_trial_reopens_for_another_full_30_s_again_and_again(bench: Bench) -> None:
    bench.half_open()
    for _ in range(10):
        bench.clock.advance(7.0)
        bench.breaker.admit().failure()
        assert bench.breaker.retry_after_s == OPEN_S
        bench.clock.advance(OPEN_S - TICK_S)
        assert bench.state == "open"
        bench.clock.advance(TICK_S)
        assert bench.state == "half-open"
    assert bench.breaker.snapshot()["opened_total"] == 11


def test_a_neutral_trial_leaves_it_half_open_and_frees_the_trial_at_once(bench: Bench) -> None:
    bench.half_open()
    bench.play("NNN")
    assert bench.state == "half-open"
    bench.play("S")
    assert bench.state == "closed"


@pytest.mark.parametrize("report", ["success", "failure", "neutral", None])
def test_a_trial_without_progress_for_3_s_has_failed_whatever_is_reported_later(
    bench: Bench, report: str | None
) -> None:
    bench.half_open()
    trial = bench.breaker.admit()
    failed_s = bench.clock.now_s + TIMEOUT_S
    bench.clock.advance(TIMEOUT_S + 2.0)
    if report is not None:
        getattr(trial, report)()
    assert bench.breaker.retry_after_s == OPEN_S - 2.0
    assert bench.changes[-1] == Transition("mqtt", "half-open", "open", failed_s)


def test_a_trial_whose_holder_is_gone_costs_33_s_and_not_for_ever(bench: Bench) -> None:
    bench.half_open()
    bench.breaker.admit()
    asked_s = bench.clock.now_s
    bench.clock.advance(TIMEOUT_S + OPEN_S)
    bench.breaker.admit().success()
    assert bench.state == "closed"
    assert bench.changes[2:] == [
        Transition("mqtt", "half-open", "open", asked_s + 3.0),
        Transition("mqtt", "open", "half-open", asked_s + 33.0),
        Transition("mqtt", "half-open", "closed", asked_s + 33.0),
    ]


def test_the_trial_keeps_its_place_while_it_makes_progress(bench: Bench) -> None:
    bench.half_open()
    trial = bench.breaker.admit()
    for _ in range(100):
        bench.clock.advance(TIMEOUT_S - TICK_S)
        trial.progress()
        assert trial.deadline_s == bench.clock.now_s + TIMEOUT_S
        assert rejection(bench.breaker).retry_after_s == TIMEOUT_S
    trial.success()
    assert bench.state == "closed"


@pytest.mark.parametrize(("silent_s", "failures"), [(TIMEOUT_S - TICK_S, 0), (TIMEOUT_S, 1)])
def test_an_answer_3_s_after_the_last_progress_is_a_failure(
    bench: Bench, silent_s: float, failures: int
) -> None:
    ticket = bench.breaker.admit()
    bench.clock.advance(2.0)
    ticket.progress()
    bench.clock.advance(silent_s)
    ticket.success()
    assert (bench.breaker.snapshot()["outcomes"], bench.breaker.snapshot()["failures"]) == (1, failures)


def test_progress_at_the_deadline_comes_too_late(bench: Bench) -> None:
    ticket = bench.breaker.admit()
    deadline_s = ticket.deadline_s
    assert deadline_s == bench.clock.now_s + TIMEOUT_S
    bench.clock.advance(TIMEOUT_S)
    ticket.progress()
    assert ticket.deadline_s == deadline_s
    ticket.success()
    assert bench.breaker.snapshot()["failures"] == 1


def test_a_caller_that_knows_the_target_to_be_slow_gets_the_time_it_asks_for(bench: Bench) -> None:
    ticket = bench.breaker.admit(12.0)
    bench.clock.advance(12.0 - TICK_S)
    ticket.progress(20.0)
    bench.clock.advance(20.0 - TICK_S)
    ticket.progress()
    bench.clock.advance(TIMEOUT_S - TICK_S)
    ticket.success()
    snapshot = bench.breaker.snapshot()
    assert (snapshot["outcomes"], snapshot["failures"]) == (1, 0)


def test_a_trial_of_a_slow_target_ends_when_its_own_time_is_over(bench: Bench) -> None:
    bench.half_open()
    bench.breaker.admit(12.0)
    bench.clock.advance(12.0 - TICK_S)
    assert bench.state == "half-open"
    bench.clock.advance(TICK_S)
    assert bench.state == "open"


def test_only_the_first_report_of_a_ticket_counts(bench: Bench) -> None:
    ticket = bench.breaker.admit()
    ticket.success()
    for report in (ticket.failure, ticket.neutral, ticket.success, ticket.progress) * 5:
        report()
    snapshot = bench.breaker.snapshot()
    assert (snapshot["outcomes"], snapshot["failures"], snapshot["ignored_total"]) == (1, 0, 0)
    assert ticket.deadline_s == bench.clock.now_s + TIMEOUT_S


@pytest.mark.parametrize("report", ["success", "failure", "neutral"])
def test_a_result_from_before_the_trip_changes_nothing_in_any_later_state(report: str) -> None:
    bench = Bench(BreakerSettings(timeout_s=1000.0))
    late = [bench.breaker.admit() for _ in range(3)]
    bench.trip()
    getattr(late[0], report)()
    assert (bench.state, bench.breaker.retry_after_s) == ("open", OPEN_S)
    bench.clock.advance(OPEN_S)
    trial = bench.breaker.admit()
    getattr(late[1], report)()
    assert bench.state == "half-open"
    rejection(bench.breaker)
    trial.success()
    getattr(late[2], report)()
    snapshot = bench.breaker.snapshot()
    assert (snapshot["state"], snapshot["outcomes"], snapshot["ignored_total"]) == ("closed", 0, 3)


def test_a_trial_that_was_given_up_cannot_touch_the_trial_after_it() -> None:
    bench = Bench()
    bench.half_open()
    lost = bench.breaker.admit()
    bench.clock.advance(TIMEOUT_S + OPEN_S)
    bench.breaker.admit()
    lost.success()
    assert bench.state == "half-open"
    assert bench.breaker.snapshot()["ignored_total"] == 1
    rejection(bench.breaker)


def test_a_running_attempt_keeps_its_timeout_after_its_generation_is_over(bench: Bench) -> None:
    ticket = bench.breaker.admit()
    bench.trip()
    ticket.progress()
    assert ticket.deadline_s == bench.clock.now_s + TIMEOUT_S


def test_refusals_reported_as_success_never_open_and_close_a_half_open_one(bench: Bench) -> None:
    bench.half_open()
    bench.play("S")  # a 401, 403, 409 or 422 is an answer: the road works
    assert bench.state == "closed"
    bench.play("S" * 1000)
    assert bench.state == "closed"


class Shutdown(BaseException):
    """Neither an Exception nor a cancellation, like KeyboardInterrupt."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError("unplugged"), Outcome.FAILURE),
        (TimeoutError(), Outcome.FAILURE),
        (asyncio.CancelledError(), Outcome.NEUTRAL),
        (Shutdown(), Outcome.NEUTRAL),
    ],
)
def test_as_a_context_manager_an_exception_fails_and_cancellation_is_neutral(
    bench: Bench, error: BaseException, outcome: Outcome
) -> None:
    assert outcome_of(error) is outcome
    with pytest.raises(type(error)), bench.breaker.admit():
        raise error
    counted = int(outcome is Outcome.FAILURE)
    assert bench.breaker.snapshot()["outcomes"] == bench.breaker.snapshot()["failures"] == counted


def test_as_a_context_manager_leaving_in_peace_is_a_success(bench: Bench) -> None:
    bench.half_open()
    with bench.breaker.admit() as ticket:
        ticket.progress()
    assert bench.state == "closed"


def test_as_a_context_manager_a_report_inside_stands(bench: Bench) -> None:
    with bench.breaker.admit() as ticket:
        ticket.neutral()
    assert bench.breaker.snapshot()["outcomes"] == 0


def test_an_outcome_of_no_known_kind_is_refused_and_does_not_block_the_trial(bench: Bench) -> None:
    bench.half_open()
    with pytest.raises(AssertionError):
        bench.breaker.admit().settle(cast("Outcome", "lost"))
    bench.play("S")
    assert bench.state == "closed"


YEAR = datetime.timedelta(days=365)


def wall_steps() -> Iterator[datetime.timedelta]:
    while True:
        yield 10 * YEAR
        yield -20 * YEAR
        yield 10 * YEAR


def test_steps_of_the_wall_clock_by_ten_years_change_nothing() -> None:
    def history(steps: Iterator[datetime.timedelta]) -> tuple[list[Transition], list[tuple[Any, ...]]]:
        bench = Bench()
        seen: list[tuple[Any, ...]] = []
        with time_machine.travel(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), tick=False) as wall:
            for letter in "SFSFSFFFFF" + "FFS" + "SSSFFF" + "S":
                wall.shift(next(steps))
                seen.append((bench.state, bench.breaker.retry_after_s))
                wall.shift(next(steps))
                bench.clock.advance(max(0.0, bench.breaker.retry_after_s - TICK_S))
                seen.append((bench.state, bench.breaker.retry_after_s))
                bench.clock.advance(bench.breaker.retry_after_s)
                wall.shift(next(steps))
                bench.play(letter)
        return bench.changes, seen

    stepped = history(wall_steps())
    assert stepped == history(iter([datetime.timedelta()] * 100))
    openings = [change.at_s for change in stepped[0] if change.new == "open"]
    probes = [change.at_s for change in stepped[0] if change.new == "half-open"]
    assert len(openings) > 3
    assert [probe - opening for opening, probe in zip(openings, probes, strict=True)] == [30.0] * len(probes)


def test_on_change_hears_of_a_change_when_it_is_complete_and_may_use_the_breaker() -> None:
    clock = Clock()
    heard: list[tuple[str, str]] = []

    def on_change(change: Transition) -> None:
        heard.append((change.new, breaker.state))

    breaker = Breaker("https", clock, BreakerSettings(outcomes_min=1), on_change)
    breaker.admit().failure()
    clock.advance(OPEN_S)
    breaker.admit().success()
    assert heard == [("open", "open"), ("half-open", "half-open"), ("closed", "closed")]


def test_an_on_change_that_takes_the_trial_itself_leaves_none_for_the_caller() -> None:
    clock = Clock()

    def on_change(change: Transition) -> None:
        if change.new == "half-open":
            breaker.admit()

    breaker = Breaker("https", clock, on_change=on_change)
    for _ in range(OUTCOMES_MIN):
        breaker.admit().failure()
    clock.advance(OPEN_S)
    rejection(breaker)


def test_without_on_change_it_works_the_same() -> None:
    clock = Clock()
    breaker = Breaker("https", clock)
    for _ in range(OUTCOMES_MIN):
        breaker.admit().failure()
    assert breaker.state == "open"


def test_two_breakers_share_nothing() -> None:
    first, second = Bench(), Bench()
    first.trip()
    assert second.state == "closed"
    assert second.changes == []


def test_the_snapshot_tells_all_figures_of_one_moment(bench: Bench) -> None:
    bench.play("SSSFF")
    late = bench.breaker.admit()
    bench.play("F")
    late.success()
    rejection(bench.breaker)
    bench.clock.advance(10.0)
    assert bench.breaker.snapshot() == {
        "name": "mqtt",
        "state": "open",
        "retry_after_s": 20.0,
        "outcomes": 6,
        "failures": 3,
        "admitted_total": 7,
        "rejected_total": 1,
        "ignored_total": 1,
        "opened_total": 1,
    }


def test_a_snapshot_forgets_outcomes_that_have_grown_too_old(bench: Bench) -> None:
    bench.play("SF")
    bench.clock.advance(AGE_MAX_S)
    assert (bench.breaker.snapshot()["outcomes"], bench.breaker.snapshot()["failures"]) == (1, 1)
