"""`reloop-cloud all | api | ingest | worker`: the long-running processes, ended cleanly by SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import uvicorn

from cloud.api.app import ROUTERS, Parts, create_app
from cloud.api.tokens import TokenResolver
from cloud.cli.console import fail, run, say
from cloud.cli.intake import intake, mqtt_road
from cloud.errors import ConfigError
from cloud.worker.housekeeping import Housekeeping
from cloud.worker.publisher import Publisher
from cloud.worker.times import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from fastapi import FastAPI

    from cloud.cli.runtime import Runtime
    from cloud.ingest.service import Ingest

_GRACE_S = 5
_BACKLOG = 512
_KEEP_ALIVE_S = 35
"""Longer than a gateway waits for an answer: over a satellite its next request is on its way for so long, and
must not meet a connection that was closed meanwhile."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What this process does. `modules` are those that the API serves."""

    api: bool = False
    ingest: bool = False
    worker: bool = False
    modules: frozenset[str] = frozenset(ROUTERS)


def modules_of(names: str | None) -> frozenset[str]:
    """The modules of a comma-separated list; all of them for None. Ends the command for an unknown one."""
    if names is None:
        return frozenset(ROUTERS)
    wanted = frozenset(name.strip() for name in names.split(",") if name.strip())
    unknown = wanted - ROUTERS.keys()
    if unknown or not wanted:
        fail("modules.unknown", f"no module {', '.join(sorted(unknown))!r}; there are {', '.join(ROUTERS)}")
    return wanted


def serve(roles: Roles) -> None:
    """Serve these roles until SIGTERM or Ctrl-C."""
    configure_logging()

    async def act(runtime: Runtime) -> None:
        await _serve(runtime, roles)

    run(act)


async def _serve(runtime: Runtime, roles: Roles) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    if runtime.broker is not None:
        runtime.broker.folder.doors()  # a process that serves does not begin without
        await runtime.gateways_changed()
    async with AsyncExitStack() as stack:
        sockets = [stack.enter_context(_listening(runtime))] if roles.api else []
        ingest = await stack.enter_async_context(intake(runtime)) if roles.api or roles.ingest else None
        services = _Services(runtime, roles, ingest)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in services.background()]
            server = services.server() if sockets else None
            serving = group.create_task(server.serve(sockets), name="api") if server else None
            say(f"[bold]ReLoop cloud[/] runs ({services.describe()}); stop it with Ctrl-C")
            await stop.wait()
            if server is not None and serving is not None:
                server.should_exit = True
                await serving
            for task in tasks:
                task.cancel()
    structlog.get_logger().info("cloud.stopped")


class _Services:
    """The parts of one process, made when they are needed."""

    def __init__(self, runtime: Runtime, roles: Roles, ingest: Ingest | None) -> None:
        self._runtime, self._roles, self._ingest = runtime, roles, ingest
        mqtt = runtime.settings.mqtt
        services = runtime.services
        self._consumer = (
            mqtt_road(runtime, mqtt, ingest)
            if roles.ingest and ingest is not None and mqtt is not None
            else None
        )
        self._publisher = (
            Publisher(
                runtime.engine, services.documents, services.gateways, runtime.door(mqtt), runtime.clock
            )
            if roles.worker and mqtt is not None
            else None
        )

    def background(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Name and coroutine of everything but the API."""
        runtime = self._runtime
        if self._consumer is not None:
            yield "mqtt", self._consumer.run()
        if self._publisher is not None:
            yield "publisher", self._publisher.run()
        if self._roles.worker:
            services = runtime.services
            work = Housekeeping(
                runtime.engine,
                services.documents,
                services.certificates,
                services.alarms,
                runtime.broker,
                runtime.clock,
            )
            yield "housekeeping", work.run()
            yield "times", Times(runtime.engine, runtime.services.clocks, runtime.clock).run()

    def server(self) -> uvicorn.Server:
        """The API's server; signals are ours, not uvicorn's."""
        settings = self._runtime.settings
        config = uvicorn.Config(
            self.app(),
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        return _Server(config)

    def app(self) -> FastAPI:
        """The API over these parts."""
        runtime = self._runtime
        services = runtime.services
        return create_app(
            Parts(
                runtime.engine,
                services.by_class(),
                TokenResolver(runtime.engine, services.tokens, services.citizens),
                runtime.clock.monotonic,
                self._ingest,
                runtime.gateways_changed,
                self._connected(),
                self._roles.modules,
            )
        )

    def describe(self) -> str:
        """What runs, for the first line a person sees."""
        settings = self._runtime.settings
        parts = [f"API http://{settings.http_host}:{settings.http_port}/docs"] if self._roles.api else []
        if self._consumer is not None and settings.mqtt is not None:
            parts.append(f"MQTT {settings.mqtt.host}:{settings.mqtt.port}")
        parts.append("worker" if self._roles.worker else "no worker")
        return ", ".join(parts)

    def _connected(self) -> Callable[[], bool | None]:
        consumer = self._consumer
        return lambda: None if consumer is None else consumer.connected.is_set()


def _listening(runtime: Runtime) -> socket.socket:
    """The API's socket. Raises ConfigError if the address is taken: uvicorn would only end the process."""
    host, port = runtime.settings.http_host, runtime.settings.http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where TCP is named; else answers wait 40 ms for a delayed ack.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        return listener
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); set RELOOP_HTTP_PORT to another port",
            code="config.port_taken",
        ) from error


class _Server(uvicorn.Server):
    """uvicorn would raise the signal again once it stopped, and end us before the database is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def configure_logging() -> None:
    """structlog as JSON lines on stderr, the standard library's warnings beside it."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
