"""Bins, pickups and custody over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.custody.schemas import (
    BinGiven,
    BinShown,
    HoldingShown,
    MovementShown,
    PickupBinShown,
    PickupDetail,
    PickupShown,
)
from cloud.custody.service import Custody
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.pictures import PICTURES, Kind, qr_response
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing
from protocol.codes import BIN_PREFIX

router = APIRouter(prefix="/v1", tags=["custody"])
Service = Annotated[Custody, Depends(service(Custody))]


@router.post("/bins", status_code=201, response_model=BinShown, responses=responses(401, 403, 409))
async def register_bin(
    given: BinGiven, custody: Service, work: Writing, principal: Annotated[Principal, allow("custody:write")]
) -> Response:
    """Register a bin by the code printed on it."""

    async def act(connection: AsyncConnection) -> BinShown:
        one = await custody.register_bin(connection, given.code, given.drop_point, given.material)
        return BinShown.model_validate(one)

    return await work.do(str(principal), given, act, 201)


@router.get("/bins", responses=responses(401, 403), dependencies=[allow("custody:read")])
async def list_bins(
    custody: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[BinShown]:
    """Bins in the order of their codes."""
    (after,) = decode_cursor(cursor, tuple[str]) or ("",)
    rows = [BinShown.model_validate(row) for row in await custody.bins(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.code,))


@router.get("/bins/{code}", responses=responses(401, 403, 404), dependencies=[allow("custody:read")])
async def get_bin(code: str, custody: Service, connection: Reading) -> BinShown:
    """One bin."""
    return BinShown.model_validate(await custody.find_bin(connection, code))


@router.get(
    "/bins/{code}/qr.{kind}",
    response_class=Response,
    responses={**responses(401, 403, 404), **PICTURES},
    dependencies=[allow("custody:read")],
)
async def get_bin_qr(code: str, kind: Kind, custody: Service, connection: Reading) -> Response:
    """A bin's QR, to print and stick on it."""
    return qr_response(BIN_PREFIX + (await custody.find_bin(connection, code)).code, kind)


@router.get("/pickups", responses=responses(401, 403), dependencies=[allow("custody:read")])
async def list_pickups(
    custody: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[PickupShown]:
    """Pickups, those that arrived last first."""
    after = decode_cursor(cursor, tuple[str, UUID])
    rows = [PickupShown.model_validate(row) for row in await custody.pickups(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.received_at.isoformat(), str(row.id)))


@router.get("/pickups/{pickup}", responses=responses(401, 403, 404), dependencies=[allow("custody:read")])
async def get_pickup(pickup: UUID, custody: Service, connection: Reading) -> PickupDetail:
    """One pickup with its bins and what changed hands."""
    found, contents, movements = await custody.pickup(connection, pickup)
    return PickupDetail(
        **PickupShown.model_validate(found).model_dump(),
        contents=[PickupBinShown.model_validate(one) for one in contents],
        movements=[MovementShown.model_validate(one) for one in movements],
    )


@router.get("/custody", responses=responses(401, 403), dependencies=[allow("custody:read")])
async def list_holdings(
    custody: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[HoldingShown]:
    """Who holds which kilos."""
    after = decode_cursor(cursor, tuple[str, str]) or ("", "")
    rows = [HoldingShown.model_validate(row) for row in await custody.holdings(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.party, row.material))
