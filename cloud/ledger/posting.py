"""Writes transfers and moves balances, once per transfer id, inside the caller's transaction.

Speaks plain psycopg, because ingest does; `service` is for everybody else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from cloud.errors import LedgerError
from cloud.kit.queries import load_queries
from cloud.ledger.accounts import ISSUER, AccountKind, receivable_account
from cloud.ledger.transfers import NewTransfer, TransferCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands, locked. `heir` is who claimed this holding."""

    id: UUID
    kind: AccountKind
    key: bytes
    balance: int
    heir: UUID | None


@dataclass(frozen=True, slots=True)
class Voided:
    """A weighing just marked as taken back, with the points it had been credited."""

    weighing: UUID
    account: UUID
    points: int
    pending: bool


async def lock_accounts(connection: psycopg.AsyncConnection, ids: Iterable[UUID]) -> dict[UUID, Account]:
    """Lock accounts in the order of their ids and read them; unknown ids are left out."""
    rows = await connection.execute(QUERIES["lock_accounts"], {"ids": sorted(set(ids))})
    return {
        row[0]: Account(row[0], AccountKind(row[1]), bytes(row[2]), row[3], row[4])
        for row in await rows.fetchall()
    }


async def open_accounts(
    connection: psycopg.AsyncConnection, accounts: Mapping[UUID, tuple[AccountKind, bytes]]
) -> None:
    """Make sure that these accounts (id → kind, key) exist."""
    ids = sorted(accounts)
    await connection.execute(
        QUERIES["open_accounts"],
        {
            "ids": ids,
            "kinds": [accounts[each][0].value for each in ids],
            "keys": [accounts[each][1] for each in ids],
        },
    )


async def post(
    connection: psycopg.AsyncConnection,
    transfers: Sequence[NewTransfer],
    accounts: Mapping[UUID, Account],
    resolves: Mapping[UUID, UUID] | None = None,
) -> list[NewTransfer]:
    """Post transfers between locked `accounts`; those that happened before are left out of the answer.

    `resolves` maps a transfer's id to the pending transfer it posts. Raises LedgerError
    `ledger.insufficient` if a balance would become negative: then nothing was moved.
    """
    done = await insert(connection, transfers, "posted", resolves or {})
    deltas: dict[UUID, int] = defaultdict(int)
    for transfer in done:
        for account, amount in ((transfer.debit, -transfer.amount), (transfer.credit, transfer.amount)):
            if account != ISSUER:
                deltas[account] += _sign(accounts[account]) * amount
    ids = sorted(deltas)
    values = {"ids": ids, "deltas": [deltas[each] for each in ids]}
    try:
        await connection.execute(QUERIES["move_balances"], values)
    except psycopg.errors.CheckViolation as error:
        raise LedgerError("the balance does not cover this", code="ledger.insufficient") from error
    return done


async def insert(
    connection: psycopg.AsyncConnection,
    transfers: Sequence[NewTransfer],
    state: str,
    resolves: Mapping[UUID, UUID],
) -> list[NewTransfer]:
    """Insert transfers in `state`; the ones that are new. Moves no balance."""
    rows = await connection.execute(
        QUERIES["insert_transfers"],
        {
            "ids": [each.id for each in transfers],
            "debits": [each.debit for each in transfers],
            "credits": [each.credit for each in transfers],
            "amounts": [each.amount for each in transfers],
            "codes": [int(each.code) for each in transfers],
            "states": [state] * len(transfers),
            "sources": [each.source for each in transfers],
            "resolves": [resolves.get(each.id) for each in transfers],
        },
    )
    new = {row[0] for row in await rows.fetchall()}
    return [each for each in transfers if each.id in new]


async def reverse(connection: psycopg.AsyncConnection, voided: Sequence[Voided]) -> None:
    """Take back the points of weighings just voided; what a balance no longer covers becomes due."""
    pending = [each for each in voided if each.pending and each.points]
    posted = [each for each in voided if not each.pending and each.points]
    await _withdraw(connection, pending)
    accounts = await lock_accounts(connection, [each.account for each in posted])
    heirs = [account.heir for account in accounts.values() if account.heir is not None]
    accounts |= await lock_accounts(connection, heirs)
    transfers = reversals(posted, accounts)
    due = {
        receivable_account(account.key): (AccountKind.RECEIVABLE, account.key)
        for account in accounts.values()
        if any(each.debit == receivable_account(account.key) for each in transfers)
    }
    if due:
        await open_accounts(connection, due)
        accounts |= await lock_accounts(connection, due)
    if transfers:
        await post(connection, transfers, accounts)


def reversals(voided: Sequence[Voided], accounts: Mapping[UUID, Account]) -> list[NewTransfer]:
    """Split each reversal between the holder's balance and, for the rest, what the holder owes. Pure.

    Of a holding that was given to somebody, what came after that is taken from the holding itself.
    """
    left = {account.id: account.balance for account in accounts.values()}
    transfers = []
    for each in voided:
        account = accounts[each.account]
        if account.heir is not None and left[account.id] < each.points:
            account = accounts[account.heir]
        covered = min(each.points, left[account.id])
        left[account.id] -= covered
        parts = (
            (account.id, covered, TransferCode.REVERSAL),
            (receivable_account(account.key), each.points - covered, TransferCode.REVERSAL_DUE),
        )
        transfers += [
            NewTransfer(debit, ISSUER, amount, code, each.weighing) for debit, amount, code in parts if amount
        ]
    return transfers


async def settle(connection: psycopg.AsyncConnection, account: UUID, key: bytes, source: UUID) -> int:
    """Let an account that was just credited pay what its owner owes; the points paid."""
    receivable = receivable_account(key)
    accounts = await lock_accounts(connection, (account, receivable))
    if receivable not in accounts:
        return 0
    amount = min(accounts[account].balance, accounts[receivable].balance)
    if amount > 0:
        transfer = NewTransfer(account, receivable, amount, TransferCode.SETTLEMENT, source)
        await post(connection, [transfer], accounts)
    return amount


async def _withdraw(connection: psycopg.AsyncConnection, pending: Sequence[Voided]) -> None:
    transfers = [
        NewTransfer(ISSUER, each.account, each.points, TransferCode.WITHDRAWAL, each.weighing)
        for each in pending
    ]
    resolves = {each.id: each.source for each in transfers}  # an award's id is its weighing's
    if transfers:
        await insert(connection, transfers, "void", resolves)


def _sign(account: Account) -> int:
    return -1 if account.kind is AccountKind.RECEIVABLE else 1
