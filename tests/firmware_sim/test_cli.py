"""The command line as a person and a parent process meet it: run as a real process."""

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from .support import Client, eventually

PROGRAM = (sys.executable, "-m", "firmware_sim")


async def run(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


async def test_a_scale_prints_where_to_connect_runs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "scale", "--dialect", "cas18", "--link", str(tmp_path / "scale"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    facts = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert facts == {
        "port": str(tmp_path / "scale"),
        "dialect": "cas18",
        "control": str(tmp_path / "scale.sock"),
    }
    with Client(facts["port"]) as client:
        reader, writer = await asyncio.open_unix_connection(facts["control"])
        writer.write(b'{"cmd":"place","mass_g":1234}\n')
        assert json.loads(await reader.readline()) == {"ok": True}
        await client.until(b"ST,GS,00001.23kg\r\n", deadline_s=10)
        writer.close()
        await writer.wait_closed()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_scanner_without_link_cleans_up_its_own_folder() -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "scanner", "--terminator", "tab", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    facts = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    port = Path(facts["port"])
    await eventually(port.exists)
    with Client(port) as client, socket.socket(socket.AF_UNIX) as control:
        control.connect(facts["control"])
        await asyncio.sleep(0.1)
        control.sendall(b'{"cmd":"tag","id":"010063E9AE"}\n')
        await client.until(b"\x02010063E9AE25\x03")
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert not port.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (("scale", "--dialect", "morse"), "sim.unknown_dialect", 2),
        (("scale", "--baud", "9601"), "sim.bad_profile", 2),
        (("scale", "--division-g", "7"), "sim.bad_profile", 2),
        (("scale", "--link", "/nowhere/at/all"), "sim.bad_link", 2),
        (("scanner", "--terminator", "bell"), "sim.bad_command", 2),
        (("site", "--scenario", "none", "--kiosk", "http://x", "--data", "{tmp}"), "scenario.unreadable", 2),
        (("site", "--scenario", "quiet_day", "--kiosk", "ftp://x", "--data", "{tmp}"), "sim.bad_kiosk", 2),
        (
            ("site", "--scenario", "quiet_day", "--kiosk", "http://x", "--data", "{tmp}", "--seconds", "0"),
            "sim.bad_profile",
            2,
        ),
        (
            ("site", "--scenario", "quiet_day", "--kiosk", "http://x", "--data", "{tmp}", "--cards", "none"),
            "scenario.unreadable",
            2,
        ),
    ],
)
async def test_bad_input_is_one_line_on_stderr_with_its_code(
    tmp_path: Path, arguments: tuple[str, ...], code: str, status: int
) -> None:
    returned, out, err = await run(*(each.replace("{tmp}", str(tmp_path)) for each in arguments))
    assert (returned, out) == (status, "")
    assert err.startswith(f"reloop-sim: error [{code}]: ")
    assert err.count("\n") == 1


async def test_help_teaches_with_examples() -> None:
    for command in ("scale", "scanner", "site"):
        returned, out, _ = await run(command, "--help")
        assert returned == 0
        assert "Examples:" in out
        assert f"reloop-sim {command} --" in out


async def test_an_unknown_option_is_refused() -> None:
    returned, _, err = await run("scale", "--colour", "red")
    assert returned == 2
    assert "--colour" in err
