"""What a bench reports: measured rounds, what they are held against, what is aimed at. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Sense(Enum):
    """Which way is better."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on the median of the values or, if `of_ratio`, on the median of the ratios."""

    sense: Sense
    bound: float
    of_ratio: bool = False

    def met(self, value: float, ratio: float) -> bool:
        """Whether these medians keep it."""
        looked_at = ratio if self.of_ratio else value
        return looked_at >= self.bound if self.sense is Sense.AT_LEAST else looked_at <= self.bound

    def __str__(self) -> str:
        return f"{'ratio ' if self.of_ratio else ''}{self.sense.value} {self.bound:,g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One value a round, beside its peer's or limit's value of the same round, in the same `unit`."""

    name: str
    unit: str
    values: Sequence[float]
    against: str
    peers: Sequence[float]
    aims: tuple[Aim, ...]

    @property
    def measured(self) -> Spread:
        """Ours."""
        return Spread.of(self.values)

    @property
    def peer(self) -> Spread:
        """Theirs."""
        return Spread.of(self.peers)

    @property
    def ratio(self) -> Spread:
        """Ours to theirs, round by round."""
        return Spread.of([ours / peer for ours, peer in zip(self.values, self.peers, strict=True)])

    @property
    def met(self) -> bool:
        """Whether every aim is kept."""
        return all(aim.met(self.measured.median, self.ratio.median) for aim in self.aims)


def at_least(bound: float) -> Aim:
    """The value shall be no less."""
    return Aim(Sense.AT_LEAST, bound)


def at_most(bound: float) -> Aim:
    """The value shall be no more."""
    return Aim(Sense.AT_MOST, bound)


def ratio_at_least(bound: float) -> Aim:
    """The ratio shall be no less."""
    return Aim(Sense.AT_LEAST, bound, of_ratio=True)


def against_limit(name: str, unit: str, values: Sequence[float], limit: float) -> Figure:
    """A figure whose peer is the limit itself."""
    return Figure(name, unit, values, "limit", [limit] * len(values), (at_most(limit),))
