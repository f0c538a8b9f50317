"""People as a pure seeded generator: visits made of timed steps.

Owns who comes when and what they do; the steps are carried out by `visitor`, which sees the kiosk.
The same plan and seed give the same people for ever.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

PLATE_REST_S = 2.5


class Who(StrEnum):
    """How somebody identifies, and so what they came for."""

    MEMBER = "member"
    TAG = "tag"
    GUEST = "guest"
    COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class ShowCard:
    """Hold a QR code before the scanner: a member's or collector's card."""

    text: str


@dataclass(frozen=True, slots=True)
class ShowBin:
    """Hold a bin's code before the scanner."""

    text: str


@dataclass(frozen=True, slots=True)
class HoldTag:
    """Hold an RFID tag before the reader; ten hex digits."""

    tag: str


@dataclass(frozen=True, slots=True)
class Press:
    """Press a button once it is on the screen; `value` goes with it, such as grams."""

    button: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Choose:
    """Press a material: the one named if the kiosk offers it, else the one at `position`."""

    code: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Put:
    """Put a bag on the plate, on top of whatever stands there."""

    mass_g: int


@dataclass(frozen=True, slots=True)
class TakeOff:
    """Take everything off the plate."""


@dataclass(frozen=True, slots=True)
class AwaitWeight:
    """Look at the screen until it shows a steady weight that can be confirmed."""


@dataclass(frozen=True, slots=True)
class AwaitScreen:
    """Look at the screen until it is one of these."""

    names: tuple[str, ...]


Action = ShowCard | ShowBin | HoldTag | Press | Choose | Put | TakeOff | AwaitWeight | AwaitScreen


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `after_s`, then act."""

    after_s: float
    action: Action


@dataclass(frozen=True, slots=True)
class Visit:
    """One person's visit, `after_s` seconds after the previous arrival at the earliest."""

    number: int
    who: Who
    after_s: float
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class PeoplePlan:
    """Who comes and how they behave. Shares are relative; percentages are 0 to 100.

    A kind of person for whom there is no card, tag or bin comes as a guest instead.
    """

    visits_per_h: float = 60.0
    shares: tuple[tuple[Who, int], ...] = ((Who.MEMBER, 6), (Who.TAG, 1), (Who.GUEST, 3), (Who.COLLECTOR, 0))
    bags_max: int = 3
    mass_min_g: int = 200
    mass_typical_g: int = 1_800
    mass_max_g: int = 15_000
    pace_s: float = 1.0
    hesitate_percent: int = 15
    cancel_percent: int = 5
    void_percent: int = 3
    stack_percent: int = 25
    forget_tare_percent: int = 20
    estimate_percent: int = 30
    cards: tuple[str, ...] = ()
    collectors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    bins: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()


def visits(plan: PeoplePlan, seed: int) -> Iterator[Visit]:
    """Visits without end, in order of arrival."""
    number = 0
    while True:
        number += 1
        person = _Person(plan, random.Random(f"{seed}/{number}"))
        yield person.visit(number)


class _Person:
    """Draws one visit; every number comes from its own generator, so visits do not shift each other."""

    def __init__(self, plan: PeoplePlan, generator: random.Random) -> None:
        self._plan = plan
        self._random = generator
        self._steps: list[Step] = []
        self._tare_next = False

    def visit(self, number: int) -> Visit:
        after_s = self._random.expovariate(self._plan.visits_per_h / 3600)
        who = self._who()
        if who is Who.COLLECTOR:
            self._collect()
        else:
            self._identify(who)
            self._deposit()
        return Visit(number, who, round(after_s, 3), tuple(self._steps))

    def _who(self) -> Who:
        kinds = [who for who, share in self._plan.shares if share]
        shares = [share for _, share in self._plan.shares if share]
        who = self._random.choices(kinds, shares)[0] if kinds else Who.GUEST
        plan = self._plan
        possible = {
            Who.MEMBER: bool(plan.cards),
            Who.TAG: bool(plan.tags),
            Who.GUEST: True,
            # A hand-over needs two different cards.
            Who.COLLECTOR: len(plan.collectors) >= 2 and bool(plan.bins),
        }
        return who if possible[who] else Who.GUEST

    def _identify(self, who: Who) -> None:
        if who is Who.MEMBER:
            self._do(ShowCard(self._random.choice(self._plan.cards)))
        elif who is Who.TAG:
            self._do(HoldTag(self._random.choice(self._plan.tags)))
        else:
            self._do(Press("guest"))
        self._do(AwaitScreen(("choose",)))

    def _deposit(self) -> None:
        for bag in range(self._random.randint(1, self._plan.bags_max)):
            if bag:
                self._make_room()
            if not self._bag():
                return
            if self._chance(self._plan.void_percent):
                self._do(Press("void"))
                self._do(Press("cancel" if bag == 0 else "finish"))
                self._do(TakeOff())
                return
        self._do(Press("finish"))
        self._do(AwaitScreen(("receipt",)))
        self._do(TakeOff())
        self._do(Press("done"))

    def _bag(self) -> bool:
        """Weigh one bag; False when the person cancels the visit instead."""
        materials = self._plan.materials
        code = self._random.choice(materials) if materials else None
        self._do(Choose(code, self._random.randrange(1_000)))
        if self._tare_next:
            self._do(Press("tare"))
            self._tare_next = False
        self._do(Put(self._mass_g()))
        self._do(AwaitWeight())
        if self._chance(self._plan.hesitate_percent):
            self._pause(self._random.uniform(2, 8))
        if self._chance(self._plan.cancel_percent):
            self._do(Press("cancel"))
            self._do(TakeOff())
            return False
        self._do(Press("confirm"))
        self._do(AwaitScreen(("saved",)))
        return True

    def _make_room(self) -> None:
        """Before the next bag: clear the plate, or leave the last one there; then some remember to tare."""
        if not self._chance(self._plan.stack_percent):
            self._do(TakeOff())
            self._rest()
        elif not self._chance(self._plan.forget_tare_percent):
            self._tare_next = True

    def _collect(self) -> None:
        first, second = self._random.sample(self._plan.collectors, 2)
        self._do(ShowCard(first))
        self._do(AwaitScreen(("collect",)))
        count = self._random.randint(1, min(3, len(self._plan.bins)))
        for bin_code in self._random.sample(self._plan.bins, count):
            self._empty_bin(bin_code)
        self._do(Press("handover"))
        self._do(AwaitScreen(("handover",)))
        self._do(ShowCard(second))
        self._do(AwaitScreen(("handed_over",)))
        self._do(Press("done"))

    def _empty_bin(self, bin_code: str) -> None:
        self._do(ShowBin(bin_code))
        self._do(AwaitScreen(("bin",)))
        if self._chance(self._plan.estimate_percent):
            grams = round(self._mass_g(), -3) or 1_000
            self._do(Press("bin_estimate", str(grams)))
        else:
            self._do(Put(self._mass_g()))
            self._do(AwaitWeight())
            self._do(Press("bin_weigh"))
        self._do(AwaitScreen(("collect",)))
        self._do(TakeOff())
        self._rest()

    def _mass_g(self) -> int:
        """Triangular: most bags are near the typical mass, a few are heavy."""
        plan = self._plan
        return round(self._random.triangular(plan.mass_min_g, plan.mass_max_g, plan.mass_typical_g))

    def _chance(self, percent: int) -> bool:
        return self._random.random() * 100 < percent

    def _do(self, action: Action) -> None:
        after_s = self._random.uniform(0.3, 1.2) * self._plan.pace_s
        self._steps.append(Step(round(after_s, 3), action))

    def _rest(self) -> None:
        """Let the empty plate come to rest; quick hands do not make a scale quicker."""
        self._steps.append(Step(PLATE_REST_S, AwaitScreen(())))

    def _pause(self, seconds: float) -> None:
        """Make whatever comes next come later."""
        self._steps.append(Step(round(seconds * self._plan.pace_s, 3), AwaitScreen(())))
