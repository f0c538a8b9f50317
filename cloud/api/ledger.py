"""The ledger over HTTP: a citizen's own account and claims, and the operator's releases and verification."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.kit.web.access import Principal, allow
from cloud.kit.web.limits import RateLimit
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.shapes import Given, Hex, Shown, Time
from cloud.kit.web.work import Reading, Writing
from cloud.ledger import service as ledger
from protocol.codes import claim_hash

router = APIRouter(prefix="/v1", tags=["ledger"])
Me = Annotated[Principal, allow("me:read")]
Auditor = [allow("ledger:read")]
Treasurer = Annotated[Principal, allow("ledger:write")]


class BalanceShown(Shown):
    """Whole points."""

    points: int = Field(description="what there is to spend")
    due: int = Field(description="owed after a reversal of points already spent; later credits pay it first")
    pending: int = Field(description="waits until an operator has settled a forked journal")


class LineShown(Shown):
    """One line of a statement."""

    number: int
    id: UUID
    at: Time = Field(description="when it was booked")
    happened_at: Time | None = Field(
        description="when the weighing it is for was, as far as is known now; null for other lines"
    )
    error_s: int | None = Field(
        description="happened_at is off by this at most; null: it is not later, more is not known yet"
    )
    code: str = Field(examples=["award"])
    state: str = Field(examples=["posted"], description="a line pending or void moved nothing")
    amount: int = Field(description="points, negative when they went away")
    balance: int = Field(description="after this line")
    source: UUID = Field(description="what it is for: an award's is the weighing")


class ClaimGuestGiven(Given):
    """A guest's claim code, from the receipt of the kiosk."""

    code: str = Field(min_length=1, max_length=64, examples=["7K3M-9QXT-2VAB-H"])


class ClaimedShown(Shown):
    """A claimed deposit. A repeat by the same citizen moves 0 points."""

    points: int
    deposit: UUID | None


class CitizenNamed(Given):
    """Who gets it."""

    citizen: UUID


class HoldingAccountShown(Shown):
    """Points that wait for their citizen: of a guest, of a tag that is nobody's, of a revoked card."""

    account: UUID = Field(description="what to release")
    kind: Literal["guest", "tag", "card"]
    holder: Hex = Field(description="claim hash, raw tag or card serial")
    points: int
    given_to: UUID | None = Field(description="who was given what it held before")


class MovedShown(Shown):
    """How many points moved."""

    points: int


class DecidedShown(Shown):
    """How many pending awards were decided on."""

    awards: int


class FaultShown(Shown):
    """Something that does not add up."""

    check: str
    id: str
    detail: str


class VerificationShown(Shown):
    """Do all points add up?"""

    ok: bool
    transfers: int
    accounts: int
    weighings: int
    held_by_holders: int
    due: int
    issued: int
    faults: list[FaultShown]


@router.get("/me/balance", responses=responses(401, 403))
async def get_my_balance(principal: Me, connection: Reading) -> BalanceShown:
    """How many points this citizen has."""
    return BalanceShown.model_validate(await ledger.balance(connection, UUID(principal.subject)))


@router.get("/me/statement", responses=responses(401, 403))
async def get_my_statement(
    principal: Me, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[LineShown]:
    """This citizen's points in and out, newest first, each with the balance after it."""
    return await _statement(connection, UUID(principal.subject), limit, cursor)


@router.post("/claims", response_model=ClaimedShown, responses=responses(401, 403, 404, 409, 429))
async def claim_deposit(
    given: ClaimGuestGiven,
    request: Request,
    work: Writing,
    principal: Annotated[Principal, allow("claims:write")],
) -> Response:
    """Claim a guest's deposit with the code of its receipt. Once for ever; limited per citizen."""
    limit: RateLimit = request.app.state.guest_claim_limit
    headers = limit.take(str(principal))

    async def act(connection: AsyncConnection) -> ClaimedShown:
        claimed = await ledger.claim(connection, claim_hash(given.code), UUID(principal.subject))
        return ClaimedShown.model_validate(claimed)

    answer = await work.do(str(principal), given, act)
    answer.headers.update(headers)
    return answer


@router.get("/citizens/{citizen}/balance", responses=responses(401, 403, 404), dependencies=Auditor)
async def get_balance(citizen: UUID, connection: Reading) -> BalanceShown:
    """How many points a citizen has."""
    return BalanceShown.model_validate(await ledger.balance(connection, citizen))


@router.get("/citizens/{citizen}/statement", responses=responses(401, 403, 404), dependencies=Auditor)
async def get_statement(
    citizen: UUID, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[LineShown]:
    """A citizen's points in and out, newest first."""
    return await _statement(connection, citizen, limit, cursor)


@router.get("/holdings", responses=responses(401, 403), dependencies=Auditor)
async def list_point_holdings(
    connection: Reading,
    kind: Annotated[Literal["guest", "tag", "card"] | None, Query(description="only of these")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[HoldingAccountShown]:
    """Points that nobody has yet, to be claimed by guests or released by an operator."""
    keys = decode_cursor(cursor, tuple[UUID])
    rows = await ledger.holdings(connection, kind, after=keys[0] if keys else None, limit=limit + 1)
    shown = [HoldingAccountShown.model_validate(row) for row in rows]
    return page_of(shown, limit, lambda row: (str(row.account),))


@router.post(
    "/holdings/{account}/release", response_model=MovedShown, responses=responses(401, 403, 404, 409)
)
async def release_holding(
    account: UUID, given: CitizenNamed, work: Writing, principal: Treasurer
) -> Response:
    """Give what an unknown tag or a revoked card earned to the citizen it belongs to."""

    async def act(connection: AsyncConnection) -> MovedShown:
        return MovedShown(points=await ledger.release_holding(connection, account, given.citizen))

    return await work.do(str(principal), given, act)


@router.post("/weighings/{weighing}/release", response_model=DecidedShown, responses=responses(401, 403))
async def release_weighing(weighing: UUID, work: Writing, principal: Treasurer) -> Response:
    """Credit a weighing that a forked journal left pending; 0 awards if none is pending."""

    async def act(connection: AsyncConnection) -> DecidedShown:
        return DecidedShown(awards=await ledger.release(connection, [weighing]))

    return await work.do(str(principal), None, act)


@router.post("/weighings/{weighing}/withdrawal", response_model=DecidedShown, responses=responses(401, 403))
async def withdraw_weighing(weighing: UUID, work: Writing, principal: Treasurer) -> Response:
    """Never credit a weighing that a forked journal left pending; 0 awards if none is pending."""

    async def act(connection: AsyncConnection) -> DecidedShown:
        return DecidedShown(awards=await ledger.withdraw(connection, [weighing]))

    return await work.do(str(principal), None, act)


@router.get("/ledger/verification", responses=responses(401, 403), dependencies=Auditor)
async def verify_ledger(connection: Reading) -> VerificationShown:
    """Check that every transfer, balance and award adds up. Reads everything: not for every minute."""
    return VerificationShown.model_validate(await ledger.verify(connection))


async def _statement(
    connection: AsyncConnection, citizen: UUID, limit: int, cursor: str | None
) -> Page[LineShown]:
    keys = decode_cursor(cursor, tuple[int])
    before = keys[0] if keys else None
    rows = await ledger.statement(connection, citizen, before=before, limit=limit + 1)
    return page_of([LineShown.model_validate(row) for row in rows], limit, lambda row: (row.number,))
