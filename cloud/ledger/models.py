"""What the ledger tells: balances, statements, claims, the result of a verification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Balance:
    """Whole points: what a citizen has, what they owe after reversals, what a fork still holds back."""

    points: int
    due: int
    pending: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement: signed `amount`, and the balance after it. `code` is a TransferCode's name.

    A line in state `pending` or `void` moved nothing. `number` is the cursor for the next page. `at` is when
    it was booked, `happened_at` when the weighing it is for was, off by `error_s` at most; None for others.
    """

    number: int
    id: UUID
    at: datetime
    code: str
    state: str
    amount: int
    balance: int
    source: UUID
    happened_at: datetime | None
    error_s: int | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A guest's deposit claimed: the points moved to the citizen, and the visit if it is known."""

    points: int
    deposit: UUID | None


@dataclass(frozen=True, slots=True)
class Holding:
    """Points that belong to nobody known yet. `holder` as in a weighing: claim hash, raw tag or card serial.

    `given_to` is the citizen who got what was there before, None if nobody has yet.
    """

    account: UUID
    kind: str
    holder: bytes
    points: int
    given_to: UUID | None


@dataclass(frozen=True, slots=True)
class Fork:
    """Weighings that the sides of a forked journal carried and nobody has decided on. Points, grams."""

    gateway: str
    epoch: int
    count: int
    points: int
    net_g: int
    weighings: list[UUID]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the ledger that does not add up; `id` names the row."""

    check: str
    id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of a verification. Sums are whole points; each check names at most 100 faults."""

    transfers: int
    accounts: int
    weighings: int
    held_by_holders: int
    due: int
    issued: int
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.faults
