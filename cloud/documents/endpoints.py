"""Documents over HTTP: signed bytes for gateways, whoever carries them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud.documents.service import Documents
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import database_of

router = APIRouter(prefix="/v1/gateways", tags=["gateways"])
MEDIA_TYPE = "application/cose"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The document is still the one of `If-None-Match`"},
}


@router.get("/{gateway}/documents/{name}", response_class=Response, responses={**responses(404), **_ANSWERS})
async def get_document(
    gateway: str,
    name: str,
    documents: Annotated[Documents, Depends(service(Documents))],
    database: Annotated[AsyncEngine, Depends(database_of)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A document's signed bytes. Open to all: it holds nothing personal, and its signature is what counts."""
    async with database.begin() as connection:
        document = await documents.find(connection, gateway, name)
    headers = {"ETag": document.etag, "Cache-Control": "no-cache"}
    if if_none_match == document.etag:
        return Response(status_code=304, headers=headers)
    return Response(document.data, headers=headers, media_type=MEDIA_TYPE)
