"""What can be asked of the ledger: balance, statement, claim, release, verification.

Works inside the caller's transaction. Credits and reversals of weighings are ingest's to post.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import UUID

from cloud.errors import LedgerError, NotFoundError
from cloud.kit.ids import derived_id
from cloud.ledger.accounts import ISSUER, AccountKind, citizen_account, receivable_account
from cloud.ledger.models import Balance, Claimed, Fault, Fork, Holding, Line, Report
from cloud.ledger.posting import QUERIES, insert, lock_accounts, open_accounts, post, settle
from cloud.ledger.transfers import NewTransfer, TransferCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.ledger.posting import Account

_NUMBER_MAX = 2**63 - 1
_CHECKS = (
    "verify_balances",
    "verify_parties",
    "verify_ids",
    "verify_awards",
    "verify_voids",
    "verify_resolutions",
)


async def balance(connection: AsyncConnection, citizen: UUID) -> Balance:
    """A citizen's points. Raises NotFoundError if there is no such citizen."""
    pseudonym = await _pseudonym(connection, citizen)
    account, receivable = citizen_account(pseudonym), receivable_account(pseudonym)
    found = dict(await _fetch(connection, "balances", {"ids": [account, receivable]}))
    ((pending,),) = await _fetch(connection, "pending_sum", {"id": account})
    return Balance(found.get("citizen", 0), found.get("receivable", 0), pending)


async def statement(
    connection: AsyncConnection, citizen: UUID, *, before: int | None = None, limit: int = 50
) -> list[Line]:
    """A citizen's transfers, newest first, each with the balance after it; `before` is a line's number."""
    account = citizen_account(await _pseudonym(connection, citizen))
    values = {"id": account, "before": _NUMBER_MAX if before is None else before, "limit": limit}
    rows = await _fetch(connection, "statement", values)
    return [
        Line(number, transfer, at, TransferCode(code).name.lower(), state, amount, after, source, *happened)
        for number, transfer, at, code, amount, after, source, state, *happened in rows
    ]


async def claim(connection: AsyncConnection, claim_hash: bytes, citizen: UUID) -> Claimed:
    """Move a guest's deposit to a citizen, once for ever; the same citizen may ask again.

    `claim_hash` is `protocol.codes.claim_hash(code)`. Raises NotFoundError `claim.unknown` (perhaps the
    gateway has not delivered it yet), LedgerError `claim.taken`.
    """
    pseudonym = await _pseudonym(connection, citizen)
    rows = await _fetch(connection, "lock_claim", {"hash": claim_hash})
    if not rows:
        raise NotFoundError(
            "this code has not arrived yet; check it for typing errors, or try again when the drop point"
            " has had a connection",
            code="claim.unknown",
        )
    _, holding, deposit, claimed_by = rows[0]
    if claimed_by is not None:
        if claimed_by != citizen:
            raise LedgerError("this code was claimed already", code="claim.taken")
        return Claimed(await _inherit(connection, holding, pseudonym), deposit)
    await _fetch(connection, "mark_claimed", {"hash": claim_hash, "citizen": citizen})
    points = await _inherit(connection, holding, pseudonym)
    return Claimed(points, deposit)


async def release_holding(connection: AsyncConnection, holding: UUID, citizen: UUID) -> int:
    """An operator gives what an unknown tag or a revoked card holds to a citizen; the points moved."""
    return await _inherit(connection, holding, await _pseudonym(connection, citizen))


async def holdings(
    connection: AsyncConnection, kind: str | None, *, after: UUID | None = None, limit: int = 50
) -> list[Holding]:
    """What waits for its citizen, in the order of the accounts' ids; `kind`: guest, tag or card."""
    rows = await _fetch(connection, "holdings", {"kind": kind, "after": after, "limit": limit})
    return [Holding(account, kind, bytes(holder), *rest) for account, kind, holder, *rest in rows]


async def release(connection: AsyncConnection, weighings: Sequence[UUID]) -> int:
    """Post the pending awards of weighings that a forked epoch's sides carried; how many were posted."""
    raw = await _raw(connection)
    waiting = await _waiting(connection, weighings)
    transfers = [
        NewTransfer(ISSUER, credit, amount, TransferCode.RELEASE, award) for award, credit, amount in waiting
    ]
    credited = sorted({each.credit for each in transfers})
    heirs = [row[0] for row in await _fetch(connection, "heirs", {"ids": credited})]
    accounts = await lock_accounts(raw, [*credited, *heirs])
    await post(raw, transfers, accounts, {each.id: each.source for each in transfers})
    values = {"ids": [each.source for each in transfers], "asked": list(weighings)}
    await _fetch(connection, "unpend", values)
    for each in transfers:
        if accounts[each.credit].kind is AccountKind.CITIZEN:
            await settle(raw, each.credit, accounts[each.credit].key, each.id)
    for account in credited:
        await _pass_on(connection, accounts[account])
    return len(transfers)


async def withdraw(connection: AsyncConnection, weighings: Sequence[UUID]) -> int:
    """Void pending awards instead: they are never credited. Returns how many were voided."""
    waiting = await _waiting(connection, weighings)
    transfers = [
        NewTransfer(ISSUER, credit, amount, TransferCode.WITHDRAWAL, award)
        for award, credit, amount in waiting
    ]
    resolves = {each.id: each.source for each in transfers}
    await insert(await _raw(connection), transfers, "void", resolves)
    values = {"ids": [each.source for each in transfers], "asked": list(weighings)}
    await _fetch(connection, "void_pending", values)
    return len(transfers)


async def forks(
    connection: AsyncConnection, gateway: str | None = None, epoch: int | None = None
) -> list[Fork]:
    """What waits for a decision after forks, by gateway and epoch."""
    rows = await _fetch(connection, "pending_weighings", {"gateway": gateway, "epoch": epoch})
    return [Fork(*row) for row in rows]


async def verify(connection: AsyncConnection) -> Report:
    """Check that every transfer, balance, award and reversal adds up, all as of one moment."""
    raw = await _raw(connection)
    await raw.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    faults = []
    for check in _CHECKS:
        for identity, *rest in await _fetch(connection, check, {}):
            detail = ", ".join(str(each) for each in rest)
            faults.append(Fault(check.removeprefix("verify_"), str(identity), detail))
    (counts,) = await _fetch(connection, "verify_counts", {})
    report = Report(counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], faults)
    if report.issued != report.held_by_holders - report.due:
        detail = f"issued {report.issued}, held {report.held_by_holders}, due {report.due}"
        report.faults.append(Fault("sum", "issuer", detail))
    return report


async def _inherit(connection: AsyncConnection, holding: UUID, pseudonym: bytes) -> int:
    """Everything in a holding goes to a citizen, who pays what they owe first."""
    raw = await _raw(connection)
    account = citizen_account(pseudonym)
    await open_accounts(raw, {account: (AccountKind.CITIZEN, pseudonym)})
    accounts = await lock_accounts(raw, (holding, account))
    found = accounts.get(holding)
    if found is None or found.kind is not AccountKind.HOLDING:
        raise NotFoundError(f"there is no holding account {holding}", code="ledger.no_holding")
    if found.heir not in {None, account}:
        raise LedgerError("this holding was given to somebody else already", code="ledger.inherited")
    await _fetch(connection, "set_heir", {"id": holding, "heir": account})
    if found.balance:
        ((number,),) = await _fetch(connection, "count_claims", {"id": holding})
        source = derived_id("reloop/claim/1", holding.bytes, int(number).to_bytes(8, "big"))
        transfer = NewTransfer(holding, account, found.balance, TransferCode.CLAIM, source)
        await post(raw, [transfer], accounts)
        await settle(raw, account, pseudonym, transfer.id)
    return found.balance


async def _pass_on(connection: AsyncConnection, holding: Account) -> None:
    """What a holding just got goes to whoever claimed it before: nobody will ask for it again."""
    if holding.heir is not None:
        heirs = await lock_accounts(await _raw(connection), [holding.heir])
        await _inherit(connection, holding.id, heirs[holding.heir].key)


async def _waiting(connection: AsyncConnection, weighings: Sequence[UUID]) -> list[tuple[UUID, UUID, int]]:
    rows = await _fetch(connection, "pending_of", {"ids": list(weighings)})
    return sorted(((row[0], row[2], row[3]) for row in rows), key=lambda each: (each[1], each[0]))


async def _pseudonym(connection: AsyncConnection, citizen: UUID) -> bytes:
    rows = await _fetch(connection, "citizen_pseudonym", {"id": citizen})
    if not rows:
        raise NotFoundError(f"there is no citizen {citizen}", code="citizen.unknown")
    return bytes(rows[0][0])


async def _fetch(connection: AsyncConnection, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    result = await (await _raw(connection)).execute(QUERIES[name], values)
    return await result.fetchall() if result.description else []


async def _raw(connection: AsyncConnection) -> psycopg.AsyncConnection:
    """The psycopg connection beneath, inside the same transaction."""
    raw = (await connection.get_raw_connection()).driver_connection
    return cast("psycopg.AsyncConnection", raw)
