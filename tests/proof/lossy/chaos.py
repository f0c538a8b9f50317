"""A TCP proxy with bad weather: slow, narrow, sliced, reset in mid-frame, silent for ever, up and down.

Byte-transparent: what passes, passes as it is, whatever it means. Runs on an event loop in its own thread.
Owns no packet loss: that is made in the kernel (`tunnel`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")
_CHUNK_BYTES = 16 * 1024
_SEGMENT_BYTES = 1_000
"""What a narrow link carries at a time."""
_LINE_MAX = 256
"""Chunks under way in one direction; the sender waits beyond it."""
_LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Weather:
    """What is wrong with a link; by default nothing.

    `latency_s`: added each way, drawn for each chunk, order kept. `trouble_bytes`: after so many bytes (drawn
    for each connection, both ways together) it is reset in mid-frame, or with `silent` never says anything
    again. `up_s`, `down_s`: how long it is up and down in turn, drawn each time; it begins up.
    """

    latency_s: tuple[float, float] = (0.0, 0.0)
    bytes_per_s: int | None = None
    slice_bytes: int | None = None
    trouble_bytes: tuple[int, int] | None = None
    silent: bool = False
    up_s: tuple[float, float] = (0.0, 0.0)
    down_s: tuple[float, float] = (0.0, 0.0)


class _Trouble(Exception):  # noqa: N818 - what befell one connection
    """This connection's bytes are used up."""


class Chaos:
    """Forwards to loopback ports. `seen` counts what befell the connections. Context manager."""

    def __init__(self, weather: Weather, seed: str) -> None:
        self.seen: Counter[str] = Counter()
        self.weather = weather
        self._random = random.Random(seed)
        self._up = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self.weather.down_s[1]:
            self._flapping = asyncio.run_coroutine_threadsafe(self._flap(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forward(self, target: int, listener: socket.socket | None = None) -> int:
        """Lead what connects to `listener` (a free port if None) to a loopback port; returns the port."""
        listener = listener.dup() if listener else socket.create_server(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        self._run(self._listen(listener, target))
        return port

    async def _listen(self, listener: socket.socket, target: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.CancelledError):  # only ever cancelled at the end
                await self._serve(reader, writer, target)

        self._servers.append(await asyncio.start_server(serve, sock=listener))

    async def _flap(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(*self.weather.up_s))
            self._up = False
            self.seen["downs"] += 1
            for writer in list(self._writers):
                _reset(writer)
            await asyncio.sleep(self._random.uniform(*self.weather.down_s))
            self._up = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        self.seen["connections"] += 1
        if not self._up:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            _reset(writer)
            return
        pair = {writer, far_writer}
        self._writers |= pair
        allowance = _Allowance(self._random, self.weather.trouble_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, allowance))
                group.create_task(self._pass(far_reader, writer, allowance))
        except* _Trouble:
            self.seen["resets"] += 1
        except* OSError:
            pass  # one side left: so does the other
        finally:
            self._writers -= pair
            for one in pair:
                _reset(one)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowance: _Allowance
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_LINE_MAX)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader, line))
            group.create_task(self._give(line, writer, allowance))

    async def _take(self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        due_s = 0.0
        while data := await reader.read(_CHUNK_BYTES):
            due_s = max(due_s, self._loop.time() + self._random.uniform(*self.weather.latency_s))
            await line.put((due_s, data))
        await line.put((due_s, b""))

    async def _give(
        self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, allowance: _Allowance
    ) -> None:
        while True:
            due_s, data = await line.get()
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            if not data:
                raise ConnectionResetError
            await self._write(data[: allowance.spend(len(data))], writer)
            if allowance.spent:
                await self._end_badly()

    async def _end_badly(self) -> None:
        if self.weather.silent:
            self.seen["silences"] += 1
            await asyncio.Event().wait()
        raise _Trouble

    async def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        rate = self.weather.bytes_per_s
        step = self.weather.slice_bytes or (_SEGMENT_BYTES if rate else len(data)) or 1
        for begin in range(0, len(data), step):
            piece = data[begin : begin + step]
            writer.write(piece)
            await writer.drain()
            if rate:
                await asyncio.sleep(len(piece) / rate)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[object, object, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class _Allowance:
    """How many bytes one connection may still carry."""

    def __init__(self, chance: random.Random, range_bytes: tuple[int, int] | None) -> None:
        self._left = chance.randint(*range_bytes) if range_bytes else None

    @property
    def spent(self) -> bool:
        return self._left == 0

    def spend(self, wanted: int) -> int:
        if self._left is None:
            return wanted
        given = min(wanted, self._left)
        self._left -= given
        return given


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()
