"""The circuit breaker in front of every road and every service outside.

Owns: when to stop calling, for how long, and who tries first; the one place that imports pybreaker.
Does not own: clocks (handed in), what counts as a failure (handed in), retries, jitter, or logging.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Self, TypedDict, TypeVar, assert_never, cast

import pybreaker

from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

# Theory of operation
#
#   state      what happens                                               next state
#   closed     a failure, and with it failures/outcomes >= 50 %           open
#              among the last 20 outcomes none of which is older
#              than 120 s, if these are at least 5
#   closed     any other outcome                                          closed
#   open       a caller asks within 30,000 ms of the opening              open, BreakerOpen
#   open       30,000 ms have passed                                      half-open
#   half-open  a caller asks, no trial under way                          half-open, it is the trial
#   half-open  a caller asks, a trial under way                           half-open, BreakerOpen
#   half-open  the trial succeeds                                         closed, no outcomes remembered
#   half-open  the trial fails, or makes no progress for 3,000 ms         open, for another 30,000 ms
#              (or for what its caller has learnt that an answer takes)
#   half-open  the trial is cancelled or neutral                          half-open, no trial under way
#   any        a result of an attempt admitted before the last change     unchanged
#
# Only a failure opens: a success that comes fifth after four failures says that the road is back.
# The trial's own deadline ends it even if its holder is gone, so no lost ticket keeps us half-open.
#
# pybreaker 1.4.1 as shipped counts consecutive failures, reads the wall clock, admits every caller when
# half-open, and takes creating a coroutine for a success and a cancellation for a failure. So it is never
# given the guarded work: attempts run outside, and their outcomes are replayed through its `call()`, at
# once and without awaiting. `_Window` is its storage (outcomes and the monotonic time of opening),
# `_Announcer` its listener. tests/protocol/test_breaker_pybreaker.py pins each fact this leans on.

T = TypeVar("T")
State = Literal["closed", "open", "half-open"]


class Outcome(StrEnum):
    """What an attempt says about the road, whatever it says about the thing that was carried over it."""

    SUCCESS = "success"  # an answer, even a refusal: the road works
    FAILURE = "failure"  # no answer, or an answer that the other side is broken
    NEUTRAL = "neutral"  # says nothing about the road: the caller left


class BreakerOpen(ProtocolError):  # noqa: N818 - a state of the breaker, not a mistake of anyone's
    """Not admitted: the breaker is open, or half-open with its one trial under way.

    `retry_after_s` is when asking again can help, in seconds from now; add jitter before a whole fleet does.
    """

    code = "breaker.open"

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"{name} is resting after failures: try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class NoProgressError(ProtocolError, TimeoutError):
    """A guarded call wrote nothing and heard nothing for `timeout_s`, and was cancelled."""

    code = "breaker.timeout"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The figures, in seconds, counts and a ratio of 0 to 1. The defaults are the product's; see the top."""

    timeout_s: float = 3.0
    failure_ratio: float = 0.5
    window: int = 20
    outcomes_min: int = 5
    outcome_age_max_s: float = 120.0
    open_s: float = 30.0

    def __post_init__(self) -> None:
        if min(self.timeout_s, self.outcome_age_max_s, self.open_s) <= 0:
            raise ValueError("timeout_s, outcome_age_max_s and open_s of a breaker must be above 0")
        if not 0 < self.failure_ratio <= 1:
            raise ValueError("failure_ratio of a breaker must be above 0 and at most 1")
        if not 1 <= self.outcomes_min <= self.window:
            raise ValueError("outcomes_min of a breaker must be at least 1 and at most its window")


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state; `at_s` is when it became true on the breaker's monotonic clock."""

    breaker: str
    old: State
    new: State
    at_s: float


class BreakerSnapshot(TypedDict):
    """Figures for metrics; the counts since start only grow."""

    name: str
    state: State
    retry_after_s: float
    outcomes: int
    failures: int
    admitted_total: int
    rejected_total: int
    ignored_total: int
    opened_total: int


def outcome_of(error: BaseException) -> Outcome:
    """The default classification: an `Exception` is a failure, cancellation and shutdown are neutral."""
    return Outcome.FAILURE if isinstance(error, Exception) else Outcome.NEUTRAL


class _Window(pybreaker.CircuitMemoryStorage):
    """pybreaker's storage: the last outcomes instead of a row of failures, handed-in time instead of UTC.

    `now_s` is set before pybreaker is touched. It must stay truthy: pybreaker replaces a falsy storage.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._settings = settings
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=settings.window)
        self.now_s = 0.0
        self.opened_s = 0.0
        self.generation = 0
        self.opened_total = 0

    @property
    def state(self) -> State:
        """The state, in pybreaker's words, which are ours."""
        return cast("State", super().state)

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        self.generation += 1
        if state == pybreaker.STATE_CLOSED:
            self._outcomes.clear()
        elif state == pybreaker.STATE_OPEN:
            self.opened_s = self.now_s
            self.opened_total += 1

    @property
    def half_open_at_s(self) -> float:
        """When the rest is over, if open."""
        return self.opened_s + self._settings.open_s

    @property
    def counter(self) -> int:
        """1 if the window says open, else 0; compared by pybreaker with a `fail_max` of 1."""
        outcomes, failures = self.tally()
        if outcomes < self._settings.outcomes_min:
            return 0
        return int(failures / outcomes >= self._settings.failure_ratio)

    def increment_counter(self) -> None:
        """pybreaker saw a failure."""
        self._outcomes.append((self.now_s, True))

    def record_success(self) -> None:
        """Replayed through pybreaker as the call that succeeded."""
        self._outcomes.append((self.now_s, False))

    def reset_counter(self) -> None:
        """Nothing: pybreaker asks for this at every success, where a window must not forget."""

    def tally(self) -> tuple[int, int]:
        """Outcomes that still count, and how many of them are failures."""
        oldest_s = self.now_s - self._settings.outcome_age_max_s
        while self._outcomes and self._outcomes[0][0] < oldest_s:
            self._outcomes.popleft()
        return len(self._outcomes), sum(failed for _, failed in self._outcomes)


class _Announcer(pybreaker.CircuitBreakerListener):
    """Keeps transitions until pybreaker is done: it tells its listeners before its storage has changed."""

    def __init__(self, name: str, window: _Window) -> None:
        self._name = name
        self._window = window
        self.waiting: deque[Transition] = deque()  # at most the two that one look can bring about

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 - pybreaker's interface
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        old = cast("pybreaker.CircuitBreakerState", old_state)  # None only at construction, untold
        change = Transition(
            self._name, cast("State", old.name), cast("State", new_state.name), self._window.now_s
        )
        self.waiting.append(change)


class _FailedError(Exception):
    """Stands for a failure while it is replayed through pybreaker; never leaves this module."""


def _fail() -> None:
    raise _FailedError


class Ticket:
    """One admitted attempt. Report one outcome, once; whatever is reported after that is ignored.

    Used as a context manager it reports success, or `outcome_of` the exception that passes through.
    An attempt that made no progress until `deadline_s` has failed, whatever is reported later.
    """

    __slots__ = ("_breaker", "_deadline_s", "_generation", "_on_progress", "_settled")

    def __init__(self, breaker: Breaker, generation: int, deadline_s: float) -> None:
        self._breaker = breaker
        self._generation = generation
        self._deadline_s = deadline_s
        self._on_progress: Callable[[], None] | None = None
        self._settled = False

    @property
    def deadline_s(self) -> float:
        """When the attempt fails unless there is progress before, on the breaker's monotonic clock."""
        return self._deadline_s

    def progress(self, timeout_s: float | None = None) -> None:
        """Bytes were written or an answer came in: it has `timeout_s` from now, unless it is too late.

        That is the breaker's, if the caller knows no better.
        """
        deadline_s = None if self._settled else self._breaker._extended_s(self, timeout_s)
        if deadline_s is None:
            return
        self._deadline_s = deadline_s
        if self._on_progress is not None:
            self._on_progress()

    def success(self) -> None:
        """The road works."""
        self.settle(Outcome.SUCCESS)

    def failure(self) -> None:
        """The road does not work."""
        self.settle(Outcome.FAILURE)

    def neutral(self) -> None:
        """Nothing was learnt about the road; a trial is free for the next caller."""
        self.settle(Outcome.NEUTRAL)

    def settle(self, outcome: Outcome) -> None:
        """Report `outcome`."""
        if not self._settled:
            self._settled = True
            self._breaker._settle(self, outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(Outcome.SUCCESS if error is None else outcome_of(error))


class Breaker:
    """A circuit breaker for one target, used from one thread; see the top of the file for its transitions.

    `monotonic` gives seconds and never runs backwards. `on_change` hears of every transition, after it is
    complete, and must not raise. Time is noticed when someone looks: every property and method first
    applies what the clock has decided since, dated when it came true.
    """

    def __init__(
        self,
        name: str,
        monotonic: Callable[[], float],
        settings: BreakerSettings | None = None,
        on_change: Callable[[Transition], None] | None = None,
    ) -> None:
        self.name = name
        self._monotonic = monotonic
        self._settings = settings or BreakerSettings()
        self._on_change = on_change
        self._trial: Ticket | None = None
        self._admitted = self._rejected = self._ignored = 0
        self._window = _Window(self._settings)
        self._announcer = _Announcer(name, self._window)
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=1,  # `_Window.counter` has already decided
            throw_new_error_on_trip=False,
            listeners=[self._announcer],
            state_storage=self._window,
            name=name,
        )

    @property
    def settings(self) -> BreakerSettings:
        """The figures it was made with."""
        return self._settings

    @property
    def state(self) -> State:
        """The state that a caller who asks now would meet."""
        self._look()
        return self._window.state

    @property
    def retry_after_s(self) -> float:
        """Seconds until asking can help; 0.0 if it would be admitted now."""
        return self._rest_s(self._look())

    def admit(self, timeout_s: float | None = None) -> Ticket:
        """Let one attempt through; it has `timeout_s` until it must show progress.

        That is the breaker's, unless the caller has learnt that this target takes longer to answer at all.
        Raises BreakerOpen. For callers with a loop of their own; in half-open the ticket is the one trial.
        """
        now_s = self._look()
        rest_s = self._rest_s(now_s)
        if rest_s > 0:
            self._rejected += 1
            raise BreakerOpen(self.name, rest_s)
        self._admitted += 1
        ticket = Ticket(self, self._window.generation, now_s + (timeout_s or self._settings.timeout_s))
        if self._window.state == pybreaker.STATE_HALF_OPEN:
            self._trial = ticket
        return ticket

    async def call(
        self,
        function: Callable[[Ticket], Awaitable[T]],
        classify: Callable[[BaseException], Outcome] = outcome_of,
    ) -> T:
        """Run `function` if admitted; it calls `ticket.progress()` whenever something moved.

        Raises BreakerOpen, NoProgressError, or what `function` raised, of which `classify` makes an outcome.
        Cancellation is always neutral and is never replaced by another error. The timeout runs on the
        event loop's clock, which must advance as `monotonic` does.
        """
        ticket = self.admit()  # and no await before the attempt is under way
        timer = asyncio.timeout(self._settings.timeout_s)
        ticket._on_progress = lambda: self._restart(timer)
        try:
            async with timer:
                result = await function(ticket)
        except BaseException as error:
            if timer.expired():
                ticket.failure()
                if isinstance(error, TimeoutError):
                    raise NoProgressError(f"{self.name} made no progress in time: try again later") from error
            else:
                ticket.settle(classify(error) if isinstance(error, Exception) else Outcome.NEUTRAL)
            raise
        ticket.settle(Outcome.FAILURE if timer.expired() else Outcome.SUCCESS)
        return result

    def snapshot(self) -> BreakerSnapshot:
        """Figures for metrics, all of the same moment."""
        now_s = self._look()
        outcomes, failures = self._window.tally()
        return BreakerSnapshot(
            name=self.name,
            state=self._window.state,
            retry_after_s=self._rest_s(now_s),
            outcomes=outcomes,
            failures=failures,
            admitted_total=self._admitted,
            rejected_total=self._rejected,
            ignored_total=self._ignored,
            opened_total=self._window.opened_total,
        )

    def _look(self) -> float:
        """Apply what the clock has decided since the last look; returns now, read once per operation."""
        now_s = self._monotonic()
        if self._trial is not None and now_s >= self._trial.deadline_s:
            self._apply(Outcome.FAILURE, self._trial.deadline_s)
        if self._window.state == pybreaker.STATE_OPEN and now_s >= self._window.half_open_at_s:
            self._window.now_s = self._window.half_open_at_s
            self._circuit.half_open()
        self._window.now_s = now_s
        self._announce()
        return now_s

    def _rest_s(self, now_s: float) -> float:
        """Seconds from `now_s`, which has been looked at, until asking can help."""
        if self._window.state == pybreaker.STATE_OPEN:
            return self._window.half_open_at_s - now_s
        return 0.0 if self._trial is None else self._trial.deadline_s - now_s

    def _extended_s(self, ticket: Ticket, timeout_s: float | None) -> float | None:
        """The deadline after progress now; None if it is too late for that."""
        now_s = self._look()
        return None if now_s >= ticket.deadline_s else now_s + (timeout_s or self._settings.timeout_s)

    def _restart(self, timer: asyncio.Timeout) -> None:
        """Give a running call its timeout anew, unless its timer was a hair faster than `monotonic`."""
        if not timer.expired():
            timer.reschedule(asyncio.get_running_loop().time() + self._settings.timeout_s)

    def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """Take the one result of `ticket`, unless the state it was admitted in is over."""
        now_s = self._look()
        if ticket._generation != self._window.generation:
            self._ignored += 1
            return
        self._apply(Outcome.FAILURE if now_s >= ticket.deadline_s else outcome, now_s)
        self._announce()

    def _apply(self, outcome: Outcome, at_s: float) -> None:
        """Replay an outcome of the present generation through pybreaker, as of `at_s`."""
        self._window.now_s = at_s
        self._trial = None  # half-open only the trial is of the present generation
        match outcome:
            case Outcome.SUCCESS:
                self._circuit.call(self._window.record_success)
            case Outcome.FAILURE:
                with contextlib.suppress(_FailedError):
                    self._circuit.call(_fail)
            case Outcome.NEUTRAL:
                pass
            case _:
                assert_never(outcome)

    def _announce(self) -> None:
        """Tell `on_change` what has happened, in order; it may look again itself."""
        while self._announcer.waiting:
            change = self._announcer.waiting.popleft()
            if self._on_change is not None:
                self._on_change(change)
