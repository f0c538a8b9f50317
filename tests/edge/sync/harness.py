"""What the tests of every road share: a sync on given roads, a web server, links that go bad."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.processes import free_port
from edge.sync.mqtt import MqttRoad, MqttSettings
from edge.sync.sync import Lane, Sync
from protocol.breaker import Breaker, BreakerSettings
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.tls_broker import TlsBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from starlette.requests import Request

    from edge.sync.credentials import Credentials
    from edge.sync.roads import Road
    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.plain_cloud import PlainCloud
    from tests.edge.sync.tls_broker import Papers

DEADLINE_S = 30.0


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not reached():
            await asyncio.sleep(0.02)


def mqtt(
    papers: Papers,
    port: int | None = None,
    *,
    credentials: Credentials | None = None,
    version: int = 5,
    timeout_s: float = 10.0,
) -> MqttRoad:
    """The road to `port`, or to the broker's own."""
    if port is None:
        assert isinstance(papers, TlsBroker)
        port = papers.port
    credentials = credentials or papers.credentials()
    return MqttRoad(
        MqttSettings(GATEWAY, "127.0.0.1", port, credentials, version=version, timeout_s=timeout_s)
    )


@contextlib.asynccontextmanager
async def syncing(
    gateway: Gateway, *roads: Road, settings: BreakerSettings | None = None
) -> AsyncIterator[Sync]:
    clock = gateway.wiring.clock
    lanes = [Lane(road, Breaker(road.name, clock.monotonic, settings)) for road in roads]
    for lane in lanes:
        if isinstance(lane.road, MqttRoad):
            lane.waits_for = lane.road.waits_for
    sync = Sync(gateway.wiring, lanes, lambda low, high: low + (high - low) / 3, spread_s=0.1)
    task = asyncio.create_task(sync.run())
    try:
        yield sync
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def web(answer: Callable[[Request, bytes], Response]) -> AsyncIterator[str]:
    async def frames(request: Request) -> Response:
        return answer(request, await request.body())

    app = Starlette(routes=[Route("/{path:path}", frames, methods=["GET", "POST"])])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def cloud_answer(cloud: PlainCloud) -> Callable[[Request, bytes], Response]:
    def answer(request: Request, body: bytes) -> Response:
        if request.method == "GET":
            return Response(status_code=404)
        return Response(b"".join(cloud.take(body)), media_type="application/cose")

    return answer


class Proxy:
    """A link to `port` that can be slow, fall silent without closing, or be cut.

    `bytes_per_s` bounds what goes up; small kernel buffers keep it from being swallowed at once.
    """

    def __init__(self, port: int, bytes_per_s: int | None = None) -> None:
        self.port = free_port()
        self.silent = False
        self._target = port
        self._bytes_per_s = bytes_per_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Loopback's segments of 64 KiB and its deep buffers are nothing like a modem's.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        listener.setblocking(False)
        self._listener = listener
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            self._spawn(self._carry(near))

    async def _carry(self, near: socket.socket) -> None:
        far = socket.socket()
        far.setblocking(False)
        with near, far, contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self._target))
            up = asyncio.create_task(self._pipe(near, far, self._bytes_per_s))
            down = asyncio.create_task(self._pipe(far, near, None))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    async def _pipe(self, source: socket.socket, sink: socket.socket, bytes_per_s: int | None) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, 256 if bytes_per_s else 65536):
            while self.silent:
                await asyncio.sleep(0.05)
            if bytes_per_s:
                await asyncio.sleep(len(data) / bytes_per_s)
            await loop.sock_sendall(sink, data)
