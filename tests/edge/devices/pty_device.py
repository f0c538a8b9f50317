"""A device at the far end of a real pseudo-terminal, reachable by a stable symlink that can be unplugged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol, TypeVar


class PtyDevice:
    """Holds the master side. `plug` makes a new pair and points the link at it, as udev does on re-plug."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master = self._slave = -1

    def plug(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.link.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        if self._master < 0:
            return
        self.link.unlink()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def receive(self) -> bytes:
        try:
            return os.read(self._master, 4096)
        except BlockingIOError:
            return b""


def now_s() -> float:
    return time.monotonic()


async def until(
    condition: Callable[[], bool], within_s: float, step: Callable[[], None] = lambda: None
) -> float:
    """Seconds until `condition` held, `step` done at every look. Fails when `within_s` is over."""
    import asyncio

    began_s = now_s()
    while not condition():
        assert now_s() - began_s < within_s, f"did not happen within {within_s} s"
        step()
        await asyncio.sleep(0.01)
    return now_s() - began_s


class Bench(Protocol):
    """A driver under test and the device at its far end."""

    device: PtyDevice

    @property
    def driver(self) -> Driver: ...


class Driver(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> None: ...


BenchType = TypeVar("BenchType", bound=Bench)


@contextlib.asynccontextmanager
async def running(bench: BenchType) -> AsyncIterator[BenchType]:
    """The bench with its driver at work; afterwards the device is unplugged."""
    task = asyncio.create_task(bench.driver.run())
    try:
        yield bench
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        bench.device.unplug()
