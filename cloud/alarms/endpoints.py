"""Alarms, refusals and gaps over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.alarms.schemas import AlarmShown, GapShown, RefusalShown
from cloud.alarms.service import Alarms
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing

router = APIRouter(prefix="/v1", tags=["alarms"])
Service = Annotated[Alarms, Depends(service(Alarms))]


@router.get("/alarms", responses=responses(401, 403), dependencies=[allow("alarms:read")])
async def list_alarms(
    alarms: Service,
    connection: Reading,
    only_open: Annotated[bool, Query(alias="open", description="only those not resolved")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AlarmShown]:
    """Alarms, those raised last first."""
    after = decode_cursor(cursor, tuple[str, UUID])
    rows = await alarms.page(connection, only_open, after, limit)
    return page_of(
        [AlarmShown.model_validate(row) for row in rows],
        limit,
        lambda row: (row.raised_at.isoformat(), str(row.id)),
    )


@router.post("/alarms/{alarm}/resolution", response_model=AlarmShown, responses=responses(401, 403, 404))
async def resolve_alarm(
    alarm: UUID, alarms: Service, work: Writing, principal: Annotated[Principal, allow("alarms:write")]
) -> Response:
    """Mark an alarm as dealt with."""

    async def act(connection: AsyncConnection) -> AlarmShown:
        return AlarmShown.model_validate(await alarms.resolve(connection, alarm))

    return await work.do(str(principal), None, act)


@router.get("/refusals", responses=responses(401, 403), dependencies=[allow("alarms:read")])
async def list_refusals(
    alarms: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[RefusalShown]:
    """Deliveries that were refused: forged, damaged, of revoked gateways. Added up by hour."""
    rows = await alarms.refusals(connection, decode_cursor(cursor, tuple[str, UUID]), limit)
    return page_of(
        [RefusalShown.model_validate(row) for row in rows],
        limit,
        lambda row: (row.last_at.isoformat(), str(row.id)),
    )


@router.get("/gaps", responses=responses(401, 403), dependencies=[allow("alarms:read")])
async def list_gaps(
    alarms: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[GapShown]:
    """Records that are lost for good: pruned on the gateway before the cloud had them."""
    after = decode_cursor(cursor, tuple[str, int, int]) or ("", 0, 0)
    rows = [GapShown.model_validate(row) for row in await alarms.gaps(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.gateway, row.epoch, row.first))
