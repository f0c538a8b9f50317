"""Errors as answers: `{"code": ..., "message": ...}` with a stable code. Does not decide what is an error."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edge.errors import EdgeError, JournalError
from edge.kiosk.errors import KioskError

MEDIA_TYPE = "application/problem+json"


def problem(error: EdgeError) -> Response:
    """The answer for an error: its own status, 503 if the journal failed, else 409."""
    match error:
        case KioskError():
            status = error.status
        case JournalError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.CONFLICT
    return _answer(status, error.code, str(error))


async def edge_error(_request: Request, error: Exception) -> Response:
    """Starlette's handler for every EdgeError."""
    assert isinstance(error, EdgeError)  # noqa: S101 - Starlette hands in what was registered
    return problem(error)


async def http_error(_request: Request, error: Exception) -> Response:
    """Starlette's handler for its own routing errors."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette hands in what was registered
    code = {404: "kiosk.path.unknown", 405: "kiosk.method.refused"}.get(error.status_code, "kiosk.http")
    return _answer(error.status_code, code, f"{error.detail}; the kiosk's page is at /")


def _answer(status: int, code: str, message: str) -> Response:
    body = msgspec.json.encode({"code": code, "message": message})
    return Response(body, status_code=status, media_type=MEDIA_TYPE)
