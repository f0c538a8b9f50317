"""What every simulated device is made of: a serial port, a control socket perhaps, and a task of its own.

Owns in which order they start and end, and the folder of a device that was given no link.
"""

import asyncio
import shutil
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from firmware_sim.control import ControlSocket, Json
from firmware_sim.wire import Wire, temporary_folder


class SimulatedDevice(ABC):
    """A device at `link`, or in a temporary folder that goes with it. Async context manager."""

    wire: Wire
    """Made by the device itself: it knows what to do with bytes that come."""

    def __init__(self, name: str, link: Path | None, control: Path | None) -> None:
        self._folder = None if link else temporary_folder()
        self.link = Path(link) if link else (self._folder or Path()) / name
        self._control = ControlSocket(Path(control), self._command) if control else None
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            if self._folder is not None:
                self._folder.mkdir(mode=0o700)
                starting.callback(shutil.rmtree, self._folder, ignore_errors=True)
            await starting.enter_async_context(self.wire)
            if self._control is not None:
                await starting.enter_async_context(self._control)
            starting.push_async_callback(_end, asyncio.create_task(self._run()))
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._running.aclose()

    @property
    def port(self) -> str:
        """The path a driver opens."""
        return str(self.link)

    @abstractmethod
    async def _run(self) -> None:
        """What the device does by itself, until it is cancelled."""

    @abstractmethod
    async def _command(self, command: Json) -> dict[str, object]:
        """Obey a command of the control socket. CommandError if it is none of this device's."""


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
