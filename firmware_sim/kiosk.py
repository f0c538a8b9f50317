"""The kiosk as a person sees it: a screen to look at and buttons to press, over plain HTTP.

Owns the port `Kiosk`, its HTTP client and the reading of screens; never imports the kiosk itself.
"""

import asyncio
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from firmware_sim.errors import KioskAddressError, KioskError

TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 1_048_576
# Short words some kiosks say for a screen, and the screen that is meant.
_SAME_SCREEN = {"member": "choose", "guest": "choose", "weighing": "weigh", "collector": "collect"}


@dataclass(frozen=True, slots=True)
class SavedLine:
    """A weighing that the screen shows as saved."""

    seq: int
    material: str
    net_g: int
    points: int | None


@dataclass(frozen=True, slots=True)
class KioskScreen:
    """What a person can read off the screen. `buttons` is None when the kiosk does not list them.

    `steady` means a weight that stands still, `armed` that the kiosk would take it; grams.
    """

    name: str
    buttons: frozenset[str] | None = None
    steady: bool = False
    armed: bool = True
    net_g: int | None = None
    lines: tuple[SavedLine, ...] = ()
    materials: tuple[str, ...] = ()
    message: str | None = None
    receipt_id: str | None = None
    claim_code: str | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a weight that could be confirmed."""
        return self.steady and self.armed and (self.net_g or 0) > 0


class Kiosk(Protocol):
    """What a person can do with a kiosk; KioskError when it does not answer."""

    async def screen(self) -> KioskScreen:
        """Look at the screen."""
        ...

    async def press(self, button: str, value: str | None = None) -> KioskScreen:
        """Press a button and look again."""
        ...


class HttpKiosk:
    """The kiosk at `url`, such as http://127.0.0.1:8080; one short connection per look or press."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise KioskAddressError(f"{url!r} has no usable port: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise KioskAddressError(f"{url!r} is no kiosk address; give one such as http://127.0.0.1:8080")
        self.url = url
        self._host = parts.hostname
        self._port = port or 80

    async def screen(self) -> KioskScreen:
        """GET /api/screen."""
        return await asyncio.to_thread(self._ask, "GET", "/api/screen", None)

    async def press(self, button: str, value: str | None = None) -> KioskScreen:
        """POST /api/press."""
        body: dict[str, object] = {"button": button}
        if value is not None:
            body["value"] = value
        return await asyncio.to_thread(self._ask, "POST", "/api/press", body)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> KioskScreen:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            data = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise KioskError(f"the kiosk at {self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            start = answer[:200].decode("utf-8", "replace")
            raise KioskError(f"the kiosk refused {method} {path} with {response.status}: {start}")
        return parse_screen(answer)


def parse_screen(answer: bytes) -> KioskScreen:
    """A screen from the kiosk's JSON; fields that are not there count as not shown."""
    try:
        body = json.loads(answer)
    except ValueError as error:
        raise KioskError(f"the kiosk answered no JSON: {error}") from error
    state = _mapping(body)
    inner = state.get("screen", state.get("name"))
    if isinstance(inner, Mapping):
        state = inner
        inner = state.get("screen", state.get("name"))
    if not isinstance(inner, str):
        raise KioskError("the kiosk answered without naming its screen")
    weight = _mapping(state.get("weight"))
    receipt = _mapping(state.get("receipt"))
    return KioskScreen(
        name=_SAME_SCREEN.get(inner, inner),
        buttons=_buttons(state.get("buttons")),
        steady=weight.get("stable") is True and weight.get("health", "ok") == "ok",
        armed=weight.get("armed", True) is True,
        net_g=_whole(weight.get("net_g")),
        lines=_lines(state.get("lines")),
        materials=tuple(str(_mapping(tile).get("code")) for tile in _list(state.get("tiles"))),
        message=_text(state.get("message")),
        receipt_id=_text(receipt.get("id")),
        claim_code=_text(receipt.get("claim_code")),
    )


def _buttons(value: object) -> frozenset[str] | None:
    return frozenset(str(each) for each in value) if isinstance(value, list) else None


def _lines(value: object) -> tuple[SavedLine, ...]:
    lines = []
    for each in map(_mapping, _list(value)):
        seq, net_g = _whole(each.get("seq")), _whole(each.get("net_g"))
        if seq is not None and net_g is not None:
            lines.append(SavedLine(seq, str(each.get("material")), net_g, _whole(each.get("points"))))
    return tuple(lines)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
