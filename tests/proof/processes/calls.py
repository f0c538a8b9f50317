"""Kills a gateway's agent at one system call after the other: each that writes, syncs or sends.

strace delivers SIGKILL in the middle of the k-th such call of whichever thread gets there first, from the
agent's first breath on: opening the journal, weighing, sending, taking acks. Owns which calls, and when.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from deploy.local.processes import Process, StartError, program, wait_until
from tests.proof.processes.kills import hash_of, merge
from tests.proof.processes.town import FAILURES, Kept, open_town
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.local.stack import Site
    from tests.proof.row import Tick

CALLS = "pwrite64,fsync,fdatasync,ftruncate,rename,unlink,sendto,sendmsg"
"""What changes the disk, and what is told to others."""
CALLS_MAX = 150
"""Deep into the third visit; then it begins again, on a journal that is longer."""
KILLS = 25
"""Of one town."""
REACHED_S = 90.0
"""Under strace everything is slow; a call that is not reached by then counts for nothing."""
_LOOK_S = 0.02


def _split(count: int, seed: int) -> Sequence[Task]:
    """Calls from a place of the seed's on, each in its turn, so that many kills meet every call."""
    tasks, offset = [], hash_of(str(seed))
    for begin in range(0, count, KILLS):
        share, first = min(KILLS, count - begin), 1 + (begin + offset) % CALLS_MAX
        tasks.append(Task(share, {"key": f"{seed}.{first}.{share}"}))
    return tasks


def _calls(key: str, tick: Tick) -> Part:
    _, first, count = (int(each) for each in key.split("."))
    with Kept() as kept:
        found: list[str] = []
        figures: dict[str, int | float | str] = {}
        killed = 0
        try:
            with open_town(kept.path, "all", sites=1, seed=hash_of(key)) as town:
                (site,) = town.stack.sites
                for number in range(first, first + count):
                    reached = _kill_at(site, 1 + (number - 1) % CALLS_MAX)
                    killed += reached
                    tick(int(reached))
                    town.look_after_people()
                site.start()
                saved = town.saved
                wait_until(lambda: town.saved > saved, REACHED_S, "nobody could weigh after the last kill")
                town.send_people_home()
                figures = {"drain_s_max": round(town.drain(), 1), "weighings": town.saved}
                found = town.judge()
        except FAILURES as error:
            found.append(f"{type(error).__name__}: {error}")
        kept.broken = bool(found)
        where = f" (logs and journals are kept in {kept.path})"
        return Part(killed, [Violation(key, each + where) for each in found], figures)


def _kill_at(site: Site, call: int) -> bool:
    """Let the agent live until this call; whether it came to it."""
    site.agent.stop()
    traced = Process(
        f"agent {site.name} until call {call}",
        [
            _strace(), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
            "-e", f"inject={CALLS}:signal=SIGKILL:when={call}",
            program("reloop-edge"), "run", "--config", str(site.config),
        ],
        site.folder / "agent.log",
    )  # fmt: skip
    traced.start()
    ends_s = time.monotonic() + REACHED_S
    while traced.running and time.monotonic() < ends_s:
        time.sleep(_LOOK_S)
    reached = not traced.running
    with contextlib.suppress(ProcessLookupError):
        os.killpg(traced.pid, signal.SIGKILL)  # strace asked to end would leave its agent behind
    traced.kill()
    return reached


def _strace() -> str:
    found = shutil.which("strace")
    if found is None:
        raise StartError("strace is not installed; run: deploy/setup.sh programs")
    return found


CALLED = Row(
    id="R10",
    name="an agent killed at each system call that writes, syncs or sends",
    unit="kills",
    covers=(
        *PROGRAMS, "tests/proof/processes/calls.py", "tests/proof/processes/kills.py",
        "tests/proof/processes/people.py", "tests/proof/processes/recovery.py",
        "tests/proof/processes/town.py", "tests/proof/processes/victims.py", "tests/system/exports.py",
    ),
    shallow=5,
    deep=200,
    split=_split,
    run=Keyed(_calls).run,
    replay=Keyed(_calls).replay,
    merge=merge,
    at_once=2,
)  # fmt: skip
