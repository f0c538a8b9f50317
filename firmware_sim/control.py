"""The control socket: one line of JSON per command, one line of JSON per answer.

Owns the socket and the syntax; what a command does is handed in. At most eight clients at a time
and 4096 bytes a line; a wrong command is answered, never obeyed in part.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from firmware_sim.errors import CommandError, LinkError, SimulatorError

MAX_LINE_BYTES = 4096
MAX_CLIENTS = 8
# sun_path holds 108 bytes with its terminating NUL.
MAX_PATH_BYTES = 107

Json = Mapping[str, object]
Handler = Callable[[Json], Awaitable[dict[str, object]]]


class ControlSocket:
    """Serves `handler` at a Unix socket path while entered."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "ControlSocket":
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES:
            raise LinkError(f"control socket path is longer than {MAX_PATH_BYTES} bytes: {self.path}")
        if self.path.exists() and not self.path.is_socket():
            raise LinkError(f"{self.path} exists and is no socket; choose another --control or remove it")
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        try:
            self._server = await asyncio.start_unix_server(self._accept, self.path, limit=MAX_LINE_BYTES)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LinkError(f"cannot make the control socket {self.path}: {reason}") from error
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._clients) >= MAX_CLIENTS or task is None:
            writer.close()
            return
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the device is being closed
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                await _answer(writer, refusal("control.line_too_long", "a line has at most 4096 bytes"))
                return
            if not line:
                return
            await _answer(writer, await self._run(line))

    async def _run(self, line: bytes) -> dict[str, object]:
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                return refusal(
                    "control.not_an_object", 'send an object such as {"cmd":"place","mass_g":1234}'
                )
            return {"ok": True, **await self._handler(command)}
        except ValueError as error:
            return refusal("control.not_json", f"this line is no JSON: {error}")
        except SimulatorError as error:
            return refusal(error.code, str(error))


def refusal(code: str, message: str) -> dict[str, object]:
    """The answer to a command that was not obeyed."""
    return {"ok": False, "code": code, "message": message}


def whole_number(command: Json, key: str, minimum: int, maximum: int) -> int:
    """A required whole number of a command, within limits; CommandError names the key."""
    value = command.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise CommandError(f'"{key}" must be a whole number from {minimum} to {maximum}, not {value!r}')
    return value


def text(command: Json, key: str) -> str:
    """A required text of a command; CommandError names the key."""
    value = command.get(key)
    if not isinstance(value, str) or not value:
        raise CommandError(f'"{key}" must be a text, not {value!r}')
    return value


async def _answer(writer: asyncio.StreamWriter, answer: Json) -> None:
    writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    await writer.drain()
