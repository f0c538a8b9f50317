"""Who stands at the kiosk: a scan or a press becomes a holder or a verified person, or a word to them.

Works offline with the cloud's public keys. Does not own what they may do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.station.events import Holder, Person
from edge.station.screen import Message
from protocol.bodies import HolderKind
from protocol.cards import check_card, open_card
from protocol.codes import claim_hash, new_claim_code
from protocol.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Callable

_TAG_LENGTH = 5  # EM4100: five bytes, ten hexadecimal digits

_WORDS = {
    "card.forged": Message.CARD_FORGED,
    "card.expired": Message.CARD_EXPIRED,
    "card.revoked": Message.CARD_REVOKED,
}


def read_card(
    text: str,
    key_for: Callable[[bytes], bytes | None],
    revoked: Callable[[bytes], bool],
    now_s: int,
) -> Person | Message:
    """The person behind a card's QR text, or why the card is not accepted; it is surely `now_s` or later."""
    try:
        card = check_card(open_card(text, key_for), now_s, revoked)
    except CardError as error:
        return _WORDS.get(error.code, Message.CARD_UNREADABLE)
    return Person(card.serial, card.pseudonym, card.role, card.alias)


def card_holder(person: Person) -> Holder:
    """The holder of a visit begun with a card."""
    return Holder(HolderKind.CARD, person.serial, alias=person.alias)


def tag_holder(text: str) -> Holder | Message:
    """The holder of a visit begun with an RFID tag; `text` is ten hexadecimal digits."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return Message.CARD_UNREADABLE
    return Holder(HolderKind.TAG, raw) if len(raw) == _TAG_LENGTH else Message.CARD_UNREADABLE


def guest_holder(random: Callable[[int], bytes]) -> Holder:
    """A guest with a new claim code of 65 bits; `random(n)` gives n secret bytes."""
    code = new_claim_code(random)
    return Holder(HolderKind.GUEST, claim_hash(code), claim_code=code)
