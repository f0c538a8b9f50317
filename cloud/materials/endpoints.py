"""Materials and rates over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.kit.web.access import Principal, allow
from cloud.kit.web.etags import IfMatch, check_match, etag_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing
from cloud.materials.models import Material
from cloud.materials.schemas import (
    MaterialChanged,
    MaterialGiven,
    MaterialShown,
    RateGiven,
    RateShown,
)
from cloud.materials.service import Materials

router = APIRouter(prefix="/v1/materials", tags=["materials"])
Service = Annotated[Materials, Depends(service(Materials))]
Writer = Annotated[Principal, allow("materials:write")]


@router.post("", status_code=201, response_model=MaterialShown, responses=responses(401, 403, 409))
async def create_material(
    given: MaterialGiven, materials: Service, work: Writing, principal: Writer
) -> Response:
    """Create a material with its first rate; a new catalogue goes to every kiosk."""

    async def act(connection: AsyncConnection) -> MaterialShown:
        material = Material(**given.model_dump(), active=True, rate_version=1)
        return MaterialShown.model_validate(await materials.create(connection, material))

    return await work.do(str(principal), given, act, 201)


@router.get("", responses=responses(401, 403), dependencies=[allow("materials:read")])
async def list_materials(materials: Service, connection: Reading) -> list[MaterialShown]:
    """Every material with its current rate, best paid first."""
    return [MaterialShown.model_validate(one) for one in await materials.all(connection)]


@router.get("/{code}", responses=responses(401, 403, 404), dependencies=[allow("materials:read")])
async def get_material(
    code: str, response: Response, materials: Service, connection: Reading
) -> MaterialShown:
    """One material with its current rate; its `ETag` may go into `If-Match` of a change."""
    shown = MaterialShown.model_validate(await materials.find(connection, code))
    response.headers["ETag"] = etag_of(shown)
    return shown


@router.patch("/{code}", response_model=MaterialShown, responses=responses(401, 403, 404, 412))
async def change_material(  # noqa: PLR0917 - FastAPI passes them by name
    code: str,
    given: MaterialChanged,
    materials: Service,
    work: Writing,
    principal: Writer,
    if_match: IfMatch = None,
) -> Response:
    """Change names, picture, or whether kiosks offer it."""

    async def act(connection: AsyncConnection) -> MaterialShown:
        await materials.lock(connection, code)
        check_match(if_match, MaterialShown.model_validate(await materials.find(connection, code)))
        changes = given.model_dump(exclude_none=True)
        return MaterialShown.model_validate(await materials.change(connection, code, changes))

    return await work.do(str(principal), given, act)


@router.post("/{code}/rates", status_code=201, response_model=RateShown, responses=responses(401, 403, 404))
async def set_rate(
    code: str, given: RateGiven, materials: Service, work: Writing, principal: Writer
) -> Response:
    """Set the rate from now on. Weighings keep the rate that the kiosk showed."""

    async def act(connection: AsyncConnection) -> RateShown:
        return RateShown.model_validate(await materials.set_rate(connection, code, given.points_per_kg))

    return await work.do(str(principal), given, act, 201)


@router.get("/{code}/rates", responses=responses(401, 403, 404), dependencies=[allow("materials:read")])
async def list_rates(code: str, materials: Service, connection: Reading) -> list[RateShown]:
    """A material's rates, newest first, at most 100."""
    return [RateShown.model_validate(one) for one in await materials.rates(connection, code)]
