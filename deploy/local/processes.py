"""Child processes: started with a log file, waited for, stopped or killed by process id."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_STOP_S = 15.0
_LOOK_S = 0.05
_PORTS = range(12_000, 32_000)
_PORT_TRIES_MAX = 100


class StartError(RuntimeError):
    """A part did not come up; the message ends with the tail of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now.

    From below those that the kernel gives to outgoing connections: else one of these may sit on it when its
    owner starts, or comes back after it was killed. Raises StartError if none is found.
    """
    for _ in range(_PORT_TRIES_MAX):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise StartError(f"no free port among {_PORT_TRIES_MAX} tried from {_PORTS.start} to {_PORTS.stop - 1}")


def program(name: str) -> str:
    """The path of one of our commands, beside the running Python."""
    return str(Path(sys.executable).parent / name)


def wait_until(ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look until `ready()`; raises TimeoutError naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {timeout_s:.0f} s")
        time.sleep(_LOOK_S)


class Process:
    """One child in a session of its own. `environment` is added to ours; output goes to `log`."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running child. Raises RuntimeError if it is not running."""
        if self._child is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child is there now."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it; output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def await_ready(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until `ready()`. Raises StartError if the child ends or the time passes."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise StartError(f"{self.name} ended while starting:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not ready within {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(_LOOK_S)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM) without waiting."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self) -> int | None:
        """Ask it to end (SIGTERM), then insist; returns its exit code, None if it was not running."""
        self.terminate()
        child, self._child = self._child, None
        if child is None:
            return None
        try:
            return child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def kill(self) -> None:
        """SIGKILL, and wait for the kernel to be done with it."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no output)"


def listening(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0
