"""What a scale said, as values: samples, faults and the view the station gets. Owns no port and no time."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

from edge.devices.mass import split_decimal, step_grams, to_grams

RAW_BYTES_MAX: Final = 64
"""Bytes kept of a fault or a frame: more than the longest frame of any dialect."""


class Status(StrEnum):
    """What one sample is worth. Only STABLE and MOTION carry a mass, and none of the others is ever zero.

    A dialect without a stability flag sends MOTION with `stable=None`: not known to be at rest.
    """

    STABLE = "stable"
    MOTION = "motion"
    OVERLOAD = "overload"
    UNDERLOAD = "underload"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Reading:
    """One sample of a scale, as parsed; never a guess. Masses are integer grams.

    `gross_g` is None unless the load on the plate is known: a scale that shows net without telling its tare
    has `net_g` only. `stable` is the scale's own flag, None if the dialect has none. `division_g` is one step
    of the display, rounded up to a gram. `raw` is the frame as received, `detail` the scale's error code.
    """

    status: Status
    gross_g: int | None
    net_g: int | None
    tare_g: int | None
    stable: bool | None
    unit: str
    division_g: int | None
    raw: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FrameFault:
    """Bytes that are no frame of the dialect. `code` is stable (`frame.garbage`, `frame.checksum` ...)."""

    code: str
    raw: bytes
    detail: str = ""


class Parser(Protocol):
    """Bytes in, readings out. Resynchronises by itself, holds a bounded buffer, raises on no input."""

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """What became complete with `data`, in order; half a frame waits for its rest."""
        ...


@dataclass(frozen=True, slots=True)
class ScaleView:
    """The scale as the station and the kiosk see it now.

    `stable_g` is the gross mass only while it is fresh, at rest and confirmed; `zero` is true only then.
    `age_s` is the age of `reading`, infinite if there is none. `detail` says why when `health` is not ok.
    """

    health: Literal["ok", "stale", "absent", "fault"]
    reading: Reading | None
    stable_g: int | None
    zero: bool
    age_s: float
    evidence: Literal["flag", "window"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Display:
    """Digits as a scale displays them: `digits` · 10^-`decimals` `unit`, in steps of `step` last digits."""

    digits: int
    decimals: int
    unit: str
    step: int = 1

    @property
    def mass_g(self) -> int:
        """The mass in grams."""
        return to_grams(self.digits, self.decimals, self.unit)

    @property
    def division_g(self) -> int:
        """One step in grams, rounded up."""
        return step_grams(self.step, self.decimals, self.unit)


def shown(text: str, unit: str) -> Display:
    """The display behind a decimal text such as `-12.50`, blanks allowed around it."""
    digits, decimals = split_decimal(text.strip())
    return Display(digits, decimals, unit)


def gross(display: Display, *, stable: bool | None, raw: bytes) -> Reading:
    """A sample of the load on the plate."""
    return Reading(
        _at_rest(stable), display.mass_g, None, None, stable, display.unit, display.division_g, raw
    )


def net(display: Display, tare: Display | None, *, stable: bool | None, raw: bytes) -> Reading:
    """A sample the scale shows net; the load is known only if it tells its tare too."""
    mass_g = display.mass_g
    tare_g = tare.mass_g if tare else None
    gross_g = mass_g + tare_g if tare_g is not None else None
    return Reading(_at_rest(stable), gross_g, mass_g, tare_g, stable, display.unit, display.division_g, raw)


def tare_only(display: Display, *, raw: bytes) -> Reading:
    """A frame that tells the tare and nothing about the load."""
    return Reading(Status.MOTION, None, None, display.mass_g, None, display.unit, display.division_g, raw)


def refused(status: Status, *, unit: str, raw: bytes, detail: str = "") -> Reading:
    """A sample without a mass: overload, underload or error."""
    return Reading(status, None, None, None, None, unit, None, raw[:RAW_BYTES_MAX], detail)


def _at_rest(stable: bool | None) -> Status:
    return Status.STABLE if stable else Status.MOTION


@dataclass(slots=True)
class ReadingTally:
    """How many readings and which faults a device gave since start; fault codes are a small closed set."""

    readings: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def count(self, item: Reading | FrameFault) -> None:
        """Count one item."""
        if isinstance(item, Reading):
            self.readings += 1
        else:
            self.faults[item.code] = self.faults.get(item.code, 0) + 1
