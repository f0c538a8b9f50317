"""Member cards: a CWT (RFC 8392) signed by the cloud, base45 in a QR, verified offline.

    QR text = "RL1:" ‖ base45(COSE_Sign1(CARD, CBOR {4: expiry_s, 7: serial, -70001: role, -70002: alias}))
    serial  = pseudonym (8 bytes) ‖ issue number (1 byte)

The pseudonym names the citizen for ever and nobody else; a replaced card keeps it and takes the next
issue number, so a revoked or unknown serial still leads a restored cloud to the right account.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import base45
import msgspec

from protocol.cbor import Count, convert, decode, encode
from protocol.cose import Purpose, SigningKey, open_envelope
from protocol.errors import CardError, EnvelopeError

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "RL1:"
PSEUDONYM_LENGTH = 8
SERIAL_LENGTH = PSEUDONYM_LENGTH + 1
TEXT_LENGTH_MAX = 512
ALIAS_LENGTH_MAX = 24
_LABELS = {"expires_s": 4, "serial": 7, "role": -70001, "alias": -70002}  # RFC 8392 §4, then our own


class Role(IntEnum):
    """What the holder of a card may do at a kiosk."""

    CITIZEN = 0
    COLLECTOR = 1
    STEWARD = 2


class Card(msgspec.Struct, frozen=True):
    """A card's claims. `serial` has 9 bytes, `expires_s` is seconds since 1970 UTC."""

    serial: Annotated[bytes, msgspec.Meta(min_length=SERIAL_LENGTH, max_length=SERIAL_LENGTH)]
    role: Role
    alias: Annotated[str, msgspec.Meta(max_length=ALIAS_LENGTH_MAX)]
    expires_s: Count

    @property
    def pseudonym(self) -> bytes:
        """8 bytes naming the citizen without saying who it is."""
        return self.serial[:PSEUDONYM_LENGTH]


def build_card(card: Card, key: SigningKey) -> str:
    """The text of the card's QR. Raises CardError if a claim is out of range."""
    payload = encode({label: getattr(card, name) for name, label in _LABELS.items()}, "a card", CardError)
    _card(decode(payload, "a card", CardError))
    encoded: bytes = base45.b45encode(key.sign(Purpose.CARD, payload))
    return PREFIX + encoded.decode("ascii")


def open_card(text: str, key_for: Callable[[bytes], bytes | None]) -> Card:
    """Verify a scanned card with the cloud's public card keys; works offline.

    Raises CardError: `card.malformed`, `card.forged`. Expiry and revocation are the caller's to
    judge, with `check_card`, because only the caller knows what its clock is worth.
    """
    if not text.startswith(PREFIX) or len(text) > TEXT_LENGTH_MAX:
        raise CardError("this is not a member card; scan the QR with the ReLoop mark")
    try:
        data: bytes = base45.b45decode(text.removeprefix(PREFIX))
        payload = open_envelope(data, Purpose.CARD, key_for)
    except EnvelopeError as error:
        raise CardError(f"this card was not issued by the cloud: {error}", code="card.forged") from error
    except ValueError as error:
        raise CardError("this card cannot be read; clean it and try again") from error
    return _card(decode(payload, "this card", CardError))


def check_card(card: Card, wall_s: int | None, revoked: Callable[[bytes], bool]) -> Card:
    """Return the card if it is neither revoked nor expired, else raise CardError.

    `wall_s` is None while the clock is not to be trusted: then expiry is left to the cloud.
    """
    if revoked(card.serial):
        raise CardError("this card was revoked; ask for a new one", code="card.revoked")
    if wall_s is not None and wall_s >= card.expires_s:
        raise CardError("this card has expired; ask for a new one", code="card.expired")
    return card


def _card(claims: object) -> Card:
    known = claims if isinstance(claims, dict) else {}
    fields = {name: known.get(label) for name, label in _LABELS.items()}
    return convert(fields, Card, "this card", CardError)
