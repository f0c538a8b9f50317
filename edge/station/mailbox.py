"""Screens for whoever watches the kiosk: each watcher has one slot, and the newest screen takes it.

A slow browser therefore costs one screen of memory, and never sees an old one after a new one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge.errors import StationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge.station.screen import Screen

SUBSCRIBERS_MAX = 16
"""More browsers than stand at one drop point."""


class Mailboxes:
    """All watchers of one station."""

    def __init__(self, first: Screen) -> None:
        self.latest = first
        self._waiting: set[asyncio.Event] = set()

    def put(self, screen: Screen) -> None:
        """Show this screen to everybody; never waits."""
        self.latest = screen
        for changed in self._waiting:
            changed.set()

    async def subscribe(self) -> AsyncIterator[Screen]:
        """The present screen, then every newer one that the watcher is quick enough to see.

        Raises StationError `station.subscribers` when too many watch already.
        """
        if len(self._waiting) >= SUBSCRIBERS_MAX:
            raise StationError(
                f"{SUBSCRIBERS_MAX} pages watch this kiosk already; close one", code="station.subscribers"
            )
        changed = asyncio.Event()
        changed.set()
        self._waiting.add(changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield self.latest
        finally:
            self._waiting.discard(changed)
