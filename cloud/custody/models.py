"""What bins, pickups and holdings are, inside. Masses are grams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin by the code printed on it, where it stands and what goes in."""

    code: str
    drop_point: str | None
    material: str | None


@dataclass(frozen=True, slots=True)
class Pickup:
    """A collector's visit. `collector` is a card serial; sums are null until it is closed."""

    id: UUID
    gateway: str
    epoch: int
    seq: int
    drop_point: str | None
    collector: bytes
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    bins: int | None
    net_g: int | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class PickupBin:
    """One bin of a pickup, weighed or estimated."""

    id: UUID
    bin: str
    material: str
    gross_g: int | None
    tare_g: int | None
    net_g: int
    estimated: bool
    emptied: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Movement:
    """Kilos that went from a giver to a taker; `lines` is grams by material."""

    id: UUID
    kind: str
    giver: str
    taker: str
    net_g: int
    estimated: bool
    lines: dict[str, int]
    at: datetime


@dataclass(frozen=True, slots=True)
class Holding:
    """How many grams of a material a party holds."""

    party: str
    material: str
    net_g: int
