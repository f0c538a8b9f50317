"""Retrying held records: the quarantine knows them, ingest applies them, this layer brings both together."""

from __future__ import annotations

from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud.api.delivery import NoIntakeError
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import database_of
from cloud.quarantine.schemas import HeldRecordShown
from cloud.quarantine.service import Quarantine

router = APIRouter(prefix="/v1/quarantine", tags=["quarantine"])


class Retrier(Protocol):
    """Applies held records again."""

    async def retry(self, record_ids: list[UUID]) -> dict[UUID, str | None]:
        """None for a record that was applied, else the code for which it is still held."""


class Retried(BaseModel):
    """What came of a retry."""

    applied: bool
    still_held_for: str | None = Field(description="the code of the reason, if it was not applied")
    record: HeldRecordShown


@router.post("/{record}/retry", responses=responses(401, 403, 404, 409, 503))
async def retry_held_record(
    record: UUID,
    request: Request,
    quarantine: Annotated[Quarantine, Depends(service(Quarantine))],
    engine: Annotated[AsyncEngine, Depends(database_of)],
    principal: Annotated[Principal, allow("quarantine:write")],  # noqa: ARG001 - guards the route
) -> Retried:
    """Try to apply a held record again, for instance after an upgrade that knows its kind."""
    retrier: Retrier | None = request.app.state.intake
    if retrier is None:
        raise NoIntakeError("this process applies no records; ask one that runs `all`")
    async with engine.begin() as connection:
        await quarantine.held(connection, record)
    await retrier.retry([record])
    async with engine.begin() as connection:
        found = await quarantine.find(connection, record)
    return Retried(
        applied=found.state == "retried",  # by us or by somebody else meanwhile; it may be rejected by now
        still_held_for=found.code if found.state == "held" else None,
        record=HeldRecordShown.model_validate(found),
    )
