"""What the kiosk needs of a station, and nothing more."""

from collections.abc import AsyncIterator
from typing import Protocol

from edge.station.screen import Button, Screen


class StationPort(Protocol):
    """The station as the page sees it."""

    @property
    def screen(self) -> Screen:
        """What is shown now."""
        ...

    async def press(self, button: Button, value: str | None) -> Screen:
        """Take one press and answer with the screen after it; raises EdgeError if it cannot be done."""
        ...

    def subscribe(self) -> AsyncIterator[Screen]:
        """Yield the screen now and after every change; a slow reader may miss some, never the newest."""
        ...
