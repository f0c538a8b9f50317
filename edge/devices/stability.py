"""When a load is at rest, how fresh that knowledge is, and whether it is zero. Pure: times are handed in.

A mass is only ever given out when two frames in a row agree (the scale says so itself) or when a whole window
of samples does (the dialect has no flag). So no single frame, however plausible a damaged one may look in a
dialect without a checksum, becomes a weight by itself.

What cannot be told from here: a value that stays the same in live frames may be a steady load or a scale that
froze inside. Only the missing change when the load is taken off shows it; that is the station's to ask for.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from edge.devices.readings import Reading, ScaleView, Status

WINDOW_S: Final = 1.0
SAMPLES_MIN: Final = 5
STALE_AFTER_S: Final = 1.5
"""A reading older than this is stale: told within 2 s even on a busy gateway, and no false alarm for one
frame a second."""
GAPS_KEPT: Final = 16
PERIOD_S: Final = (0.1, 0.8)
"""Bounds of the learned sample period: below, scheduling looks like gaps; above, everything is stale."""
MERGE_S: Final = 0.015
"""Frames read in one go count as samples, not as time passed."""
SPOTS_MAX: Final = 256


@dataclass(slots=True)
class _Spot:
    at_s: float
    low_g: int
    high_g: int
    samples: int


class StabilityWindow:
    """At rest: all samples of at least 1 s, at least 5 of them, within one division and without a gap.

    A gap is more than twice the sample period, which is learned as the median of the last gaps.
    """

    def __init__(self) -> None:
        self._spots: deque[_Spot] = deque(maxlen=SPOTS_MAX)
        self._gaps: deque[float] = deque(maxlen=GAPS_KEPT)

    def clear(self) -> None:
        """Forget all samples; what was learned of the period stays."""
        self._spots.clear()

    def push(self, mass_g: int, at_s: float, division_g: int) -> bool:
        """Take a sample; True if the load is at rest with it."""
        self._add(mass_g, at_s)
        self._drop_before(at_s - WINDOW_S)
        return (
            at_s - self._spots[0].at_s >= WINDOW_S
            and self._samples() >= SAMPLES_MIN
            and self._span_g() <= division_g
        )

    def _drop_before(self, start_s: float) -> None:
        """Keep what reaches back to `start_s`, and further if it takes that to have enough samples."""
        while (
            len(self._spots) > 1
            and self._spots[1].at_s <= start_s
            and self._samples() - self._spots[0].samples >= SAMPLES_MIN
        ):
            self._spots.popleft()

    def _samples(self) -> int:
        return sum(spot.samples for spot in self._spots)

    def _add(self, mass_g: int, at_s: float) -> None:
        last = self._spots[-1] if self._spots else None
        if last is not None and at_s - last.at_s < MERGE_S:
            last.low_g, last.high_g = min(last.low_g, mass_g), max(last.high_g, mass_g)
            last.samples += 1
            return
        if last is not None:
            self._note_gap(at_s - last.at_s)
        self._spots.append(_Spot(at_s, mass_g, mass_g, 1))

    def _note_gap(self, gap_s: float) -> None:
        shortest_s, longest_s = PERIOD_S
        period_s = min(max(median(self._gaps), shortest_s), longest_s) if self._gaps else longest_s
        if gap_s > 2 * period_s:
            self._spots.clear()
        self._gaps.append(gap_s)

    def _span_g(self) -> int:
        return max(spot.high_g for spot in self._spots) - min(spot.low_g for spot in self._spots)


class ScaleTracker:
    """Readings in, the scale's view out, as long as the port is open. One per attached scale.

    `division_g` is the verification interval e of the scale; a coarser display counts instead.
    """

    def __init__(self, division_g: int, opened_s: float) -> None:
        self._division_g = division_g
        self._opened_s = opened_s
        self._window = StabilityWindow()
        self._last: Reading | None = None
        self._last_s: float | None = None
        self._flagged: Reading | None = None
        self._garbage_s: float | None = None
        self._stable_g: int | None = None
        self._evidence: Literal["flag", "window"] = "flag"

    def take(self, reading: Reading, now: float) -> None:
        """A reading arrived at `now` (monotonic seconds). One that tells only the tare changes nothing."""
        if reading.status is Status.MOTION and reading.gross_g is None and reading.net_g is None:
            return
        if self._last is not None and _scale_of(reading) != _scale_of(self._last):
            self._forget()
        if self._last_s is not None and now - self._last_s > STALE_AFTER_S:
            self._forget()
        self._stable_g = self._judge(reading, now)
        self._last, self._last_s = reading, now

    def take_fault(self, now: float) -> None:
        """Bytes arrived at `now` that are no frame."""
        self._garbage_s = now

    @property
    def last_s(self) -> float:
        """When the last reading arrived, or the port was opened."""
        return self._opened_s if self._last_s is None else self._last_s

    @property
    def heard_s(self) -> float:
        """When anything arrived at all, or the port was opened."""
        return max(self.last_s, self._garbage_s or 0.0)

    def view(self, now: float) -> ScaleView:
        """What is known at `now`. A stable mass is given out only while it is fresh."""
        age_s = now - self._last_s if self._last_s is not None else float("inf")
        health, detail = self._health(age_s, now)
        stable_g = self._stable_g if health == "ok" else None
        zero = stable_g is not None and abs(stable_g) * 2 <= self._tolerance_g(self._last)
        return ScaleView(health, self._last, stable_g, zero, age_s, self._evidence, detail)

    def _health(self, age_s: float, now: float) -> tuple[Literal["ok", "stale", "fault"], str]:
        if age_s > STALE_AFTER_S:
            if self._garbage_s is not None and now - self._garbage_s <= STALE_AFTER_S:
                return (
                    "fault",
                    "bytes arrive but none of them makes sense: check dialect, baud rate and parity",
                )
            return "stale", "the port is open but the scale says nothing: check that it is on"
        if self._last is not None and self._last.status is Status.ERROR:
            return "fault", self._last.detail or "the scale reports an error"
        return "ok", self._advice()

    def _advice(self) -> str:
        if self._last is not None and self._last.net_g is not None and self._last.gross_g is None:
            return "the scale shows net and not its tare: clear its tare"
        return ""

    def _judge(self, reading: Reading, now: float) -> int | None:
        if reading.gross_g is None or reading.stable is False:
            self._forget()
            return None
        if reading.stable:
            return self._confirm(reading)
        self._evidence = "window"
        at_rest = self._window.push(reading.gross_g, now, self._tolerance_g(reading))
        return reading.gross_g if at_rest else None

    def _confirm(self, reading: Reading) -> int | None:
        self._evidence = "flag"
        before, self._flagged = self._flagged, reading
        if before is None or before.gross_g is None or reading.gross_g is None:
            return None
        agrees = abs(before.gross_g - reading.gross_g) <= self._tolerance_g(reading)
        return reading.gross_g if agrees else None

    def _tolerance_g(self, reading: Reading | None) -> int:
        return max(self._division_g, reading.division_g or 0) if reading else self._division_g

    def _forget(self) -> None:
        self._flagged = None
        self._stable_g = None
        self._window.clear()


def _scale_of(reading: Reading) -> tuple[str, int | None]:
    """Samples in different units or steps confirm each other in nothing; a lost digit changes the step."""
    return reading.unit, reading.division_g
