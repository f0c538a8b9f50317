"""The stream of screens to the page (server-sent events), bounded in viewers, rate and memory.

A viewer owns one slot that holds only the newest screen, so a slow browser costs nothing. Weights are
sent at most every 100 ms; any other change at once. A `beat` every second lets the page notice a dead
agent. Freshness is never invented here: a screen is sent when the station made it, not again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from edge.kiosk.errors import KioskError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge.kiosk.port import StationPort
    from edge.station.screen import Screen

VIEWERS_MAX = 8
WEIGHT_GAP_S = 0.1
BEAT_S = 1.0
RETRY_MS = 1000
BEAT = b"event: beat\ndata:\n\n"


class Streams:
    """All viewers of one station. `viewers` is how many are connected, at most `viewers_max`."""

    def __init__(self, station: StationPort, viewers_max: int = VIEWERS_MAX) -> None:
        self._station = station
        self._viewers_max = viewers_max
        self.viewers = 0
        self._slots: set[Slot] = set()

    def close(self) -> None:
        """End every stream after what it has to send, so that a stop need not wait for browsers."""
        for slot in self._slots:
            slot.end()

    def open(self) -> AsyncIterator[bytes]:
        """Return one viewer's stream of SSE bytes; raises `kiosk.viewers.full`."""
        if self.viewers >= self._viewers_max:
            raise KioskError(
                f"{self._viewers_max} pages are open already; close one",
                code="kiosk.viewers.full",
                status=503,
            )
        return self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        """Count the viewer from the first byte on, because a stream that is never begun never ends either."""
        if self.viewers >= self._viewers_max:
            return
        self.viewers += 1
        slot = Slot()
        self._slots.add(slot)
        pump = asyncio.create_task(self._pump(slot))
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not slot.ended:
                screen = await slot.take(BEAT_S)
                yield BEAT if screen is None else encode(screen)
                await slot.urgent(WEIGHT_GAP_S)
        finally:
            self.viewers -= 1
            self._slots.discard(slot)
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump

    async def _pump(self, slot: Slot) -> None:
        screens = self._station.subscribe()
        try:
            async for screen in screens:
                slot.offer(screen)
        finally:
            slot.end()
            close = getattr(screens, "aclose", None)
            if close is not None:
                await close()


class Slot:
    """Room for one screen, the newest."""

    def __init__(self) -> None:
        self.ended = False
        self._newest: Screen | None = None
        self._seen: Screen | None = None
        self._filled = asyncio.Event()
        self._urgent = asyncio.Event()

    def offer(self, screen: Screen) -> None:
        """Put `screen` in, over whatever was not taken yet."""
        if self._seen is None or still(screen) != still(self._seen):
            self._urgent.set()
        self._newest = self._seen = screen
        self._filled.set()

    def end(self) -> None:
        """Nothing will be offered any more."""
        self.ended = True
        self._filled.set()
        self._urgent.set()

    async def take(self, seconds_max: float) -> Screen | None:
        """Return the newest screen once; None if there is none for so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._filled.wait(), seconds_max)
        screen, self._newest = self._newest, None
        if not self.ended:
            self._filled.clear()
            self._urgent.clear()
        return screen

    async def urgent(self, seconds_max: float) -> None:
        """Wait so long, but no longer once something other than the weight has changed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._urgent.wait(), seconds_max)


def still(screen: Screen) -> Screen:
    """Return the screen without what changes by itself all the time: version, weight and ages."""
    return msgspec.structs.replace(screen, version=0, weight=None, catalog_age_s=None, autonomy_h=None)


def encode(screen: Screen) -> bytes:
    """One server-sent event; its id is the screen's version. JSON has no raw line feed, so one data line."""
    return b"id: %d\ndata: %s\n\n" % (screen.version, msgspec.json.encode(screen))
