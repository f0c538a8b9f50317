"""A pseudo-terminal that behaves like a UART: paced bytes, a stable symlink, unplug and replug.

Owns the terminal, its pacing and its byte-level faults. Knows nothing of what the bytes mean.

The slave is kept closed here: the master then reports a hang-up exactly while nobody has the port
open, and bytes sent meanwhile are lost, as on a real adapter. Closing the master is the unplug.
"""

import asyncio
import contextlib
import errno
import os
import pty
import random
import select
import tempfile
import termios
import time
import tty
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from firmware_sim.errors import LinkError, ProfileError

BAUD_CONSTANTS: dict[int, int] = {
    baud: getattr(termios, f"B{baud}") for baud in (600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
}
# 8N1: one start bit, eight data bits, one stop bit.
BITS_PER_BYTE = 10
MAX_PENDING_FRAMES = 32
# Bytes are handed over in groups this long: fine enough to split frames, coarse enough to be cheap.
CHUNK_S = 0.01
ATTACH_POLL_S = 0.02
READ_BYTES = 4096
HALF_FRAME_SHARE = 0.4
GARBAGE_SHARE = 0.5


class WireFault(StrEnum):
    """Faults of cable, adapter and settings, the same for every device."""

    HALF_FRAME = "half_frame"
    GARBAGE = "garbage"
    FREEZE_PORT = "freeze_port"
    WRONG_BAUD = "wrong_baud"


@dataclass(slots=True)
class WireCounters:
    """What happened on the line so far."""

    frames_sent: int = 0
    frames_dropped: int = 0  # the client did not read, or the queue was full
    bytes_sent: int = 0
    bytes_unheard: int = 0  # nobody had the port open
    bytes_received: int = 0
    attached: int = 0


class Wire:
    """One serial port at `link`. Use as an async context manager; `on_bytes` gets what clients write."""

    def __init__(
        self, link: Path, baud: int, seed: int, on_bytes: Callable[[bytes], None] | None = None
    ) -> None:
        if baud not in BAUD_CONSTANTS:
            known = ", ".join(map(str, BAUD_CONSTANTS))
            raise ProfileError(f"baud rate {baud} is not one of: {known}")
        self.link = link
        self.baud = baud
        self.counters = WireCounters()
        self.faults: set[WireFault] = set()
        self._on_bytes = on_bytes
        self._random = random.Random(seed)
        self._pending: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._master: int | None = None
        self._reading = False
        self._tasks: list[asyncio.Task[None]] = []
        self._line_free_s = 0.0

    async def __aenter__(self) -> "Wire":
        self.plug()
        self._tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.unplug()

    @property
    def plugged(self) -> bool:
        """Whether the port exists at all."""
        return self._master is not None

    @property
    def attached(self) -> bool:
        """Whether a client has the port open, as far as was noticed yet."""
        return self._reading

    @property
    def pending(self) -> int:
        """Frames waiting for the line."""
        return len(self._pending)

    @property
    def idle(self) -> bool:
        """Whether everything sent has left."""
        return not self._pending and time.monotonic() >= self._line_free_s

    def plug(self) -> None:
        """Make the port appear: a new terminal, and the symlink pointing to it. Idempotent."""
        if self._master is not None:
            return
        master, slave = pty.openpty()
        try:
            tty.setraw(slave)
            attributes = termios.tcgetattr(slave)
            attributes[4] = attributes[5] = BAUD_CONSTANTS[self.baud]
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
            point_link(self.link, os.ttyname(slave))
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(master, False)
        self._master = master

    def unplug(self) -> None:
        """Make the port vanish, as when the cable is pulled. Idempotent."""
        master, self._master = self._master, None
        if master is None:
            return
        self._stop_reading(master)
        self._pending.clear()
        with contextlib.suppress(FileNotFoundError):
            self.link.unlink()
        os.close(master)

    def send(self, frame: bytes) -> None:
        """Queue one frame; when 32 wait already the oldest is dropped and counted."""
        if self._master is None or WireFault.FREEZE_PORT in self.faults:
            return
        if len(self._pending) >= MAX_PENDING_FRAMES:
            self._pending.popleft()
            self.counters.frames_dropped += 1
        self._pending.append(frame)
        self._wake.set()

    def client_baud_matches(self) -> bool:
        """Whether the client set the speed this device talks at; read from the slave's settings."""
        if self._master is None:
            return True
        return bool(termios.tcgetattr(self._master)[5] == BAUD_CONSTANTS[self.baud])

    async def _pump(self) -> None:
        while True:
            while not self._pending:
                self._wake.clear()
                await self._wake.wait()
            await self._transmit(self._spoiled(self._pending.popleft()))

    async def _transmit(self, frame: bytes) -> None:
        """Hand a frame over no faster than the line can carry it: bytes x 10 / baud."""
        size = max(1, int(self.baud / BITS_PER_BYTE * CHUNK_S))
        for start in range(0, len(frame), size):
            chunk = frame[start : start + size]
            begin_s = max(time.monotonic(), self._line_free_s)
            self._line_free_s = begin_s + len(chunk) * BITS_PER_BYTE / self.baud
            await asyncio.sleep(self._line_free_s - time.monotonic())
            if not self._deliver(chunk):
                self.counters.frames_dropped += 1
                return
        self.counters.frames_sent += 1

    def _deliver(self, chunk: bytes) -> bool:
        """Write to the client; False when its buffer is full, so that the rest of the frame is lost."""
        if self._master is None:
            return False
        if not self._reading:
            self.counters.bytes_unheard += len(chunk)
            return True
        try:
            written = os.write(self._master, chunk)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.counters.bytes_unheard += len(chunk)
            return True
        self.counters.bytes_sent += written
        return written == len(chunk)

    def _spoiled(self, frame: bytes) -> bytes:
        """The frame as the faults of the moment leave it."""
        if WireFault.WRONG_BAUD in self.faults or not self.client_baud_matches():
            return garbled(frame, self._random)
        if WireFault.HALF_FRAME in self.faults and self._random.random() < HALF_FRAME_SHARE:
            frame = frame[: self._random.randrange(1, max(2, len(frame)))]
        if WireFault.GARBAGE in self.faults and self._random.random() < GARBAGE_SHARE:
            frame = self._random.randbytes(self._random.randrange(1, 24)) + frame
        return frame

    async def _watch(self) -> None:
        """Notice a client that opens the port; until then nothing is read."""
        while True:
            if self._master is not None and not self._reading and not hung_up(self._master):
                self._reading = True
                self.counters.attached += 1
                asyncio.get_running_loop().add_reader(self._master, self._read, self._master)
            await asyncio.sleep(ATTACH_POLL_S)

    def _read(self, master: int) -> None:
        try:
            data = os.read(master, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the client closed the port
            self._stop_reading(master)
            return
        self.counters.bytes_received += len(data)
        if self._on_bytes is None or WireFault.FREEZE_PORT in self.faults:
            return
        if WireFault.WRONG_BAUD in self.faults or not self.client_baud_matches():
            data = garbled(data, self._random)
        self._on_bytes(data)

    def _stop_reading(self, master: int) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(master)
        self._reading = False


def temporary_folder() -> Path:
    """A folder name of its own for a device that was given no link; the device makes and removes it."""
    return Path(tempfile.gettempdir()) / f"reloop-sim-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def hung_up(master: int) -> bool:
    """Whether no client has the other side open."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def garbled(frame: bytes, generator: random.Random) -> bytes:
    """What a receiver at another speed makes of a frame: other bytes, another number of them."""
    return generator.randbytes(max(1, round(len(frame) * generator.choice((0.25, 0.5, 1, 1.5)))))


def point_link(link: Path, target: str) -> None:
    """Point the symlink at the terminal, atomically; never overwrites anything but a symlink."""
    if link.exists() and not link.is_symlink():
        raise LinkError(f"{link} exists and is no symlink; choose another --link or remove it")
    temporary = link.with_name(f".{link.name}.{os.getpid()}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkError(f"cannot make the symlink {link}: {reason}; is its folder there?") from error
