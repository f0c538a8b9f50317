"""What a visit and a pickup have in common: the plate before them, and how a tare is taken.

Owns no phase and no order: those are each machine's own (`deposit`, `pickup`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from edge.station.arming import preset, tared
from edge.station.events import NOTHING, Append, Effects, PresetTarePressed, TarePressed
from edge.station.screen import Message
from protocol import bodies

if TYPE_CHECKING:
    from edge.station.arming import Plate, Rules


@dataclass(frozen=True, slots=True)
class Opening:
    """The record that opens it is on its way to the disk."""


@dataclass(frozen=True, slots=True)
class Taring:
    """scale.tared is on its way; `before` is the plate to go back to."""

    before: Plate


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPlate:
    """Somebody at the plate. `seq` and `id` are those of the record that opened it, 0 and empty until it is
    committed; `pending` is what is on its way to the disk.
    """

    rules: Rules
    plate: Plate
    seq: int = 0
    id: str = ""
    pending: object = None
    message: Message | None = None


Session = TypeVar("Session", bound=AtPlate)


def take_tare(state: Session, event: TarePressed | PresetTarePressed) -> tuple[Session, Effects]:
    """Take what lies on the plate as the container, by its weight or by what its kind is known to weigh."""
    if isinstance(event, PresetTarePressed):
        plate = preset(state.plate, event.mass_g)
    else:
        plate = tared(state.plate, event.view, state.rules)
    if isinstance(plate, Message):
        return replace(state, message=plate), NOTHING
    if isinstance(event, PresetTarePressed):
        return replace(state, plate=plate), NOTHING
    body = bodies.ScaleTared(state.rules.scale, plate.tare.mass_g)
    return replace(state, plate=plate, pending=Taring(state.plate)), (Append((body,)),)
