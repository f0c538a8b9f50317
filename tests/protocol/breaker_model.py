"""What the breaker promises, in the plainest words, and a pair that leads both through one history.

Shares nothing with the breaker: integer ticks, whole histories, no library.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from protocol.breaker import Breaker, BreakerOpen, Outcome, Ticket, Transition

TICKS_PER_S = 8  # eighths of a second are exact as floats, so both sides agree to the last bit
TIMEOUT, OPEN, AGE_MAX = 3 * TICKS_PER_S, 30 * TICKS_PER_S, 120 * TICKS_PER_S


@dataclass
class Attempt:
    """One admitted attempt of the model."""

    era: int
    deadline: int
    reported: bool = False


@dataclass
class Model:
    """What the breaker promises, in the plainest words: facts are kept for ever and weighed when needed."""

    now: int = 0
    eras: list[tuple[str, int]] = field(default_factory=lambda: [("closed", 0)])  # states and their begin
    outcomes: list[tuple[int, int, bool]] = field(default_factory=list)  # era, when, failed
    attempts: list[Attempt] = field(default_factory=list)
    trial: Attempt | None = None

    @property
    def era(self) -> int:
        return len(self.eras) - 1

    def enter(self, state: str, when: int) -> None:
        self.eras.append((state, when))
        self.trial = None

    def pass_time(self, ticks: int) -> None:
        """Tick by tick, because that cannot be wrong."""
        for _ in range(ticks):
            self.now += 1
            state, since = self.eras[-1]
            if state == "open" and self.now == since + OPEN:
                self.enter("half-open", self.now)
            if self.trial is not None and self.now == self.trial.deadline:
                self.enter("open", self.now)

    def rest(self) -> int:
        state, since = self.eras[-1]
        if state == "open":
            return since + OPEN - self.now
        return self.trial.deadline - self.now if self.trial else 0

    def admit(self) -> bool:
        if self.rest():
            return False
        self.attempts.append(Attempt(self.era, self.now + TIMEOUT))
        if self.eras[-1][0] == "half-open":
            self.trial = self.attempts[-1]
        return True

    def progress(self, attempt: Attempt) -> None:
        if not attempt.reported and self.now < attempt.deadline:
            attempt.deadline = self.now + TIMEOUT

    def report(self, attempt: Attempt, outcome: Outcome) -> None:
        stale = attempt.reported or attempt.era != self.era
        attempt.reported = True
        if stale:
            return
        failed = outcome == "failure" or self.now >= attempt.deadline
        neutral = outcome == "neutral" and not failed
        if self.trial is not None:
            self.trial = None
            if not neutral:
                self.enter("open" if failed else "closed", self.now)
        elif not neutral:
            self.outcomes.append((self.era, self.now, failed))
            if failed and len(self.counted()) >= 5 and 2 * sum(self.counted()) >= len(self.counted()):
                self.enter("open", self.now)

    def counted(self) -> list[bool]:
        """While closed: the last 20 of this era, less the old ones."""
        last = [(when, failed) for era, when, failed in self.outcomes if era == self.era][-20:]
        return [failed for when, failed in last if when >= self.now - AGE_MAX]


class Pair:
    """The breaker and the model, led through the same events and compared after each."""

    def __init__(self) -> None:
        self.model = Model()
        self.heard: list[Transition] = []
        self.breaker = Breaker("mqtt", lambda: self.model.now / TICKS_PER_S, on_change=self.heard.append)
        self.tickets: list[Ticket] = []

    def admit(self) -> None:
        rest = self.model.rest()
        if self.model.admit():
            self.tickets.append(self.breaker.admit())
        else:
            with pytest.raises(BreakerOpen) as caught:
                self.breaker.admit()
            assert caught.value.retry_after_s * TICKS_PER_S == rest

    def report(self, which: int, outcome: Outcome) -> None:
        which %= len(self.tickets)
        self.model.report(self.model.attempts[which], outcome)
        self.tickets[which].settle(outcome)

    def progress(self, which: int) -> None:
        which %= len(self.tickets)
        self.model.progress(self.model.attempts[which])
        self.tickets[which].progress()
        assert self.tickets[which].deadline_s * TICKS_PER_S == self.model.attempts[which].deadline

    def serve(self, outcomes: list[Outcome]) -> None:
        """A serial caller, one attempt after the other, as far as it is admitted."""
        for outcome in outcomes:
            known = len(self.tickets)
            self.admit()
            if len(self.tickets) > known:
                self.report(known, outcome)

    def crowd(self, callers: int) -> None:
        """Many ask at once: half-open, one of them is let through."""
        half_open = self.model.eras[-1][0] == "half-open" and not self.model.rest()
        known = len(self.tickets)
        if half_open:
            for _ in range(callers):
                self.admit()
            assert len(self.tickets) == known + 1

    def compare(self) -> None:
        assert self.breaker.retry_after_s * TICKS_PER_S == self.model.rest()
        assert self.breaker.state == self.model.eras[-1][0]
        if self.breaker.state == "closed":
            figures = self.breaker.snapshot()
            counted = self.model.counted()
            assert (figures["outcomes"], figures["failures"]) == (len(counted), sum(counted))
        told = [("closed", 0.0), *((change.new, change.at_s * TICKS_PER_S) for change in self.heard)]
        assert told == self.model.eras


def walk(pair: Pair, chance: random.Random) -> None:
    """One random step; the weights keep all states busy."""
    match chance.choices(["wait", "ask", "report", "progress", "serve", "crowd"], [40, 30, 40, 10, 30, 1])[0]:
        case "wait":
            pair.model.pass_time(chance.choice([1, 2, TIMEOUT - 1, TIMEOUT, pair.model.rest(), 2 * OPEN]))
        case "ask":
            pair.admit()
        case "report" if pair.tickets:
            pair.report(-chance.randint(1, 4), chance.choice(list(Outcome)))
        case "crowd":
            pair.crowd(chance.choice([10, 100, 1000]))
        case "progress" if pair.tickets:
            pair.progress(-chance.randint(1, 2))
        case _:
            pair.serve(chance.choices(list(Outcome), [5, 4, 1], k=chance.randint(1, 9)))
