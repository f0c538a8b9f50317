"""The model store's ledger: accounts, transfers, claims, reversals, what an operator decides on forks.

Works on tables in place, so always on a draft of them. Integers have no limit here but the one that a
database column has, which is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.errors import LedgerError, NotFoundError
from cloud.ingest.storage import UnfitError
from cloud.kit.ids import derived_id
from tests.proof.simulation.store_tables import AccountRow, ClaimRow, TransferRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from tests.proof.simulation.store_tables import Tables, WeighedRow

INT64_MAX = 2**63 - 1
AWARD, REVERSAL, REVERSAL_DUE, SETTLEMENT, CLAIM, RELEASE, WITHDRAWAL = range(1, 8)


def account_of(kind: str, key: bytes) -> UUID:
    """The id of the account of this kind and key."""
    return derived_id("reloop/account/1", kind.encode(), key)


ISSUER = account_of("issuer", b"points")


def open_account(tables: Tables, kind: str, key: bytes) -> UUID:
    """The account of this kind and key, made if there is none."""
    account = account_of(kind, key)
    if account not in tables.accounts:
        tables.accounts[account] = AccountRow(kind, key, 0, None)
    return account


def transfer(tables: Tables, row: TransferRow) -> None:
    """Make a transfer, once. A posted one moves the balances of all but the issuer."""
    identity = transfer_id(row.source, row.code)
    if identity in tables.transfers:
        return
    tables.transfers[identity] = row
    if row.state == "posted":
        _move(tables, row.debit, -row.amount)
        _move(tables, row.credit, row.amount)


def transfer_id(source: UUID, code: int) -> UUID:
    """The id that a transfer has for ever."""
    return type(source)(int=source.int ^ (code - 1))


def _move(tables: Tables, account: UUID, amount: int) -> None:
    if account == ISSUER:
        return
    row = tables.accounts[account]
    balance = row.balance + (-amount if row.kind == "receivable" else amount)
    if not 0 <= balance <= INT64_MAX:
        raise UnfitError(f"the balance of {account} would be {balance}")
    tables.accounts[account] = row._replace(balance=balance)


def reverse(tables: Tables, weighing: UUID, row: WeighedRow) -> None:
    """Take back what a weighing was credited: from its holder or their heir, then from what they owe.

    Of a holding with an heir, what came after that is taken from the holding itself.
    """
    if not row.points:
        return
    if row.pending:
        transfer(tables, _void_of(weighing, row))
        return
    account, heir = row.account, tables.accounts[row.account].heir
    if heir is not None and tables.accounts[account].balance < row.points:
        account = heir
    held = tables.accounts[account]
    covered = min(row.points, held.balance)
    if covered:
        transfer(tables, TransferRow(account, ISSUER, covered, REVERSAL, weighing))
    if row.points > covered:
        owed = open_account(tables, "receivable", held.key)
        transfer(tables, TransferRow(owed, ISSUER, row.points - covered, REVERSAL_DUE, weighing))


def _void_of(weighing: UUID, row: WeighedRow) -> TransferRow:
    return TransferRow(ISSUER, row.account, row.points, WITHDRAWAL, weighing, "void", weighing)


def settle(tables: Tables, account: UUID, source: UUID) -> None:
    """Let an account pay what its owner owes, as far as it can."""
    row = tables.accounts[account]
    owed = account_of("receivable", row.key)
    if owed in tables.accounts:
        amount = min(row.balance, tables.accounts[owed].balance)
        if amount > 0:
            transfer(tables, TransferRow(account, owed, amount, SETTLEMENT, source))


def claim(tables: Tables, claim_hash: bytes, pseudonym: bytes) -> int:
    """Move a guest's deposit to a citizen, once for ever; the points moved."""
    found = tables.claims.get(claim_hash)
    if found is None:
        raise NotFoundError("this code has not arrived yet", code="claim.unknown")
    citizen = tables.citizens[pseudonym]
    if found.citizen is not None:
        if found.citizen != citizen:
            raise LedgerError("this code was claimed already", code="claim.taken")
        return inherit(tables, found.account, pseudonym)
    tables.claims[claim_hash] = ClaimRow(found.account, found.deposit, citizen)
    tables.tell(
        "deposit.claimed", claim_hash.hex(), citizen=str(citizen), deposit=_text_or_none(found.deposit)
    )
    return inherit(tables, found.account, pseudonym)


def inherit(tables: Tables, holding: UUID, pseudonym: bytes) -> int:
    """Everything in a holding goes to a citizen, who pays what they owe first; the points moved."""
    account = open_account(tables, "citizen", pseudonym)
    row = tables.accounts.get(holding)
    if row is None or row.kind != "holding":
        raise NotFoundError(f"there is no holding account {holding}", code="ledger.no_holding")
    if row.heir not in {None, account}:
        raise LedgerError("this holding was given to somebody else already", code="ledger.inherited")
    tables.accounts[holding] = row._replace(heir=account)
    if row.balance:
        before = sum(each.debit == holding and each.code == CLAIM for each in tables.transfers.values())
        source = derived_id("reloop/claim/1", holding.bytes, before.to_bytes(8, "big"))
        transfer(tables, TransferRow(holding, account, row.balance, CLAIM, source))
        settle(tables, account, transfer_id(source, CLAIM))
    return row.balance


def release(tables: Tables, weighings: Sequence[UUID]) -> int:
    """Post the pending awards of these weighings; how many were posted."""

    def post(weighing: UUID, row: WeighedRow) -> None:
        transfer(tables, TransferRow(ISSUER, row.account, row.points, RELEASE, weighing, "posted", weighing))
        if tables.accounts[row.account].kind == "citizen":
            settled.append((row.account, transfer_id(weighing, RELEASE)))

    settled: list[tuple[UUID, UUID]] = []
    done = _decide(tables, weighings, post)
    for weighing, row in done:
        tables.weighings[weighing.bytes] = row._replace(pending=False)
        tables.tell(
            "weighing.credited", str(weighing), account=str(row.account), points=row.points,
            net_g=row.net_g, material=row.material,
        )  # fmt: skip
    for account, source in settled:
        settle(tables, account, source)
    for account in sorted({row.account for _, row in done if row.points}):
        heir = tables.accounts[account].heir
        if heir is not None:
            inherit(tables, account, tables.accounts[heir].key)
    return sum(row.points > 0 for _, row in done)


def withdraw(tables: Tables, weighings: Sequence[UUID]) -> int:
    """Void pending awards instead; how many were voided."""

    def void(weighing: UUID, row: WeighedRow) -> None:
        transfer(tables, _void_of(weighing, row))

    done = _decide(tables, weighings, void)
    for weighing, row in done:
        tables.weighings[weighing.bytes] = row._replace(voided=weighing)
        tables.kilos[row.party, row.material] -= row.net_g
        tables.tell(
            "weighing.voided", str(weighing), account=str(row.account), points=row.points,
            net_g=row.net_g, material=row.material,
        )  # fmt: skip
    return sum(row.points > 0 for _, row in done)


def _decide(
    tables: Tables, weighings: Sequence[UUID], what: Callable[[UUID, WeighedRow], None]
) -> list[tuple[UUID, WeighedRow]]:
    """Do `what` with each of these weighings that waits for a decision, by account and weighing."""
    waiting = []
    for weighing in dict.fromkeys(weighings):
        row = tables.weighings.get(weighing.bytes)
        if row is not None and row.pending and not row.voided:
            waiting.append((weighing, row))
    waiting.sort(key=lambda each: (each[1].account, each[0]))
    for weighing, row in waiting:
        if row.points:
            what(weighing, row)
    return waiting


def _text_or_none(identity: UUID | None) -> str | None:
    return None if identity is None else str(identity)


def faults(tables: Tables) -> list[str]:
    """What does not add up: balances that are not the sums of their transfers, or are negative."""
    sums = dict.fromkeys(tables.accounts, 0)
    for each in tables.transfers.values():
        if each.state == "posted":
            sums[each.debit] = sums.get(each.debit, 0) - each.amount
            sums[each.credit] = sums.get(each.credit, 0) + each.amount
    issued = -sums.pop(ISSUER, 0)
    found = []
    for account, row in tables.accounts.items():
        if row.kind != "issuer":
            held = -row.balance if row.kind == "receivable" else row.balance
            if row.balance < 0 or held != sums.pop(account, 0):
                found.append(f"{row.kind} {row.key!r} holds {row.balance}")
            issued -= held
    found += [f"account {account} does not exist" for account in sums]
    return found + ([f"the issuer is off by {issued}"] if issued else [])
