"""People with bags at real kiosks: a scale and a scanner on pseudo-terminals, buttons pressed over HTTP.

Owns what people do and what they saw shown as saved. Whatever dies around them, they come again.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import random
import threading
import time
import tty
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.stack import Site

FRAME_S = 0.02
PATIENCE_S = 90.0
AGAIN_S = 3.0


class Wire:
    """A pseudo-terminal that stays open over the agent's deaths, reached through a stable path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.ttyname(self._slave))

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads now; a real line would lose it too
            os.write(self._master, data)

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class Scale(threading.Thread):
    """A&D continuous output of a load that is always at rest."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(daemon=True)
        self.mass_g = 0
        self._wire = wire
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(FRAME_S):
            self._wire.write(b"ST,+%08.3f kg\r\n" % (self.mass_g / 1000))

    def close(self) -> None:
        self._ended.set()
        self.join()
        self._wire.close()


class _Closed(Exception):  # noqa: N818 - what a person finds
    """Nothing is taken in at this kiosk just now."""


@dataclass
class Person(threading.Thread):
    """Takes weighings at one kiosk, again and again. `seen`: (seq, net) of each line shown as saved."""

    site: Site
    cards: list[str]
    seed: int
    seen: set[tuple[int, int]] = field(default_factory=set)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name=f"person at {self.site.name}")
        devices = self.site.folder / "devices"
        self._scale = Scale(Wire(devices / "scale"))
        self._scanner = Wire(devices / "scanner")
        self._random = random.Random(self.seed)
        self.ended = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        self._scale.start()
        try:
            while not self.ended.is_set():
                with contextlib.suppress(_Closed):
                    self._visit()
        except BaseException as error:  # noqa: BLE001 - reported by the one who waits for us
            self.failure = error
        finally:
            self._scale.close()
            self._scanner.close()

    def _visit(self) -> None:
        screen = self._idle()
        if self._random.random() < 0.3:
            screen = self._press("guest")
        else:
            self._scan(screen["version"])
        for _ in range(self._random.choice((1, 1, 2, 3))):
            self._weigh()
        self._press("finish")
        self._press("done")

    def _scan(self, version: int) -> None:
        """Hold a card up; whoever sees nothing come of it holds it up again."""
        card = self._random.choice(self.cards).encode()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._scanner.write(card + b"\r")
            with contextlib.suppress(TimeoutError):
                self._look(
                    lambda now: now["name"] in ("choose", "idle") and now["version"] > version, AGAIN_S
                )
                return
        raise TimeoutError(f"nobody reads the card at {self.site.name}")

    def _weigh(self) -> None:
        screen = self._screen()
        if screen["name"] not in ("choose", "saved"):
            return
        self._press("material", self._random.choice(screen["tiles"])["code"])
        self._scale.mass_g = 0
        self._settled(lambda now: now["weight"] is not None and now["weight"]["armed"])
        self._scale.mass_g = self._random.randrange(100, 20_000)
        self._settled(
            lambda now: "confirm" in now["buttons"] and now["weight"]["gross_g"] == self._scale.mass_g
        )
        self._note(self._press("confirm"))

    def _settled(self, ready: Callable[[dict[str, Any]], bool]) -> None:
        self._look(lambda now: now["name"] not in ("weigh",) or ready(now))

    def _note(self, screen: dict[str, Any]) -> None:
        """Remember what the kiosk shows as saved."""
        self.seen |= {(line["seq"], line["net_g"]) for line in screen["lines"]}

    def _idle(self) -> dict[str, Any]:
        self._scale.mass_g = 0
        return self._look(self._is_free)

    def _is_free(self, screen: dict[str, Any]) -> bool:
        if screen["name"] == "idle":
            return True
        if screen["name"] != "suspended":
            self._note(screen)
            self._press("cancel")
            self._press("done")
        return False

    def _look(
        self, ready: Callable[[dict[str, Any]], bool], patience_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            screen = self._screen()
            if "closed" in screen["notices"]:
                self._walk_away(screen)
            if ready(screen):
                return screen
            time.sleep(0.03)
        raise TimeoutError(f"the kiosk of {self.site.name} stays at {screen}")

    def _walk_away(self, screen: dict[str, Any]) -> None:
        """The operator closed this kiosk: nothing more is taken in, however long anybody waits."""
        self._note(screen)
        self._press("cancel")
        self._press("done")
        self.ended.wait(AGAIN_S)
        raise _Closed

    def _screen(self) -> dict[str, Any]:
        return self._ask("GET", "/api/screen", None)

    def _press(self, button: str, value: str | None = None) -> dict[str, Any]:
        return self._ask("POST", "/api/press", {"button": button, "value": value})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """One request; a kiosk that is dead just now is asked for the screen until it is back."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.site.kiosk_port, timeout=10)
            try:
                data = None if body is None else json.dumps(body)
                connection.request(method, path, data, {"content-type": "application/json"})
                answer = connection.getresponse()
                content: dict[str, Any] = json.loads(answer.read())
                if answer.status == 200:
                    return content
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.1)
            finally:
                connection.close()
            method, path, body = "GET", "/api/screen", None
        raise TimeoutError(f"the kiosk of {self.site.name} does not answer")
