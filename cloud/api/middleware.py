"""Pure ASGI middleware: trace context, request figures, the limit on bodies. Buffers nothing."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from cloud.kit.web.problems import problem_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cloud.api.metrics import Metrics

BODY_BYTES_MAX = 256 * 1024
"""Largest request body: a frame has at most 64 KiB, a courier's answers come by file."""
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE = "0" * 32


class Tracing:
    """Takes over or begins a W3C trace, answers with it, and writes one log line per request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._app, self._metrics, self._monotonic = app, metrics, monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = _trace_id(Headers(scope=scope).get("traceparent"))
        span_id, status, begun_s = secrets.token_hex(8), 500, self._monotonic()
        scope["trace_id"] = trace_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["traceparent"] = f"00-{trace_id}-{span_id}-01"
                headers["X-Request-Id"] = trace_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._finished(scope, status, self._monotonic() - begun_s)

    def _finished(self, scope: Scope, status: int, duration_s: float) -> None:
        route = route_template(scope)
        self._metrics.requests.labels(scope["method"], route, str(status)).observe(duration_s)
        structlog.get_logger().info(
            "request.answered",
            method=scope["method"],
            route=route,
            status=status,
            duration_ms=round(duration_s * 1000, 1),
            trace_id=scope["trace_id"],
        )


class BodyLimit:
    """Refuses bodies over BODY_BYTES_MAX, by their announced length and by what really arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > BODY_BYTES_MAX:
            response = problem_response(
                scope.get("trace_id", _NO_TRACE), 413, "request.too_large", _TOO_LARGE
            )
            await response(scope, receive, send)
            return
        await self._app(scope, _counted(receive), send)


_TOO_LARGE = f"a body may have at most {BODY_BYTES_MAX} bytes; send less at a time"


def _counted(receive: Receive) -> Receive:
    arrived = 0

    async def limited() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > BODY_BYTES_MAX:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited


def route_template(scope: Scope) -> str:
    """The matched route's path with its parameters unfilled; `unmatched` keeps the label bounded."""
    route = scope.get("route")
    path: str = getattr(route, "path", "unmatched")
    return path


def _trace_id(header: str | None) -> str:
    match = _TRACEPARENT.fullmatch(header or "")
    if match is None or match[1] == _NO_TRACE:
        return secrets.token_hex(16)
    return match[1]
