"""What citizens, cards and tags are, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Citizen:
    """A person by pseudonym (8 bytes, for ever theirs) and the alias their card greets them by."""

    id: UUID
    pseudonym: bytes
    alias: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCard:
    """A card as issued. `text` is what its QR holds; `role` is `protocol.cards.Role`."""

    serial: bytes
    citizen_id: UUID
    role: int
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class IssuedCard:
    """A new card with the token that goes with it, which is shown this once."""

    card: StoredCard
    token: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A bare RFID tag and whose it is."""

    raw: bytes
    citizen_id: UUID


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whose citizen token it is."""

    citizen_id: UUID
    role: int
