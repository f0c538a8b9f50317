"""What can be killed in a town, by process id and without warning, and who starts it again.

Agents, broker and cloud processes are started again as systemd would; a killed Postgres is its owner's to
start again, and nobody helps.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.processes import Process, listening

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.stack import Cloud, Site
    from tests.proof.processes.town import Town

_RUNS = b"ReLoop cloud runs"
_READY_LINE = 7
"""Of postmaster.pid: the server's state."""


@dataclass(frozen=True, slots=True)
class Victim:
    """`pid()` is None while nothing is there to be killed; `ready()` says that it serves again.

    Unless `supervised` somebody else starts it again. `site` is who is affected, None for all.
    """

    kind: str
    pid: Callable[[], int | None]
    reap: Callable[[], None]
    start: Callable[[], None]
    ready: Callable[[], bool]
    site: str | None = None
    supervised: bool = True

    def strike(self) -> bool:
        """SIGKILL; False if nothing was there to be killed."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def victims_of(town: Town) -> list[Victim]:
    """Everything in the town that can be killed."""
    cloud = town.stack.cloud
    parts = [_part(role, process) for role, process in town.parts.items()]
    return [*(_agent(site) for site in town.stack.sites), _broker(cloud), _postgres(cloud), *parts]


def _pid_of(process: Process) -> Callable[[], int | None]:
    return lambda: process.pid if process.running else None


def _agent(site: Site) -> Victim:
    def ready() -> bool:
        return listening(site.kiosk_port)

    return Victim("agent", _pid_of(site.agent), site.agent.kill, site.agent.start, ready, site.name)


def _broker(cloud: Cloud) -> Victim:
    broker = cloud.broker
    return Victim(
        "broker", _pid_of(broker.process), broker.process.kill, broker.start, lambda: listening(broker.port)
    )


def _part(role: str, process: Process) -> Victim:
    before = 0  # bytes of the log written by those who died

    def start() -> None:
        nonlocal before
        before = process.log.stat().st_size
        process.start()

    def ready() -> bool:
        return _RUNS in process.log.read_bytes()[before:]

    return Victim(role, _pid_of(process), process.kill, start, ready)


def _postgres(cloud: Cloud) -> Victim:
    file = cloud.folder / "cloud" / "postgres" / "cluster" / "postmaster.pid"

    def look() -> list[str]:
        try:
            return file.read_text().splitlines()
        except FileNotFoundError:
            return []

    def pid() -> int | None:
        lines = look()
        number = int(lines[0]) if lines else 0
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            return None
        return number if str(file.parent).encode() in command else None

    def ready() -> bool:
        lines = look()
        return pid() is not None and len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"

    return Victim("postgres", pid, _nothing, _nothing, ready, supervised=False)


def _nothing() -> None:
    """Its owner starts it again."""
