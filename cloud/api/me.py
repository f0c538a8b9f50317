"""Who a citizen's token stands for; what they have is the ledger's."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from cloud.citizens.schemas import CitizenShown
from cloud.citizens.service import Citizens
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading

router = APIRouter(prefix="/v1", tags=["me"])
Me = Annotated[Principal, allow("me:read")]


@router.get("/me", responses=responses(401, 403))
async def get_me(
    principal: Me, citizens: Annotated[Citizens, Depends(service(Citizens))], connection: Reading
) -> CitizenShown:
    """Who this token stands for."""
    return CitizenShown.model_validate(await citizens.find(connection, UUID(principal.subject)))
