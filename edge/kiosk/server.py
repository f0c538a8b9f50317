"""Serves the kiosk with uvicorn inside the agent's loop: loopback only, no signals, ends when told to."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from edge.kiosk.errors import PortTakenError

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.applications import Starlette

CONNECTIONS_MAX = 64
STOP_S_MAX = 1
"""Streams end at once when the kiosk stops; a browser that does not read may delay the stop so long."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the agent, which stops everything in order."""
        yield


class KioskServer:
    """Listens at once, so that `url` is known and a taken port is an error before anything runs."""

    def __init__(self, app: Starlette, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{self.port}"
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=STOP_S_MAX,
            )
        )

    async def run(self) -> None:
        """Serve until `stop`; raises nothing but what the loop itself raises."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Take no more requests and let `run` return, within about STOP_S_MAX."""
        self._server.should_exit = True
        self._app.state.streams.close()


def _listen(host: str, port: int) -> socket.socket:
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio turns Nagle off only where TCP is named; else every answer waits 40 ms for a delayed ack.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise PortTakenError(
            f"the kiosk cannot listen on {address}:{port} ({error.strerror}); stop the other program "
            "or set another `port` under [kiosk]"
        ) from error
    listener.setblocking(False)
    return listener
