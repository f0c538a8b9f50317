"""The quarantine over HTTP: list and reject. Retrying needs ingest and stands in the API's layer."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.kit.web.access import Principal, allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing
from cloud.quarantine.schemas import HeldRecordShown, RejectionGiven
from cloud.quarantine.service import Quarantine

router = APIRouter(prefix="/v1/quarantine", tags=["quarantine"])
Service = Annotated[Quarantine, Depends(service(Quarantine))]
State = Annotated[Literal["held", "retried", "rejected"] | None, Query(description="only in this state")]


@router.get("", responses=responses(401, 403), dependencies=[allow("quarantine:read")])
async def list_quarantine(
    quarantine: Service,
    connection: Reading,
    state: State = "held",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[HeldRecordShown]:
    """Records that could not be applied, those held longest first."""
    rows = await quarantine.page(connection, state, decode_cursor(cursor, tuple[str, UUID]), limit)
    return page_of(
        [HeldRecordShown.model_validate(row) for row in rows],
        limit,
        lambda row: (row.held_at.isoformat(), str(row.id)),
    )


@router.get("/{record}", responses=responses(401, 403, 404), dependencies=[allow("quarantine:read")])
async def get_held_record(record: UUID, quarantine: Service, connection: Reading) -> HeldRecordShown:
    """One record that could not be applied."""
    return HeldRecordShown.model_validate(await quarantine.find(connection, record))


@router.post("/{record}/rejection", response_model=HeldRecordShown, responses=responses(401, 403, 404, 409))
async def reject_held_record(
    record: UUID,
    given: RejectionGiven,
    quarantine: Service,
    work: Writing,
    principal: Annotated[Principal, allow("quarantine:write")],
) -> Response:
    """Decide, with a reason, that a record is never applied. It stays on record."""

    async def act(connection: AsyncConnection) -> HeldRecordShown:
        held = await quarantine.reject(connection, record, given.reason, str(principal))
        return HeldRecordShown.model_validate(held)

    return await work.do(str(principal), given, act)
