"""A drop point with a simulated scale and scanner on serial lines, and the hands of a person at its kiosk."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from deploy.local.processes import Process, program, wait_until
from deploy.local.sockets import ask
from deploy.local.stack import Devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.local.stack import Site

_SCREEN_S = 30.0
_TRIES_MAX = 20


@contextlib.contextmanager
def simulated_devices(folder: Path) -> Iterator[Devices]:
    """An MT-SICS scale and a scanner, each a process with its port in `folder`."""
    devices = Devices("mt-sics", folder / "scale", folder / "scanner")
    scale = _simulator("scale", folder, "--dialect", devices.dialect)
    scanner = _simulator("scanner", folder)
    try:
        for process, port in ((scale, devices.scale), (scanner, devices.scanner)):
            process.start()
            process.await_ready(lambda port=port: port is not None and port.exists())  # type: ignore[misc]
        yield devices
    finally:
        scale.stop()
        scanner.stop()


def _simulator(kind: str, folder: Path, *options: str) -> Process:
    command = [program("reloop-sim"), kind, "--link", str(folder / kind), *options]
    return Process(f"simulated {kind}", command, folder / f"{kind}.log")


@dataclass(slots=True)
class Person:
    """Stands at the kiosk of `site` and puts bags on its scale."""

    site: Site
    client: httpx.Client

    @classmethod
    @contextlib.contextmanager
    def at(cls, site: Site) -> Iterator[Person]:
        """Somebody with a browser's kept-alive connection."""
        with httpx.Client(base_url=site.kiosk_url, timeout=_SCREEN_S) as client:
            yield cls(site, client)

    def put(self, mass_g: int) -> None:
        """Exactly this lies on the plate from now on."""
        assert self.site.devices.scale is not None
        control = self.site.devices.scale.with_name("scale.sock")
        ask(control, {"cmd": "place", "mass_g": mass_g})

    def look(self) -> dict[str, Any]:
        """The screen."""
        screen: dict[str, Any] = self.client.get("/api/screen").raise_for_status().json()
        return screen

    def press(self, button: str, value: str | None = None) -> dict[str, Any]:
        """Press a button; the screen after it."""
        body = {"button": button, "value": value}
        screen: dict[str, Any] = self.client.post("/api/press", json=body).raise_for_status().json()
        return screen

    def await_screen(self, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look until the screen is so."""
        wait_until(lambda: so(self.look()), _SCREEN_S, f"{self.site.name}'s kiosk did not get there")
        return self.look()

    def await_button(self, button: str) -> dict[str, Any]:
        """Look until the button can be pressed."""
        return self.await_screen(lambda screen: button in screen["buttons"])

    def weigh(self) -> float:
        """Confirm what lies there; seconds from the press until the screen said saved."""
        self.await_button("confirm")
        for _ in range(_TRIES_MAX):
            begun = time.perf_counter()
            screen = self.press("confirm")
            seconds = time.perf_counter() - begun
            if screen["name"] == "saved":
                return seconds
            assert screen["message"] == "not_stable", screen
        raise AssertionError(f"the scale never came to rest: {screen}")
