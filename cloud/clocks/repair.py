"""From what is known of a journal's clocks to bounds of the true time, hour by hour. Pure.

Two rules carry it all. Within a boot the true offset moves only as fast as a crystal drifts and a time
daemon slews, so what is known of one hour holds for its neighbours a little less sharply. A boot ends
before the next begins, so a bound of one is a bound of the other. Each bound is carried along the journal
once forwards and once backwards. Where that contradicts itself, a clock called itself synchronised and was
not: what such boots said of themselves is left out, and the cloud's own clock alone decides.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from cloud.clocks.models import Bounds, How

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from cloud.clocks.models import Hour

DRIFT_MS = 2_160
"""In an hour: 600 ppm, of which 500 are the most that the kernel slews and 100 a poor crystal."""
SYNCED_ERROR_MS = 16_000
"""The kernel calls no clock synchronised that may be further off (NTP_PHASE_LIMIT, adjtimex(2))."""
CLOUD_ERROR_MS = 1_000
"""The cloud's servers keep time by NTP; what they stamped is believed this far."""
FLOOR_MS = 1_767_225_600_000
"""2026-01-01: no record is older than the program that writes them."""

Boot = tuple[int, int]
"""An epoch and a boot within it."""
_Anchor = tuple[int, int]
"""The number of an hour and the offset that a synchronised clock showed in it."""
_Limits = tuple[list[int], list[int]]
"""The lowest and the highest offset of each hour, in milliseconds."""


def repair(hours: Sequence[Hour]) -> list[Bounds | None]:
    """Bounds for each hour of one journal; None where the cloud's own words contradict each other."""
    chain = _Chain(hours)
    trusted = {_boot(hour) for hour in hours}
    trusted -= chain.wrong(*chain.alone(trusted))  # first, so that a clock that errs discredits no other
    for _ in range(len(trusted) + 1):
        low, high = chain.spread(trusted)
        wrong = chain.wrong(low, high) & trusted
        if not wrong:
            break
        trusted -= wrong
    anchors = _anchors(hours, trusted)
    return [
        _bounds(low[i], high[i], anchors.get(_boot(hour), ()), hour, _boot(hour) in trusted)
        for i, hour in enumerate(hours)
    ]


def _bounds(low: int, high: int, anchors: Sequence[_Anchor], hour: Hour, trusted: bool) -> Bounds | None:
    """The nearest synchronised hour of its boot says best what the offset is; else the middle does."""
    if low > high:
        return None
    if not anchors:
        return Bounds(low, high, low + (high - low) // 2, How.BOUNDED, trusted)
    at = bisect(anchors, (hour.number,))
    _, best = min(anchors[max(at - 1, 0) : at + 1], key=lambda anchor: abs(anchor[0] - hour.number))
    return Bounds(low, high, min(max(best, low), high), How.ANCHORED, trusted)


def _anchors(hours: Sequence[Hour], trusted: Set[Boot]) -> dict[Boot, list[_Anchor]]:
    """The synchronised hours of every boot that is believed, in order."""
    found: dict[Boot, list[_Anchor]] = {}
    for hour in sorted(hours, key=lambda hour: hour.number):
        low, high = hour.synced_low_ms, hour.synced_high_ms
        if low is not None and high is not None and _boot(hour) in trusted:
            found.setdefault(_boot(hour), []).append((hour.number, low + (high - low) // 2))
    return found


@dataclass(frozen=True, slots=True)
class _Edge:
    """What the bounds of hour `a` say of hour `b`, the next of its journal, and the other way round.

    Each is added to a bound; None: it says nothing.
    """

    a: int
    b: int
    low_on: int
    high_on: int | None
    low_back: int | None
    high_back: int

    @property
    def within(self) -> bool:
        """Whether both are of one boot."""
        return self.high_on is not None


class _Chain:
    """The hours of a journal in the order of their time, as far as that is known."""

    def __init__(self, hours: Sequence[Hour]) -> None:
        self._hours = hours
        self._edges = list(_edges(hours))

    def spread(self, trusted: Set[Boot]) -> _Limits:
        """The lowest and highest offset of each hour, believing the clocks of `trusted` boots."""
        own = [_own(hour, _boot(hour) in trusted) for hour in self._hours]
        return _carry([each[0] for each in own], [each[1] for each in own], self._edges)

    def alone(self, trusted: Set[Boot]) -> _Limits:
        """As `spread`, with each boot's clock held only against the cloud's word and itself."""
        low, high = self.spread(frozenset())
        own = [_own(hour, _boot(hour) in trusted) for hour in self._hours]
        within = [edge for edge in self._edges if edge.within]
        lows = [max(each[0], bound) for each, bound in zip(own, low, strict=True)]
        highs = [min(each[1], bound) for each, bound in zip(own, high, strict=True)]
        return _carry(lows, highs, within)

    def wrong(self, low: Sequence[int], high: Sequence[int]) -> set[Boot]:
        """The boots for which no offset is left."""
        return {_boot(hour) for i, hour in enumerate(self._hours) if low[i] > high[i]}


def _carry(low: list[int], high: list[int], edges: Sequence[_Edge]) -> _Limits:
    """Carry bounds along, forwards and then backwards; the edges make a tree, so that this reaches all."""
    for edge in edges:
        low[edge.b] = max(low[edge.b], low[edge.a] + edge.low_on)
        if edge.high_on is not None:
            high[edge.b] = min(high[edge.b], high[edge.a] + edge.high_on)
    for edge in reversed(edges):
        high[edge.a] = min(high[edge.a], high[edge.b] + edge.high_back)
        if edge.low_back is not None:
            low[edge.a] = max(low[edge.a], low[edge.b] + edge.low_back)
    return low, high


def _boot(hour: Hour) -> Boot:
    return hour.epoch, hour.boot


def _own(hour: Hour, trusted: bool) -> tuple[int, int]:
    """What an hour's own evidence says of the offset at each of its instants."""
    low = FLOOR_MS - hour.first_ms
    high = FLOOR_MS * 100  # nothing says: the year 7569
    if hour.after_ms is not None:
        low = max(low, hour.after_ms - CLOUD_ERROR_MS)
    if hour.before_ms is not None:
        high = min(high, hour.before_ms + CLOUD_ERROR_MS)
    if trusted and hour.synced_low_ms is not None and hour.synced_high_ms is not None:
        low = max(low, hour.synced_high_ms - SYNCED_ERROR_MS)
        high = min(high, hour.synced_low_ms + SYNCED_ERROR_MS)
    if trusted and hour.heard_ms is not None:
        low = max(low, hour.heard_ms - CLOUD_ERROR_MS)
    return low - DRIFT_MS, high + DRIFT_MS


def _edges(hours: Sequence[Hour]) -> Iterator[_Edge]:
    """Which hour follows which: epochs that were carried over each in order, and before the journal's own."""
    epochs: dict[int, list[int]] = {}
    order = sorted(range(len(hours)), key=lambda i: (hours[i].boot, hours[i].number))
    for i in order:
        epochs.setdefault(hours[i].epoch, []).append(i)
    journal = hours[0].journal if hours else 0
    own = epochs.pop(journal, [])
    for carried in epochs.values():
        yield from (_following(hours, a, b) for a, b in pairwise(carried))
        if own:
            yield _written_before(hours, carried[-1], own[0])
    yield from (_following(hours, a, b) for a, b in pairwise(own))


def _following(hours: Sequence[Hour], a: int, b: int) -> _Edge:
    if hours[a].boot == hours[b].boot:
        drift = DRIFT_MS * (hours[b].number - hours[a].number)
        return _Edge(a, b, -drift, drift, -drift, drift)
    # The later boot's clock began, at its offset of then, after the last instant of the one before.
    drift = DRIFT_MS * (hours[b].number + 1)
    return _Edge(a, b, hours[a].last_ms - drift, None, None, drift - hours[a].last_ms)


def _written_before(hours: Sequence[Hour], a: int, b: int) -> _Edge:
    """Whether the machine was started in between is not known, only which was written first."""
    elapsed = hours[a].last_ms - hours[b].first_ms
    return _Edge(a, b, elapsed, None, None, -elapsed)
