"""What the tests of simulated devices share: a client on the port, and waiting for conditions."""

import asyncio
import os
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path


async def eventually(condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
    """Return as soon as the condition holds; fail after the deadline."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.005)


class Client:
    """Opens the port as a driver would: raw, a speed of its own, never blocking."""

    def __init__(self, port: str | Path, baud: int = termios.B9600) -> None:
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        attributes = termios.tcgetattr(self.fd)
        attributes[4] = attributes[5] = baud
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        termios.tcflush(self.fd, termios.TCIFLUSH)
        self.received = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def poll(self) -> bytes:
        """Everything received so far."""
        while True:
            try:
                data = os.read(self.fd, 4096)
            except BlockingIOError:
                return self.received
            if not data:
                return self.received
            self.received += data

    def gone(self) -> bool:
        """Whether the port has vanished under us: end of file, or an input/output error."""
        try:
            return os.read(self.fd, 4096) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def until(self, wanted: bytes, deadline_s: float = 5.0) -> bytes:
        """Wait until these bytes have come."""
        await eventually(lambda: wanted in self.poll(), deadline_s)
        return self.received

    async def bytes(self, count: int, deadline_s: float = 5.0) -> bytes:
        """Wait until so many bytes have come."""
        await eventually(lambda: len(self.poll()) >= count, deadline_s)
        return self.received
