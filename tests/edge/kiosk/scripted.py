"""A scripted station: holds one screen, publishes what a test says, writes down what was pressed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import StationError
from edge.station.screen import Button, Name, Screen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class ScriptedStation:
    """Implements the kiosk's port. `on_press` may publish a next screen or raise."""

    def __init__(self, first: Screen | None = None) -> None:
        self._screen = first or Screen(version=1, name=Name.IDLE)
        self._changed = asyncio.Event()
        self.presses: list[tuple[Button, str | None]] = []
        self.on_press: Callable[[Button, str | None], object] = lambda button, value: None
        self.subscribers = 0

    @property
    def screen(self) -> Screen:
        return self._screen

    def show(self, screen: Screen) -> Screen:
        """Publish `screen` under the next version."""
        self._screen = msgspec.structs.replace(screen, version=self._screen.version + 1)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return self._screen

    def change(self, **changes: Any) -> Screen:
        return self.show(msgspec.structs.replace(self._screen, **changes))

    async def press(self, button: Button, value: str | None) -> Screen:
        self.presses.append((button, value))
        if value == "refuse":
            raise StationError("this cannot be done now", code="station.value")
        self.on_press(button, value)
        return self._screen

    async def subscribe(self) -> AsyncIterator[Screen]:
        self.subscribers += 1
        try:
            while True:
                changed = self._changed
                yield self._screen
                await changed.wait()
        finally:
            self.subscribers -= 1
