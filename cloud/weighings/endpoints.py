"""Weighings over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import StreamingResponse

from cloud.kit.web.access import allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, database_of
from cloud.weighings.schemas import DayFigureShown, WeighingShown, export_line, shown
from cloud.weighings.service import Weighings

router = APIRouter(prefix="/v1", tags=["weighings"])
Service = Annotated[Weighings, Depends(service(Weighings))]
Gateway = Annotated[str | None, Query(max_length=64, description="only of this gateway")]
_LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}
}


@router.get("/weighings", responses=responses(401, 403), dependencies=[allow("weighings:read")])
async def list_weighings(  # noqa: PLR0917 - FastAPI passes them by name
    weighings: Service,
    connection: Reading,
    gateway: Gateway = None,
    material: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[WeighingShown]:
    """Weighings, those committed last first."""
    after = decode_cursor(cursor, tuple[str, UUID])
    rows = await weighings.page(connection, gateway, material, after, limit)
    return page_of(
        [shown(row) for row in rows], limit, lambda row: (row.received_at.isoformat(), str(row.id))
    )


@router.get(
    "/weighings/{weighing}", responses=responses(401, 403, 404), dependencies=[allow("weighings:read")]
)
async def get_weighing(weighing: UUID, weighings: Service, connection: Reading) -> WeighingShown:
    """One weighing with its evidence."""
    return shown(await weighings.find(connection, weighing))


@router.get("/figures/daily", responses=responses(401, 403, 422), dependencies=[allow("weighings:read")])
async def list_daily_figures(
    weighings: Service,
    connection: Reading,
    first: Annotated[date, Query(description="first day, as in Nepal")],
    last: Annotated[date, Query(description="last day, included")],
    drop_point: Annotated[str | None, Query(max_length=64, description="only of this drop point")] = None,
) -> list[DayFigureShown]:
    """Kilos and points by day, drop point and material, by when weighings really happened.

    Repairing times moves weighings between days, never between materials or citizens.
    """
    figures = await weighings.by_day(connection, first, last, drop_point)
    return [DayFigureShown.model_validate(one) for one in figures]


@router.get(
    "/exports/weighings",
    response_class=StreamingResponse,
    responses={**responses(401, 403), **_LINES},
    dependencies=[allow("weighings:read")],
)
async def export_weighings(
    weighings: Service, engine: Annotated[AsyncEngine, Depends(database_of)], gateway: Gateway = None
) -> StreamingResponse:
    """Every weighing as JSON lines, in the order of gateway, epoch and seq."""

    async def lines() -> AsyncIterator[str]:
        async with engine.begin() as connection:
            async for weighing in weighings.export(connection, gateway):
                yield export_line(weighing) + "\n"

    return StreamingResponse(lines(), media_type="application/jsonl")
