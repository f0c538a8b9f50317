"""RFC 9457 problems: every error the API answers with, as `application/problem+json` with a stable code.

Owns: which error becomes which status and what the body looks like. Does not own: the errors' wording.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cloud.errors import (
    CloudError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
)
from cloud.kit.web.etags import PreconditionError
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"
_ERRORS_MAX = 32
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (PreconditionError, 412),
    (ConflictError, 409),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (RateLimitedError, 429),
    (UnavailableError, 503),
    (InvalidError, 422),
    (ProtocolError, 422),
)


class FieldProblem(BaseModel):
    """One field that is not as it should be."""

    pointer: str = Field(description="JSON pointer into the body, or the parameter's name")
    code: str
    message: str


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable for ever; `detail` says what to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:reloop:problem:gateway.not_found",
                "title": "Not Found",
                "status": 404,
                "detail": "gateway 'ktm-drop-09' does not exist; list them with GET /v1/gateways",
                "code": "gateway.not_found",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            }
        }
    )

    type: str = Field(description="urn:reloop:problem:<code>")
    title: str
    status: int
    detail: str
    code: str
    trace_id: str = Field(description="trace-id of the request's traceparent, for finding it in the logs")
    errors: list[FieldProblem] | None = Field(default=None, description="for 422: the fields at fault")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with problems of these statuses (and 422, 429, 500)."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 413, 422, 500})
    }


def problem_response(
    trace_id: str,
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as an HTTP answer."""
    problem = Problem(
        type=f"urn:reloop:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        trace_id=trace_id,
        errors=errors,
    )
    content = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False)
    return Response(content, status, dict(headers or {}), MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Answer every error of this app with a problem."""
    app.add_exception_handler(CloudError, _answer)
    app.add_exception_handler(ProtocolError, _answer)
    # The ledger speaks plain psycopg, whose errors nobody has wrapped.
    for lost in (OperationalError, InterfaceError, PoolTimeoutError, psycopg.OperationalError):
        app.add_exception_handler(lost, _database_away)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def trace_id_of(request: Request) -> str:
    """The request's trace id, 32 hex digits; zeros outside the tracing middleware."""
    value: str = request.scope.get("trace_id", "0" * 32)
    return value


async def _answer(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    code: str = getattr(error, "code", "internal")
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    if status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return problem_response(trace_id_of(request), status, code, str(error), headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError("only validation errors are answered here") from error
    fields = [
        FieldProblem(pointer=_pointer(item["loc"]), code=str(item["type"]), message=str(item["msg"]))
        for item in error.errors()[:_ERRORS_MAX]
    ]
    detail = "; ".join(f"{field.pointer}: {field.message}" for field in fields[:3])
    return problem_response(trace_id_of(request), 422, "request.invalid", detail, errors=fields)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("only HTTP errors are answered here") from error
    code = {
        404: "request.no_such_route",
        405: "request.method_not_allowed",
        413: "request.too_large",
        400: "request.malformed",
    }.get(error.status_code, f"request.{error.status_code}")
    detail = {
        404: f"there is nothing at {request.url.path}; the routes are listed at /docs",
        405: f"{request.method} is not possible here; the routes are listed at /docs",
    }.get(error.status_code, str(error.detail))
    return problem_response(trace_id_of(request), error.status_code, code, detail, headers=error.headers)


async def _database_away(request: Request, error: Exception) -> Response:
    structlog.get_logger().warning("database.away", trace_id=trace_id_of(request), error=str(error)[:300])
    detail = (
        "the database does not answer now; nothing was changed for certain, so ask again with the same key"
    )
    headers = {"Retry-After": "2"}
    return problem_response(trace_id_of(request), 503, "database.unavailable", detail, headers=headers)


async def _unstorable(request: Request, error: Exception) -> Response:
    """A value that no column can hold, such as text with a NUL: whatever was begun has been rolled back."""
    reason = str(getattr(error, "orig", error)).partition("\n")[0][:200]
    detail = f"a value of this request cannot be stored: {reason}; nothing was changed"
    return problem_response(trace_id_of(request), 422, "request.unstorable", detail)


async def _unexpected(request: Request, error: Exception) -> Response:
    trace_id = trace_id_of(request)
    structlog.get_logger().error("request.failed", trace_id=trace_id, exc_info=error)
    detail = f"an error of ours; nothing was changed. Report trace {trace_id} to the operator"
    return problem_response(trace_id, 500, "internal", detail)


def _pointer(location: tuple[object, ...]) -> str:
    source, *rest = location
    path = "/".join(str(part) for part in rest)
    return f"/{path}" if source == "body" else path
