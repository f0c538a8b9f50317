"""Citizens, cards and tags over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.citizens.models import StoredCard
from cloud.citizens.schemas import (
    CardGiven,
    CardIssued,
    CardShown,
    CitizenGiven,
    CitizenShown,
    TagGiven,
    TagShown,
)
from cloud.citizens.service import Citizens
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.pictures import PICTURES, Kind, qr_response
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing
from protocol.cards import Role

router = APIRouter(prefix="/v1", tags=["citizens"])
Service = Annotated[Citizens, Depends(service(Citizens))]
Writer = Annotated[Principal, allow("citizens:write")]
Serial = Annotated[str, Path(pattern=r"^[0-9a-f]{18}$", description="18 hex digits")]


@router.post("/citizens", status_code=201, response_model=CitizenShown, responses=responses(401, 403))
async def register_citizen(
    given: CitizenGiven, citizens: Service, work: Writing, principal: Writer
) -> Response:
    """Register a citizen under a new pseudonym."""

    async def act(connection: AsyncConnection) -> CitizenShown:
        return CitizenShown.model_validate(await citizens.register(connection, given.alias))

    return await work.do(str(principal), given, act, 201)


@router.get("/citizens", responses=responses(401, 403), dependencies=[allow("citizens:read")])
async def list_citizens(
    citizens: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[CitizenShown]:
    """Citizens in the order of their registration."""
    keys = decode_cursor(cursor, tuple[UUID])
    rows = await citizens.page(connection, keys[0] if keys else None, limit)
    return page_of([CitizenShown.model_validate(row) for row in rows], limit, lambda row: (str(row.id),))


@router.get("/citizens/{citizen}", responses=responses(401, 403, 404), dependencies=[allow("citizens:read")])
async def get_citizen(citizen: UUID, citizens: Service, connection: Reading) -> CitizenShown:
    """One citizen."""
    return CitizenShown.model_validate(await citizens.find(connection, citizen))


@router.post(
    "/citizens/{citizen}/cards",
    status_code=201,
    response_model=CardIssued,
    responses=responses(401, 403, 404),
)
async def issue_card(
    citizen: UUID, given: CardGiven, citizens: Service, work: Writing, principal: Writer
) -> Response:
    """Issue the next card of a citizen, and the token that goes with it. Earlier cards stay valid."""

    async def act(connection: AsyncConnection) -> CardIssued:
        role = Role[given.role.upper()]
        issued = await citizens.issue_card(connection, citizen, role, given.valid_days)
        return CardIssued(**_shown(issued.card).model_dump(), token=issued.token)

    return await work.do(str(principal), given, act, 201)


@router.get(
    "/citizens/{citizen}/cards", responses=responses(401, 403, 404), dependencies=[allow("citizens:read")]
)
async def list_cards(citizen: UUID, citizens: Service, connection: Reading) -> list[CardShown]:
    """A citizen's cards, newest first."""
    return [_shown(card) for card in await citizens.cards(connection, citizen)]


@router.post(
    "/citizens/{citizen}/tags",
    status_code=201,
    response_model=TagShown,
    responses=responses(401, 403, 404, 409),
)
async def attach_tag(
    citizen: UUID, given: TagGiven, citizens: Service, work: Writing, principal: Writer
) -> Response:
    """Say whose a bare RFID tag is."""

    async def act(connection: AsyncConnection) -> TagShown:
        tag = await citizens.attach_tag(connection, citizen, bytes.fromhex(given.raw))
        return TagShown.model_validate(tag)

    return await work.do(str(principal), given, act, 201)


@router.get("/cards/{serial}", responses=responses(401, 403, 404), dependencies=[allow("citizens:read")])
async def get_card(serial: Serial, citizens: Service, connection: Reading) -> CardShown:
    """One card."""
    return _shown(await citizens.card(connection, bytes.fromhex(serial)))


@router.get(
    "/cards/{serial}/qr.{kind}",
    response_class=Response,
    responses={**responses(401, 403, 404), **PICTURES},
    dependencies=[allow("citizens:read")],
)
async def get_card_qr(serial: Serial, kind: Kind, citizens: Service, connection: Reading) -> Response:
    """A card's QR, to print."""
    card = await citizens.card(connection, bytes.fromhex(serial))
    return qr_response(card.text, kind)


@router.post("/cards/{serial}/revocation", response_model=CardShown, responses=responses(401, 403, 404))
async def revoke_card(serial: Serial, citizens: Service, work: Writing, principal: Writer) -> Response:
    """Revoke a card and its token. Kiosks learn it from the revocations document."""

    async def act(connection: AsyncConnection) -> CardShown:
        return _shown(await citizens.revoke_card(connection, bytes.fromhex(serial)))

    return await work.do(str(principal), None, act)


def _shown(card: StoredCard) -> CardShown:
    fields = {name: getattr(card, name) for name in card.__slots__}
    return CardShown(**{**fields, "role": Role(card.role).name.lower()})
