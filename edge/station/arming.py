"""When a load on the plate may be counted: what the plate remembers between captures. Pure.

Owns the rule that a load counts once, and the arithmetic gross - tare = net.
Does not own readings (`devices`), nor who is credited (`deposit`).

    plate                       what happens                               becomes
    any                         stable zero                                armed, nothing saved on it; a
                                                                           tare against a saved load is gone
    armed                       a second below zero: its zero is wrong    unarmed, else the same
    armed                       a load is captured                         unarmed, that gross is saved
    unarmed, load saved         TARE, stable reading = the saved load      armed, net counts from there
                                (within one division)
    unarmed, load saved         TARE, any other reading                    refused: not armed
    unarmed, nothing saved      TARE                                       refused: not armed
    armed, load saved below     TARE, reading at least the saved load      armed, net counts from there
    armed, load saved below     TARE, less; or any preset tare             refused: not armed
    armed, nothing saved        TARE with a container on the plate         armed, weighed tare
    armed, nothing saved        TARE at zero                               armed, no tare
    any, nothing saved          preset tare                                same, preset tare (0: none)
    any                         the capture or tare was not committed      as before it, unless zero since
    load saved                  its weighing was voided                    as before its capture

So neither a second bag on top of the first, nor lifting the first while taring, nor a preset tare over a
saved load ever counts the saved load again. After a restart nothing is known to have left the plate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.devices.readings import Status
from edge.station.screen import Message
from protocol.bodies import Stability, TareKind

if TYPE_CHECKING:
    from edge.config import ScaleSettings, StationSettings
    from edge.devices.readings import ScaleView


@dataclass(frozen=True, slots=True)
class Rules:
    """What this station's scale allows. `scale` names the scale in records; masses in grams."""

    scale: str
    division_g: int
    gross_max_g: int
    net_min_g: int


def rules_for(settings: StationSettings, scale: ScaleSettings | None) -> Rules:
    """The rules of a configured scale; without one, nothing can be weighed."""
    if scale is None:
        return Rules("none", division_g=1, gross_max_g=0, net_min_g=settings.weigh_min_g)
    name = f"{scale.dialect}:{scale.serial}" if scale.serial else scale.dialect
    return Rules(name, scale.division_g, scale.max_g, settings.weigh_min_g)


@dataclass(frozen=True, slots=True)
class Tare:
    """What is subtracted from gross, and where it comes from."""

    kind: TareKind = TareKind.NONE
    mass_g: int = 0


NO_TARE = Tare()
_DRIFT_DIVISIONS = 2
"""Creep and drift may show this much less than nothing on an empty plate."""
_BELOW_LOOKS = 10
"""One second of looks: a plate that swings after a heavy load was lifted is below zero for less."""
_DIVISION_G = 10
"""Assumed of dialects that do not tell their division."""


@dataclass(frozen=True, slots=True)
class Plate:
    """`saved_g` is the gross of the last counted load while it may still lie there, else None.

    `below` counts the looks in a row that showed less than nothing.
    """

    armed: bool = False
    saved_g: int | None = None
    tare: Tare = NO_TARE
    below: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """A mass that may be recorded, with its evidence; gross_g - tare.mass_g = net_g > 0."""

    gross_g: int
    tare: Tare
    net_g: int
    unit: str
    division_g: int
    stability: Stability
    raw: bytes


def observed(plate: Plate, view: ScaleView) -> Plate:
    """The plate after one look at the scale: a stable zero arms, a mass below zero disarms.

    A scale that was switched on under a load took it for zero: once that load is lifted it shows less than
    nothing, and what is put on next would count only as the difference.
    """
    if view.health == "ok" and _below_zero(view):
        below = plate.below + 1
        return replace(plate, below=below, armed=plate.armed and below < _BELOW_LOOKS)
    if view.health != "ok" or not view.zero:
        return replace(plate, below=0) if plate.below else plate
    return Plate(armed=True, tare=NO_TARE if plate.saved_g is not None else plate.tare)


def _below_zero(view: ScaleView) -> bool:
    if view.reading is None or view.stable_g is None:
        return view.reading is not None and view.reading.status is Status.UNDERLOAD
    return view.stable_g < -_DRIFT_DIVISIONS * (view.reading.division_g or _DIVISION_G)


def refusal(view: ScaleView) -> Message | None:
    """Why this view is no mass to act on; None if it is a fresh stable reading."""
    if view.health != "ok" or view.reading is None:
        return Message.SCALE_NOT_READY
    match view.reading.status:
        case Status.OVERLOAD:
            return Message.OVERLOAD
        case Status.UNDERLOAD | Status.ERROR:
            return Message.SCALE_NOT_READY
        case Status.STABLE | Status.MOTION:
            return Message.NOT_STABLE if view.stable_g is None else None


def weigh(plate: Plate, view: ScaleView, rules: Rules) -> Capture | Message:
    """The mass that CONFIRM would record now, or why there is none."""
    refused = refusal(view)
    reading, gross_g = view.reading, view.stable_g
    if refused is not None or reading is None or gross_g is None:
        return refused or Message.SCALE_NOT_READY
    if gross_g > rules.gross_max_g:
        return Message.OVERLOAD
    if not plate.armed:
        return Message.NOT_ARMED
    net_g = gross_g - plate.tare.mass_g
    if net_g < max(1, rules.net_min_g):
        return Message.TOO_LIGHT
    stability = Stability.FLAG if view.evidence == "flag" else Stability.WINDOW
    division_g = reading.division_g or rules.division_g
    return Capture(gross_g, plate.tare, net_g, reading.unit, division_g, stability, reading.raw)


def captured(gross_g: int) -> Plate:
    """The plate once `gross_g` was taken for recording: it must change before the next capture."""
    return Plate(armed=False, saved_g=gross_g)


def tared(plate: Plate, view: ScaleView, rules: Rules) -> Plate | Message:
    """The plate with what lies on it as weighed tare, or why not; see the table."""
    refused = refusal(view)
    mass_g = view.stable_g
    if refused is not None or mass_g is None:
        return refused or Message.NOT_STABLE
    if plate.saved_g is not None:
        return _tared_on_saved(plate, plate.saved_g, mass_g, _division_g(view, rules))
    if not plate.armed:
        return Message.NOT_ARMED
    if view.zero:
        return replace(plate, tare=NO_TARE)
    if mass_g <= 0:
        return Message.TOO_LIGHT
    return replace(plate, tare=Tare(TareKind.WEIGHED, mass_g))


def preset(plate: Plate, mass_g: int) -> Plate | Message:
    """The plate with a preset tare; 0 takes the tare away. Refused over a load that was saved."""
    if plate.saved_g is not None:
        return Message.NOT_ARMED
    return replace(plate, tare=Tare(TareKind.PRESET, mass_g) if mass_g > 0 else NO_TARE)


def released(plate: Plate, before: Plate) -> Plate:
    """The plate when what was done to `before` did not get committed; a zero seen since still counts."""
    if plate.saved_g is None:
        return Plate(armed=True, tare=before.tare if before.saved_g is None else NO_TARE)
    return before


def voided(plate: Plate, before: Plate) -> Plate:
    """The plate when the capture made from `before` was voided; nothing to restore once it was emptied."""
    return plate if plate.saved_g is None else before


def _tared_on_saved(plate: Plate, saved_g: int, mass_g: int, division_g: int) -> Plate | Message:
    below = mass_g < saved_g - division_g
    above = mass_g > saved_g + division_g
    if below or (above and not plate.armed):
        return Message.NOT_ARMED
    # Drift below what was saved must not count those grams again.
    return Plate(armed=True, saved_g=saved_g, tare=Tare(TareKind.WEIGHED, max(mass_g, saved_g)))


def _division_g(view: ScaleView, rules: Rules) -> int:
    shown_g = view.reading.division_g if view.reading else None
    return max(rules.division_g, shown_g or 0)
