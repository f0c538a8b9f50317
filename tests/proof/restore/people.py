"""People with cards, registered over the API, and what kiosks showed them as saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    import httpx


@dataclass(frozen=True, slots=True)
class Person:
    """A citizen's card: its text as a QR holds it, its serial, and the token to ask for the balance."""

    card: str
    serial: bytes
    token: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A weighing that a kiosk showed as saved. `holder` is a card's serial or a claim code's hash."""

    id: UUID
    device: str
    gateway: str
    epoch: int
    seq: int
    holder: bytes
    guest: bool
    net_g: int
    points: int


def register(api: httpx.Client, alias: str) -> Person:
    """Register a citizen and issue a card."""
    citizen = api.post("/v1/citizens", json={"alias": alias}).raise_for_status().json()
    card = api.post(f"/v1/citizens/{citizen['id']}/cards", json={}).raise_for_status().json()
    return Person(card["text"], bytes.fromhex(card["serial"]), card["token"])
