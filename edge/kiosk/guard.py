"""Keeps strangers out: only this machine, only our own host names, only our own page may press.

A web page opened elsewhere must not reach the kiosk through a rebound name (Host) or a hidden form
(Origin). Pure ASGI, so that streams pass through untouched.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from edge.kiosk.errors import KioskError
from edge.kiosk.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
}


class Guard:
    """ASGI middleware that answers 403 or 421 to strangers and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request, then pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = judge(scope["method"], scope.get("client"), Headers(scope=scope))
        inner = problem(refusal) if refusal else self._app
        await inner(scope, receive, _with_headers(send))


def judge(method: str, client: tuple[str, int] | None, headers: Headers) -> KioskError | None:
    """Say why a request must be refused, or None.

    Browsers send `Origin` with every POST; a POST without it comes from a program on this machine,
    unless `Sec-Fetch-Site` says that a browser sent it after all.
    """
    if client is None or not _is_loopback(client[0]):
        return KioskError("the kiosk answers this machine only", code="kiosk.peer.refused", status=403)
    host = headers.get("host", "")
    if _host_name(host) not in HOST_NAMES:
        return KioskError(
            "open the kiosk as http://127.0.0.1 or http://localhost", code="kiosk.host.refused", status=421
        )
    if method in SAFE_METHODS:
        return None
    origin = headers.get("origin")
    same = origin == f"http://{host}" or (origin is None and headers.get("sec-fetch-site") is None)
    if not same:
        return KioskError("only the kiosk's own page may press", code="kiosk.origin.refused", status=403)
    return None


def _host_name(host: str) -> str:
    """Return the host without its port, lower-case; brackets of an IPv6 address are kept."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return wrapped
