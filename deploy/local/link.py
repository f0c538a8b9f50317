"""A link that can be cut: a TCP forwarder in front of the broker and the API, one for each gateway.

Cutting resets every connection and refuses new ones, as a lost modem does once the kernel notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")
_CHUNK = 64 * 1024


@dataclass(slots=True)
class _Forward:
    port: int
    target: int
    server: asyncio.Server | None = None


@dataclass(slots=True)
class Link:
    """Forwards `ports[target]` to `target` while up. Counts bytes that went up and down."""

    name: str
    up: bool = True
    bytes_up: int = 0
    bytes_down: int = 0
    _forwards: list[_Forward] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def forward(self, target: int) -> int:
        """Begin forwarding to a loopback port; returns the port to connect to instead."""
        forward = _Forward(0, target)
        forward.server = await self._listen(forward)
        forward.port = forward.server.sockets[0].getsockname()[1]
        self._forwards.append(forward)
        return forward.port

    async def cut(self) -> None:
        """Reset what is open and refuse what comes."""
        self.up = False
        for forward in self._forwards:
            if forward.server is not None:
                forward.server.close()
                forward.server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def restore(self) -> None:
        """Let connections through again."""
        self.up = True
        for forward in self._forwards:
            if forward.server is None:
                forward.server = await self._listen(forward)

    async def _listen(self, forward: _Forward) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, forward.target)

        return await asyncio.start_server(serve, "127.0.0.1", forward.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._copy(reader, far_writer, upward=True), self._copy(far_reader, writer, upward=False)
            )
        finally:
            self._writers -= pair
            for one in pair:
                one.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if upward:
                    self.bytes_up += len(data)
                else:
                    self.bytes_down += len(data)
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(RuntimeError):
                writer.write_eof()


class Links:
    """Runs links on an event loop in a thread of its own, so that plain code can cut and restore them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._links: dict[str, Link] = {}
        self._thread.start()

    def add(self, name: str, *targets: int) -> tuple[Link, list[int]]:
        """A link forwarding to these ports; returns it with the ports to use instead."""
        link = self._links[name] = Link(name)

        async def begin() -> list[int]:
            return [await link.forward(target) for target in targets]

        return link, self._run(begin())

    def cut(self, name: str) -> None:
        """Cut the link called `name`."""
        self._run(self._links[name].cut())

    def restore(self, name: str) -> None:
        """Restore the link called `name`."""
        self._run(self._links[name].restore())

    def close(self) -> None:
        """Cut everything and end the thread."""
        for name in self._links:
            self.cut(name)
        self._run(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _drain(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[object, object, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
