"""A gateway without a cloud: the kiosk shows how to claim it, and nothing can be taken in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from edge.identity import load_identity
from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from edge.kiosk.words import Language
from edge.station.mailbox import Mailboxes
from edge.station.screen import Button, Name, Screen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge.config import Settings
    from edge.health.notify import Notifier

_LOGGER = logging.getLogger("reloop.agent")
_LOOK_S = 1.0
_STATUS = "waits to be claimed; run: reloop-edge claim"


class _Unclaimed:
    """A station with one screen."""

    def __init__(self) -> None:
        self._boxes = Mailboxes(Screen(1, Name.UNCLAIMED))

    @property
    def screen(self) -> Screen:
        return self._boxes.latest

    async def press(self, button: Button, value: str | None) -> Screen:  # noqa: ARG002 - nothing to press
        return self._boxes.latest

    def subscribe(self) -> AsyncIterator[Screen]:
        return self._boxes.subscribe()


async def await_claim(settings: Settings, notifier: Notifier, stop: asyncio.Event) -> bool:
    """Show the claim screen until `reloop-edge claim` has been run (True) or `stop` is set (False).

    The service manager hears that we are ready and well: waiting for an operator is no failed start.
    """
    app = create_kiosk(_Unclaimed(), language=Language(settings.gateway.language))
    kiosk = KioskServer(app, settings.kiosk.host, settings.kiosk.port)
    serving = asyncio.create_task(kiosk.run(), name="kiosk")
    try:
        _LOGGER.info("kiosk at %s; this gateway %s", kiosk.url, _STATUS)
        notifier.ready(_STATUS)
        while load_identity(settings.data_dir) is None and not stop.is_set() and not serving.done():
            notifier.alive(_STATUS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()
    finally:
        kiosk.stop()
        await serving
    return not stop.is_set()
