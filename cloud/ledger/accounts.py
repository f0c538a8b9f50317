"""Which accounts exist and what they are called: ids follow from kind and key, for ever.

The issuer makes points and takes them back. A citizen's account is found by the pseudonym on the card, so a
restored cloud finds it again. A receivable is what somebody owes after points already spent were reversed.
A holding keeps what belongs to nobody known yet: a guest's deposit, an unknown tag, a revoked card.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cloud.kit.ids import derived_id
from protocol.cards import PSEUDONYM_LENGTH

if TYPE_CHECKING:
    from uuid import UUID


class AccountKind(StrEnum):
    """What an account is for."""

    ISSUER = "issuer"
    CITIZEN = "citizen"
    RECEIVABLE = "receivable"
    HOLDING = "holding"


def account_id(kind: AccountKind, key: bytes) -> UUID:
    """The id of the account of this kind and key."""
    return derived_id("reloop/account/1", kind.value.encode(), key)


ISSUER_KEY = b"points"
ISSUER = account_id(AccountKind.ISSUER, ISSUER_KEY)


def citizen_account(pseudonym: bytes) -> UUID:
    """The account of the citizen with this 8-byte pseudonym."""
    if len(pseudonym) != PSEUDONYM_LENGTH:
        raise ValueError(f"a pseudonym has {PSEUDONYM_LENGTH} bytes")
    return account_id(AccountKind.CITIZEN, pseudonym)


def receivable_account(key: bytes) -> UUID:
    """What the owner of the citizen or holding account with this key owes."""
    return account_id(AccountKind.RECEIVABLE, key)


def guest_key(claim_hash: bytes) -> bytes:
    """Key of the holding of a guest's deposit, by the hash of its claim code."""
    return b"guest:" + claim_hash


def tag_key(raw: bytes) -> bytes:
    """Key of the holding of a tag that no citizen has."""
    return b"tag:" + raw


def card_key(serial: bytes) -> bytes:
    """Key of the holding of a revoked card."""
    return b"card:" + serial


def holding_account(key: bytes) -> UUID:
    """The holding with this key."""
    return account_id(AccountKind.HOLDING, key)
