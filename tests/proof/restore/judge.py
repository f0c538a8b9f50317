"""What the cloud's database says, held against what kiosks showed and what still exists.

Asks Postgres and the journals directly, by statements of its own; believes no code of the cloud's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from edge.journal.export import export_directory
from protocol.cards import PSEUDONYM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.proof.restore.device import Device
    from tests.proof.restore.people import Person, Shown

_WEIGHINGS = "SELECT id, gateway_id, epoch, seq, holder, net_g, points, pending FROM weighings"
_AWARDS = "SELECT source, state, amount FROM transfers WHERE code = 1"
_REVOKED = "SELECT serial FROM cards WHERE revoked_at IS NOT NULL"
_ACCOUNTS = "SELECT kind, key, balance FROM accounts WHERE kind <> 'issuer'"


@dataclass(frozen=True, slots=True)
class Credited:
    """One weighing as the cloud holds it."""

    gateway: str
    epoch: int
    seq: int
    holder: bytes
    net_g: int
    points: int
    pending: bool


@dataclass(frozen=True, slots=True)
class Books:
    """One look at the cloud's database. `alarms` are those that are open, as (gateway, code)."""

    weighings: Mapping[UUID, Credited]
    awards: Sequence[tuple[UUID, str, int]]
    balances: Mapping[tuple[str, bytes], int]
    held: Mapping[UUID, str]
    alarms: Sequence[tuple[str, str]]
    gaps: int
    revoked: frozenset[bytes]


def look(url: str) -> Books:
    """Read it all as of one moment."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        ask = connection.execute
        return Books(
            {row[0]: _credited(*row[1:]) for row in ask(_WEIGHINGS).fetchall()},
            ask(_AWARDS).fetchall(),
            {(kind, bytes(key)): balance for kind, key, balance in ask(_ACCOUNTS).fetchall()},
            dict(ask("SELECT id, code FROM quarantine WHERE state = 'held'").fetchall()),
            ask("SELECT gateway_id, code FROM alarms WHERE resolved_at IS NULL").fetchall(),
            len(ask("SELECT 1 FROM gaps").fetchall()),
            frozenset(bytes(row[0]) for row in ask(_REVOKED).fetchall()),
        )


def _credited(  # noqa: PLR0917 - a row of the table
    gateway: str, epoch: int, seq: int, holder: bytes, net_g: int, points: int, pending: bool
) -> Credited:
    return Credited(gateway, epoch, seq, bytes(holder), net_g, points, pending)


def journalled(devices: Iterable[Device]) -> set[UUID]:
    """Weighings that the cards still hold."""
    return {
        UUID(line["id"])
        for device in devices
        for line in export_directory(device.data / "journal")
        if line["kind"] == "weighing.recorded"
    }


@dataclass(frozen=True, slots=True)
class Parting:
    """Two machines had the same journal up to `head` of `epoch`, and went on as `sides`."""

    gateway: str
    epoch: int
    head: int
    sides: tuple[str, str]


@dataclass
class Reference:
    """What must be true: `shown` is all that kiosks showed, `claims` which guest's hash went to whom."""

    shown: dict[UUID, Shown] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)
    """Shown, and then lost with every card and backup that held it."""
    claims: dict[bytes, Person] = field(default_factory=dict)
    partings: list[Parting] = field(default_factory=list)

    def expected(self) -> set[UUID]:
        """Weighings that must be in the ledger."""
        return set(self.shown) - self.gone

    def judge(self, books: Books) -> list[str]:
        """What is wrong; nothing if all is well."""
        return [*self._lost_or_forged(books), *_doubled(books), *self._balances(books), *self._sides(books)]

    def _lost_or_forged(self, books: Books) -> Iterable[str]:
        for one in self.expected() - set(books.weighings):
            yield f"lost: {self.shown[one]} (quarantine says {books.held.get(one)})"
        for one in set(books.weighings) - self.expected():
            yield f"credited, but no kiosk showed it: {books.weighings[one]}"
        for one, code in books.held.items():
            yield f"left in quarantine: {one} {code}"
        for one, credited in books.weighings.items():
            shown = self.shown.get(one)
            if shown and (shown.net_g, shown.points, shown.holder) != (
                credited.net_g,
                credited.points,
                credited.holder,
            ):
                yield f"shown as {shown}, credited as {credited}"

    def _balances(self, books: Books) -> Iterable[str]:
        due: Counter[tuple[str, bytes]] = Counter()
        for one, credited in books.weighings.items():
            shown = self.shown.get(one)
            if shown is not None and not credited.pending:
                due[self._account_of(shown)] += shown.points
        for account in due.keys() | books.balances.keys():
            if due[account] != books.balances.get(account, 0):
                yield f"{account} has {books.balances.get(account, 0)} points and must have {due[account]}"

    def _account_of(self, shown: Shown) -> tuple[str, bytes]:
        if not shown.guest:
            return "citizen", shown.holder[:PSEUDONYM_LENGTH]
        owner = self.claims.get(shown.holder)
        return (
            ("citizen", owner.serial[:PSEUDONYM_LENGTH]) if owner else ("holding", b"guest:" + shown.holder)
        )

    def _sides(self, books: Books) -> Iterable[str]:
        """Of two machines that parted, at most one's records of the common epoch are spendable."""
        for parting in self.partings:
            there = [one for one in self.beyond(parting) if one in books.weighings]
            spendable = {self.shown[one].device for one in there if not books.weighings[one].pending}
            if len(spendable) > 1:
                yield f"both sides of a fork are spendable: {parting}"

    def beyond(self, parting: Parting) -> list[UUID]:
        """Weighings that either side took in the common epoch after they parted."""
        return [
            one
            for one in self.expected()
            if (shown := self.shown[one]).device in parting.sides
            and (shown.gateway, shown.epoch) == (parting.gateway, parting.epoch)
            and shown.seq > parting.head
        ]


def _doubled(books: Books) -> Iterable[str]:
    awards: defaultdict[UUID, list[int]] = defaultdict(list)
    for source, _state, amount in books.awards:
        awards[source].append(amount)
    for one, credited in books.weighings.items():
        wanted = [credited.points] if credited.points else []
        if awards.pop(one, []) != wanted:
            yield f"awarded other than once: {one} {credited}"
    for one, amounts in awards.items():
        yield f"awarded without a weighing: {one} {amounts}"
