"""What can be done with citizens, their cards, tokens and tags."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cloud.citizens import repository
from cloud.citizens.errors import (
    CardNotFoundError,
    CardsExhaustedError,
    CitizenNotFoundError,
    TagTakenError,
)
from cloud.citizens.models import Citizen, IssuedCard, StoredCard, Tag
from protocol.cards import PSEUDONYM_LENGTH, Card, Role, build_card
from protocol.documents import RevocationsBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.citizens.models import TokenHolder
    from protocol.cose import SigningKey

TOKEN_PREFIX = "rlc_"  # noqa: S105 - names the kind of token, so that a leaked one is recognised
_TOKEN_BYTES = 32
_ISSUE_MAX = 255


@dataclass(frozen=True, slots=True)
class Citizens:
    """Registers citizens and issues what identifies them.

    `card_key` signs cards; `random_bytes(n)` gives n secret bytes; `revoked` publishes the revocations.
    """

    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    random_bytes: Callable[[int], bytes]
    card_key: SigningKey
    revoked: Callable[[AsyncConnection], Awaitable[None]]

    async def register(self, connection: AsyncConnection, alias: str) -> Citizen:
        """Register a citizen under a new pseudonym."""
        pseudonym = self.random_bytes(PSEUDONYM_LENGTH)
        citizen = Citizen(self.new_id(), pseudonym, alias, self.now())
        if not await repository.insert(connection, citizen):
            return await self.register(connection, alias)  # 2⁻⁶⁴: somebody has it already
        return citizen

    async def issue_card(
        self, connection: AsyncConnection, citizen_id: UUID, role: Role, valid_days: int
    ) -> IssuedCard:
        """Issue the citizen's next card and token. Raises CitizenNotFoundError, CardsExhaustedError."""
        citizen = await repository.find(connection, citizen_id, lock=True)
        if citizen is None:
            raise _unknown(citizen_id)
        issue = await repository.highest_issue(connection, citizen.pseudonym) + 1
        if issue > _ISSUE_MAX:
            raise CardsExhaustedError("this citizen has had 255 cards; register a new pseudonym")
        card = self._card(citizen, citizen.pseudonym + bytes([issue]), role, valid_days)
        token = TOKEN_PREFIX + self.random_bytes(_TOKEN_BYTES).hex()
        await repository.insert_card(connection, card, token_hash(token))
        return IssuedCard(card, token)

    def _card(self, citizen: Citizen, serial: bytes, role: Role, valid_days: int) -> StoredCard:
        issued_at = self.now()
        expires_at = (issued_at + timedelta(days=valid_days)).replace(microsecond=0)
        claims = Card(serial, role, citizen.alias, int(expires_at.timestamp()))
        text = build_card(claims, self.card_key)
        return StoredCard(serial, citizen.id, int(role), issued_at, expires_at, None, text)

    async def revoke_card(self, connection: AsyncConnection, serial: bytes) -> StoredCard:
        """Revoke a card and its token; kiosks learn it from the revocations. Raises CardNotFoundError.

        A restored database may know the citizen and not the card: it can be revoked all the same.
        """
        if await repository.find_card(connection, serial) is None:
            if not await repository.has_pseudonym(connection, serial[:PSEUDONYM_LENGTH]):
                raise _unknown_card(serial)
            await repository.revoke_again(connection, [serial], self.now())
            await self.revoked(connection)
        elif await repository.revoke_card(connection, serial, self.now()):
            await self.revoked(connection)
        return await self.card(connection, serial)

    async def revoke_again(self, connection: AsyncConnection, serials: Sequence[bytes]) -> int:
        """Revoke cards that were revoked in a database that was lost; how many were not.

        A card it does not know is known afterwards, as revoked, and its citizen by the pseudonym on it.
        """
        return await repository.revoke_again(connection, list(serials), self.now())

    async def attach_tag(self, connection: AsyncConnection, citizen_id: UUID, raw: bytes) -> Tag:
        """Say whose a bare tag is. Raises CitizenNotFoundError, TagTakenError."""
        await self.find(connection, citizen_id)
        tag = await repository.insert_tag(connection, raw, citizen_id)
        if tag.citizen_id != citizen_id:
            raise TagTakenError("this tag belongs to another citizen; give this one a card instead")
        return tag

    async def find(self, connection: AsyncConnection, citizen_id: UUID) -> Citizen:
        """One citizen. Raises CitizenNotFoundError."""
        citizen = await repository.find(connection, citizen_id)
        if citizen is None:
            raise _unknown(citizen_id)
        return citizen

    async def page(self, connection: AsyncConnection, after: UUID | None, limit: int) -> list[Citizen]:
        """Citizens after id `after`, at most `limit + 1`."""
        return await repository.page(connection, after, limit + 1)

    async def card(self, connection: AsyncConnection, serial: bytes) -> StoredCard:
        """One card. Raises CardNotFoundError."""
        card = await repository.find_card(connection, serial)
        if card is None:
            raise _unknown_card(serial)
        return card

    async def cards(self, connection: AsyncConnection, citizen_id: UUID) -> list[StoredCard]:
        """A citizen's cards, newest first. Raises CitizenNotFoundError."""
        await self.find(connection, citizen_id)
        return await repository.cards_of(connection, citizen_id)

    async def revocations(self, connection: AsyncConnection) -> RevocationsBody:
        """What kiosks must refuse."""
        return RevocationsBody(b"".join(await repository.revoked_serials(connection, self.now())))

    async def holder_of(self, connection: AsyncConnection, token: str) -> TokenHolder | None:
        """Whose citizen token this is; None if it is nobody's (any more)."""
        if not token.startswith(TOKEN_PREFIX):
            return None
        return await repository.holder_of(connection, token_hash(token), self.now())


def token_hash(token: str) -> bytes:
    """What is kept of a token: 32 bytes. Tokens are random, so a plain hash is enough."""
    return hashlib.sha256(b"reloop/token/1" + token.encode()).digest()


def _unknown(citizen_id: UUID) -> CitizenNotFoundError:
    return CitizenNotFoundError(f"there is no citizen {citizen_id}; list them with GET /v1/citizens")


def _unknown_card(serial: bytes) -> CardNotFoundError:
    return CardNotFoundError(f"there is no card {serial.hex()}; look at the citizen's cards")
