"""From a button and its value to an event of the session. Pure.

Owns the reading of values, with errors that say what a value must be. A button that means nothing in the
session gives None: a late or doubled press is no error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import StationError
from edge.station.events import (
    Cancel,
    Choose,
    Confirm,
    Done,
    Estimate,
    Finish,
    HandOver,
    ManualEntered,
    Offer,
    PresetTarePressed,
    TarePressed,
    Void,
)
from edge.station.screen import Button
from edge.station.view import Picture, offers

if TYPE_CHECKING:
    from edge.station import deposit, pickup

RECORDING = frozenset({Button.CONFIRM, Button.MANUAL, Button.BIN_WEIGH, Button.BIN_ESTIMATE})
"""Buttons that ask for kilos to be recorded; they do nothing while intake is suspended."""
_DIGITS_MAX = 9


def deposit_event(button: Button, value: str | None, picture: Picture) -> deposit.Press | None:
    """What the press means in a deposit. Raises StationError `station.value`."""
    match button:
        case Button.MATERIAL:
            return Choose(offer_of(value, picture))
        case Button.CONFIRM:
            return Confirm(picture.view)
        case Button.MANUAL:
            return ManualEntered(picture.view, grams(value))
        case Button.TARE | Button.PRESET_TARE:
            return _tare(button, value, picture)
        case _:
            return _PLAIN.get(button)


def pickup_event(button: Button, value: str | None, picture: Picture) -> pickup.Press | None:
    """What the press means in a pickup. Raises StationError `station.value`."""
    match button:
        case Button.BIN_WEIGH:
            return Confirm(picture.view)
        case Button.BIN_ESTIMATE:
            return Estimate(grams(value))
        case Button.TARE | Button.PRESET_TARE:
            return _tare(button, value, picture)
        case _:
            return _PLAIN_PICKUP.get(button)


def offer_of(code: str | None, picture: Picture) -> Offer | None:
    """The material of this code as it is shown now; None for no code. Raises StationError `station.value`."""
    if code is None:
        return None
    tile = next((tile for tile in offers(picture.catalog) if tile.code == code), None)
    if tile is None or picture.catalog is None:
        raise StationError(f"no material {code!r} is offered; press one that is shown", code="station.value")
    return Offer(tile, picture.catalog.digest)


def grams(value: str | None) -> int:
    """Grams as decimal text. Raises StationError `station.value`."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > _DIGITS_MAX:
        raise StationError(f"{value!r} is not a mass in whole grams", code="station.value")
    return int(value)


def _tare(button: Button, value: str | None, picture: Picture) -> TarePressed | PresetTarePressed:
    if button is Button.TARE:
        return TarePressed(picture.view)
    mass_g = grams(value)
    if mass_g and mass_g not in picture.preset_tares_g:
        raise StationError(f"{mass_g} g is not one of the preset tares", code="station.value")
    return PresetTarePressed(mass_g)


_PLAIN: dict[Button, deposit.Press] = {
    Button.VOID: Void(),
    Button.FINISH: Finish(),
    Button.CANCEL: Cancel(),
    Button.DONE: Done(),
}

_PLAIN_PICKUP: dict[Button, pickup.Press] = {
    Button.HANDOVER: HandOver(),
    Button.CANCEL: Cancel(),
    Button.DONE: Done(),
}
