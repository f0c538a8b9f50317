"""Citizens, cards and tags at the HTTP boundary."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from cloud.kit.web.shapes import Given, Hex, Shown, Time
from protocol.cards import ALIAS_LENGTH_MAX

RoleName = Literal["citizen", "collector", "steward"]


class CitizenGiven(Given):
    """A citizen to be. The alias greets them at the kiosk: never a full name, it is printed in the QR."""

    alias: str = Field(min_length=1, max_length=ALIAS_LENGTH_MAX, examples=["Maya"])


class CitizenShown(Shown):
    """A citizen."""

    id: UUID
    pseudonym: Hex = Field(description="16 hex digits; what a card's serial begins with")
    alias: str
    created_at: Time


class CardGiven(Given):
    """A card to be issued."""

    role: RoleName = "citizen"
    valid_days: int = Field(default=1825, ge=1, le=3650)


class CardShown(Shown):
    """A card. Its QR is at `/v1/cards/{serial}/qr.svg` and `.png`."""

    serial: Hex = Field(description="18 hex digits: pseudonym and issue number")
    citizen_id: UUID
    role: RoleName
    issued_at: Time
    expires_at: Time
    revoked_at: Time | None
    text: str = Field(description="what the QR holds; any gateway verifies it offline")


class CardIssued(CardShown):
    """A new card, with the citizen's token. The token is shown this once and is not on the card."""

    token: str


class TagGiven(Given):
    """A bare RFID tag to attach: an identifier, not a credential."""

    raw: str = Field(pattern=r"^([0-9a-fA-F]{2}){2,32}$", examples=["010063E9AE"], description="hex digits")


class TagShown(Shown):
    """A tag and whose it is."""

    raw: Hex
    citizen_id: UUID
