"""The agent's door for its own commands: a Unix socket in the data folder, one JSON line each way.

So that `status` and the courier work beside a running agent, which is the journal's one writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import EdgeError
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

_SOCKET = "agent.sock"
_PATH_BYTES_MAX = 107  # unix(7)
_LINE_BYTES_MAX = 64 * 1024
_REQUEST_S = 10.0
_ANSWER_S = 600.0
_LOGGER = logging.getLogger("reloop.control")


class ControlError(EdgeError):
    """A command could not be carried out by the running agent."""

    code = "control"


class Request(msgspec.Struct, frozen=True):
    """What a command asks of the agent."""

    command: str
    path: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the agent says: a result, or an error's code and message."""

    result: dict[str, Any] | None = None
    code: str = ""
    message: str = ""


class Control:
    """Serves requests, those of one command one at a time. `commands` maps a name to what carries it out."""

    def __init__(self, folder: Path, commands: Mapping[str, Callable[[Request], Awaitable[Any]]]) -> None:
        self._path = folder / _SOCKET
        if len(bytes(self._path)) > _PATH_BYTES_MAX:
            raise ControlError(
                f"{self._path} is too long for a Unix socket; choose a data_dir of at most "
                f"{_PATH_BYTES_MAX - len(_SOCKET) - 1} bytes",
                code="config.value",
            )
        self._commands = commands
        self._busy = {name: asyncio.Lock() for name in commands}

    async def run(self) -> None:
        """Serve until cancelled. The socket is its user's only."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, self._path, limit=_LINE_BYTES_MAX)
        self._path.chmod(0o600)
        try:
            await server.serve_forever()
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            try:
                async with asyncio.timeout(_REQUEST_S):
                    line = await _request_line(reader)
                answer = await self._answer(line)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
            finally:
                writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
            carry_out, busy = self._commands[request.command], self._busy[request.command]
        except (msgspec.MsgspecError, KeyError) as error:
            return Answer(code="control.request", message=f"not a request of ours: {error}")
        try:
            async with busy:
                return Answer(result=msgspec.to_builtins(await carry_out(request)))
        except (EdgeError, ProtocolError) as error:
            return Answer(code=error.code, message=str(error))
        except Exception as error:
            _LOGGER.exception("the command %s failed", request.command)
            return Answer(code="control.failed", message=f"{type(error).__name__}: {error}")


async def _request_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than any request of ours
        return b""


def ask_agent(folder: Path, request: Request) -> dict[str, Any] | None:
    """Ask the running agent; None if none runs here. Raises ControlError with the agent's own code."""
    try:
        answer = _ask(folder, request)
    except TimeoutError as error:
        raise ControlError("the agent does not answer; see its log", code="control.timeout") from error
    except OSError as error:
        raise ControlError(
            f"{folder / _SOCKET} cannot be used: {error}; is `data_dir` right, and are you the agent's user?",
            code="control.unreachable",
        ) from error
    except msgspec.MsgspecError as error:
        raise ControlError(
            f"the agent's answer cannot be read: {error}; is it of this version?", code="control.answer"
        ) from error
    if answer is None:
        return None
    if answer.result is None:
        raise ControlError(answer.message, code=answer.code)
    return answer.result


def _ask(folder: Path, request: Request) -> Answer | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ANSWER_S)
        try:
            sock.connect(str(folder / _SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        sock.sendall(msgspec.json.encode(request) + b"\n")
        return msgspec.json.decode(_line(sock), type=Answer)


def _line(sock: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = sock.recv(_LINE_BYTES_MAX)
        if not chunk:
            raise ControlError("the agent ended before it answered; see its log", code="control.gone")
        data += chunk
    return bytes(data)
