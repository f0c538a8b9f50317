from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from edge.control import Control, ControlError, Request, ask_agent
from edge.errors import JournalError
from protocol.errors import CourierError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE_S = 10.0


class Commands:
    """What an agent would do, with a door that stays shut until it is told to open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.at_the_door = 0

    async def status(self, _request: Request) -> dict[str, Any]:
        return {"backlog": 3}

    async def door(self, request: Request) -> dict[str, Any]:
        self.at_the_door += 1
        await self.open.wait()
        return {"path": request.path}

    async def full(self, _request: Request) -> dict[str, Any]:
        raise JournalError("the disk is full; nothing was saved", code="journal.full")

    async def cut(self, _request: Request) -> dict[str, Any]:
        raise CourierError("the file is cut", code="courier.cut")

    async def fault(self, _request: Request) -> dict[str, Any]:
        raise ZeroDivisionError("ours")


@pytest.fixture
async def commands(tmp_path: Path) -> AsyncIterator[Commands]:
    commands = Commands()
    names = ("status", "door", "full", "cut", "fault")
    control = Control(tmp_path, {name: getattr(commands, name) for name in names})
    running = asyncio.create_task(control.run())
    async with asyncio.timeout(DEADLINE_S):
        while not (tmp_path / "agent.sock").exists():
            await asyncio.sleep(0.01)
    yield commands
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert not (tmp_path / "agent.sock").exists()


async def ask(folder: Path, command: str, path: str = "") -> dict[str, Any] | None:
    return await asyncio.to_thread(ask_agent, folder, Request(command, path))


async def test_a_command_is_answered(tmp_path: Path, commands: Commands) -> None:
    assert await ask(tmp_path, "status") == {"backlog": 3}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("full", "journal.full"),
        ("cut", "courier.cut"),
        ("fault", "control.failed"),
        ("dance", "control.request"),
    ],
)
async def test_what_fails_is_said_with_its_code_and_the_agent_goes_on(
    tmp_path: Path, commands: Commands, command: str, code: str
) -> None:
    with pytest.raises(ControlError) as caught:
        await ask(tmp_path, command)
    assert caught.value.code == code
    assert await ask(tmp_path, "status") == {"backlog": 3}


async def test_nobody_else_may_speak_to_the_agent(tmp_path: Path, commands: Commands) -> None:
    assert stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode) == 0o600


async def test_a_long_export_does_not_hold_up_the_status(tmp_path: Path, commands: Commands) -> None:
    async with asyncio.timeout(DEADLINE_S):
        exports = [asyncio.create_task(ask(tmp_path, "door", str(number))) for number in range(2)]
        while commands.at_the_door == 0:
            await asyncio.sleep(0.01)
        assert await ask(tmp_path, "status") == {"backlog": 3}
        assert commands.at_the_door == 1, "two exports at once would write into one file"
        commands.open.set()
        assert [await export for export in exports] == [{"path": "0"}, {"path": "1"}]


@pytest.mark.parametrize("data", [b"\xff\xfe\n", b"{}\n", b"[]\n", b"", b"x" * 300_000 + b"\n"])
async def test_garbage_at_the_door_is_answered_or_dropped(
    tmp_path: Path, commands: Commands, data: bytes
) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
            assert answer == b"" or b"control.request" in answer
    writer.close()
    assert await ask(tmp_path, "status") == {"backlog": 3}


async def test_one_who_hangs_up_before_the_answer_harms_nobody(tmp_path: Path, commands: Commands) -> None:
    _, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
    writer.write(b'{"command": "door"}\n')
    async with asyncio.timeout(DEADLINE_S):
        while commands.at_the_door == 0:
            await asyncio.sleep(0.01)
    writer.close()
    commands.open.set()
    assert await ask(tmp_path, "status") == {"backlog": 3}


def test_where_no_agent_runs_there_is_no_answer(tmp_path: Path) -> None:
    assert ask_agent(tmp_path, Request("status")) is None


def test_a_socket_left_behind_by_a_killed_agent_is_no_agent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "agent.sock"))
    assert ask_agent(tmp_path, Request("status")) is None


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "agent.sock"))
    commands = Commands()
    running = asyncio.create_task(Control(tmp_path, {"status": commands.status}).run())
    async with asyncio.timeout(DEADLINE_S):
        while await ask(tmp_path, "status") is None:
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_a_folder_too_deep_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with pytest.raises(ControlError, match="too long") as caught:
        Control(deep, {})
    assert caught.value.code == "config.value"
    with pytest.raises(ControlError) as asked:
        ask_agent(deep, Request("status"))
    assert asked.value.code == "control.unreachable"


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(ControlError) as caught:
        ask_agent(tmp_path / "data", Request("status"))
    assert caught.value.code == "control.unreachable"


def test_an_agent_that_dies_before_it_answers_is_said(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.sock"))
        listening.listen()

        async def die() -> None:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(None, ask_agent, tmp_path, Request("status"))
            peer, _ = await loop.run_in_executor(None, listening.accept)
            await loop.run_in_executor(None, peer.recv, 1000)
            peer.close()
            await asked

        with pytest.raises(ControlError) as caught:
            asyncio.run(die())
    assert caught.value.code in {"control.gone", "control.unreachable"}
