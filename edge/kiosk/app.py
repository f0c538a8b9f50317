"""The kiosk as a Starlette application: the page, its stream, and the few things it may ask for.

Owns the HTTP interface and each browser's language. The station decides everything that is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.errors import EdgeError
from edge.kiosk.errors import KioskError
from edge.kiosk.events import VIEWERS_MAX, Streams
from edge.kiosk.files import FOLDERS, load_files
from edge.kiosk.guard import Guard
from edge.kiosk.problems import edge_error, http_error
from edge.kiosk.rendering import Pages
from edge.kiosk.words import Language
from edge.station.screen import Button

if TYPE_CHECKING:
    from starlette.requests import Request

    from edge.kiosk.port import StationPort
    from edge.station.screen import Screen

T = TypeVar("T")

COOKIE = "reloop_language"
BODY_BYTES_MAX = 1024
VALUE_LENGTH_MAX = 64


class Press(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/press."""

    button: Button
    value: str | None = None


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/language; null is the kiosk's own language."""

    language: Language | None


def create_kiosk(
    station: StationPort, *, language: Language = Language.NE, viewers_max: int = VIEWERS_MAX
) -> Starlette:
    """Build the application. `language` greets whoever has not chosen; `viewers_max` bounds open pages."""
    streams = Streams(station, viewers_max)
    kiosk = Kiosk(station, language, streams)
    app = Starlette(
        routes=[
            Route("/", kiosk.page),
            Route("/screen", kiosk.fragment),
            Route("/api/screen", kiosk.screen),
            Route("/api/events", kiosk.events),
            Route("/api/press", kiosk.press, methods=["POST"]),
            Route("/api/language", kiosk.language, methods=["POST"]),
            *(Route(f"/{folder}/{{name}}", kiosk.file) for folder in FOLDERS),
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={EdgeError: edge_error, HTTPException: http_error},
    )
    app.state.streams = streams
    return app


class Kiosk:
    """The endpoints. Answers are small and made at once; only a press waits, for the journal."""

    def __init__(self, station: StationPort, language: Language, streams: Streams) -> None:
        self._station = station
        self._language = language
        self._streams = streams
        self._pages = Pages(language)
        self._files = load_files()

    async def page(self, request: Request) -> Response:
        """GET /: the whole page, already showing the present screen."""
        return HTMLResponse(self._pages.page(self._station.screen, self._language_of(request)))

    async def fragment(self, request: Request) -> Response:
        """GET /screen: the present screen as HTML, for the page to swap in."""
        return HTMLResponse(self._pages.screen(self._station.screen, self._language_of(request)))

    async def screen(self, _request: Request) -> Response:
        """GET /api/screen: the present screen as JSON."""
        return _json(self._station.screen)

    async def events(self, _request: Request) -> Response:
        """GET /api/events: every screen as a server-sent event, `beat` events in between."""
        return StreamingResponse(self._streams.open(), media_type="text/event-stream")

    async def press(self, request: Request) -> Response:
        """POST /api/press: hand one press to the station, answer with the screen after it."""
        press = await _body(request, Press)
        if press.value is not None and len(press.value) > VALUE_LENGTH_MAX:
            raise KioskError(
                f"`value` has at most {VALUE_LENGTH_MAX} characters", code="kiosk.value.long", status=422
            )
        return _json(await self._station.press(press.button, press.value))

    async def language(self, request: Request) -> Response:
        """POST /api/language: remember this browser's language in a cookie of the session."""
        choice = await _body(request, Choice)
        language = choice.language or self._language
        response = _json({"language": language})
        if choice.language is None:
            response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        else:
            response.set_cookie(COOKIE, language, httponly=True, samesite="strict")
        return response

    async def file(self, request: Request) -> Response:
        """GET /assets/… and /pictures/…: files held in memory, revalidated by their digest."""
        file = self._files.get(request.url.path)
        if file is None:
            raise KioskError(f"there is no {request.url.path}", code="kiosk.path.unknown", status=404)
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.data, media_type=file.media_type, headers=headers)

    def _language_of(self, request: Request) -> Language:
        try:
            return Language(request.cookies[COOKIE])
        except (KeyError, ValueError):
            return self._language


def _json(value: Screen | dict[str, Language]) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _body(request: Request, kind: type[T]) -> T:
    """Decode a JSON body of at most BODY_BYTES_MAX; a form cannot pretend to be one (CSRF)."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise KioskError("send the body as application/json", code="kiosk.body.type", status=415)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise KioskError(
                f"the body has at most {BODY_BYTES_MAX} bytes", code="kiosk.body.long", status=413
            )
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise KioskError(
            f"the body is not what is expected here: {error}", code="kiosk.body", status=422
        ) from error
