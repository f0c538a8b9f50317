"""What a transfer is, and the ids that make each happen once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import IntEnum


class TransferCode(IntEnum):
    """Why points moved; with the source it names a transfer, so each can happen once only."""

    AWARD = 1
    """Issuer → holder, for a weighing (the source)."""
    REVERSAL = 2
    """Holder → issuer, for a voided weighing, as far as the balance reaches."""
    REVERSAL_DUE = 3
    """Receivable → issuer, for what the balance no longer covers of a reversal."""
    SETTLEMENT = 4
    """Citizen → receivable, when later credits pay what is due."""
    CLAIM = 5
    """Holding → citizen, all it held."""
    RELEASE = 6
    """Posts a pending award."""
    WITHDRAWAL = 7
    """Voids a pending award."""


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """A posted transfer to make. `amount` is points, more than 0."""

    debit: uuid.UUID
    credit: uuid.UUID
    amount: int
    code: TransferCode
    source: uuid.UUID

    @property
    def id(self) -> uuid.UUID:
        """The id this transfer has for ever."""
        return transfer_id(self.source, self.code)


def transfer_id(source: uuid.UUID, code: TransferCode) -> uuid.UUID:
    """The id of the transfer with this source and code.

    Sources are random or digests in their last 8 bits too, so changing those by the code keeps ids apart.
    An award's id is its weighing's: the hot path then needs no second id.
    """
    return uuid.UUID(int=source.int ^ (code - TransferCode.AWARD))
