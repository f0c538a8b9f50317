"""What an idle agent costs: scale and scanner driven, a kiosk page open, connected to the broker."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import httpx
import psutil

from deploy.local.processes import wait_until
from deploy.local.stack import Site, Stack
from tests.bench.figures import Figure, against_limit
from tests.bench.kiosk import simulated_devices

if TYPE_CHECKING:
    from tests.bench.setup import Setup

_IDLE_S = 30.0
_SETTLE_S = 5.0
_RSS_MB_MAX = 110
_CPU_PERCENT_MAX = 2.0


def measure(setup: Setup) -> list[Figure]:
    """Thirty idle seconds, cut into as many windows as there are rounds."""
    folder = setup.fresh_folder("agent")
    with simulated_devices(setup.fresh_folder("devices")) as devices, Stack(folder) as stack:
        site = stack.add_site("bench-idle", devices)
        stack.claim(site)
        site.start()
        with Page(site) as page:
            wait_until(lambda: _all_well(site), 30.0, "scale, scanner and broker were not all there")
            process = psutil.Process(site.agent.pid)
            time.sleep(_SETTLE_S)
            windows = [_window(process, _IDLE_S / setup.rounds_count) for _ in setup.rounds("agent")]
            assert _all_well(site), site.status()
            assert page.heard > _IDLE_S / 2, page.heard
    rss_mb, cpu_percent = zip(*windows, strict=True)
    return [
        against_limit("agent RSS", "MB", rss_mb, _RSS_MB_MAX),
        against_limit("agent idle CPU", "%", cpu_percent, _CPU_PERCENT_MAX),
    ]


def _all_well(site: Site) -> bool:
    status = site.status()
    devices = [status["scale"], *status["scanners"].values()]
    return len(devices) == 2 and set(devices) == {"ok"} and status["road"] == "mqtt" and not status["backlog"]


def _window(process: psutil.Process, seconds: float) -> tuple[float, float]:
    """RSS in MB at its end, and percent of one core used in it."""
    begun, before = time.perf_counter(), process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return process.memory_info().rss / 1e6, 100 * used_s / (time.perf_counter() - begun)


class Page:
    """A reader of the kiosk's events, as the page is one; `heard` counts what came. Context manager."""

    def __init__(self, site: Site) -> None:
        self._url = f"{site.kiosk_url}/api/events"
        self.heard = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="page")

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _read(self) -> None:
        with httpx.stream("GET", self._url, timeout=30.0) as events:
            for _ in events.iter_raw():
                self.heard += 1
                if self._closing.is_set():
                    return
