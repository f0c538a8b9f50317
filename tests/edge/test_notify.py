from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from edge.health.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_ready_alive_and_stopping_are_said_as_systemd_reads_them(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("all is well")
    assert heard(manager) == ["READY=1", "STATUS=all is well"]
    notifier.alive("backlog 3")
    assert heard(manager) == ["WATCHDOG=1", "STATUS=backlog 3"]
    notifier.stopping()
    assert heard(manager) == ["STOPPING=1"]


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        name = f"reloop-test-{os.getpid()}"
        sock.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).stopping()
        assert heard(sock) == ["STOPPING=1"]


def test_what_a_stranger_said_never_becomes_a_line_of_its_own(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.alive("offline (refused: <h1>\nMAINPID=1\r\nSTOPPING=1)" + "x" * 5000)
    lines = heard(manager)
    assert len(lines) == 2
    assert lines[1].startswith("STATUS=offline (refused: <h1> MAINPID=1 STOPPING=1)")
    assert len(lines[1]) < 500


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready("nobody listens")
    assert notifier.watchdog_s is None


def test_a_manager_that_restarts_is_spoken_to_again(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    notifier.alive("nobody there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        notifier.alive("there again")
        assert heard(sock) == ["WATCHDOG=1", "STATUS=there again"]


def test_a_manager_that_does_not_read_never_holds_us_up(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(10_000):  # far more than the kernel queues for a unix datagram socket
        notifier.alive("and on we go")
    assert heard(manager)[0] == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environment).watchdog_s == seconds
