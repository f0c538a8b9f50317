"""Drop points over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.drop_points.schemas import DropPointGiven, DropPointRenamed, DropPointShown
from cloud.drop_points.service import DropPoints
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing

router = APIRouter(prefix="/v1/drop-points", tags=["drop points"])
Service = Annotated[DropPoints, Depends(service(DropPoints))]


@router.post("", status_code=201, response_model=DropPointShown, responses=responses(401, 403, 409))
async def create_drop_point(
    given: DropPointGiven,
    points: Service,
    work: Writing,
    principal: Annotated[Principal, allow("drop_points:write")],
) -> Response:
    """Create a drop point."""

    async def act(connection: AsyncConnection) -> DropPointShown:
        point = await points.create(connection, given.code, given.name, given.latitude, given.longitude)
        return DropPointShown.model_validate(point)

    return await work.do(str(principal), given, act, 201)


@router.get("", responses=responses(401, 403), dependencies=[allow("drop_points:read")])
async def list_drop_points(
    points: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[DropPointShown]:
    """Drop points in the order of their codes."""
    (after,) = decode_cursor(cursor, tuple[str]) or ("",)
    rows = [DropPointShown.model_validate(row) for row in await points.page(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.code,))


@router.get("/{code}", responses=responses(401, 403, 404), dependencies=[allow("drop_points:read")])
async def get_drop_point(code: str, points: Service, connection: Reading) -> DropPointShown:
    """One drop point."""
    return DropPointShown.model_validate(await points.find(connection, code))


@router.patch("/{code}", response_model=DropPointShown, responses=responses(401, 403, 404))
async def rename_drop_point(
    code: str,
    given: DropPointRenamed,
    points: Service,
    work: Writing,
    principal: Annotated[Principal, allow("drop_points:write")],
) -> Response:
    """Change a drop point's name; its kiosks learn it with their next configuration."""

    async def act(connection: AsyncConnection) -> DropPointShown:
        return DropPointShown.model_validate(await points.rename(connection, code, given.name))

    return await work.do(str(principal), given, act)
