"""A row that is ended from outside leaves nothing running and nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import listening
from deploy.local.stack import Cloud, Stack
from tests.proof.scorecard import ROOT

UP_S = 120.0
DOWN_S = 120.0
WORKERS = 2
CLIENTS = 5
"""Of one of its servers: the ledger's, and two for each ingest."""
_COMMAND = (sys.executable, "-m", "tests.proof", "R8", "--depth", "1000000", "--no-keep", "--again")
"""Each of its workers runs a Postgres in a temporary folder of its own."""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_row_ended_from_outside_leaves_nothing_running_and_nothing_behind(how: signal.Signals) -> None:
    with subprocess.Popen(_COMMAND, cwd=ROOT, stderr=subprocess.DEVNULL) as child:
        program = psutil.Process(child.pid)
        started, clusters = _when_up(program)
        child.send_signal(how)
        _, alive = psutil.wait_procs([program, *started], timeout=DOWN_S)
        for each in alive:
            each.kill()
    assert len(clusters) == WORKERS, "the row did not come up"
    assert alive == []
    assert [each for each in clusters if each.exists()] == []


def _when_up(program: psutil.Process) -> tuple[list[psutil.Process], set[Path]]:
    """All that it has started, and its servers' folders, once each worker is in the middle of its work."""
    ends_s = time.monotonic() + UP_S
    while time.monotonic() < ends_s and program.is_running():
        started = program.children(recursive=True)
        commands = [command for command in map(_command, started) if command]
        servers = {Path(each[each.index("-D") + 1]) for each in commands if "-D" in each}
        clients = sum(each[0].startswith("postgres: reloop reloop") for each in commands)
        if len(servers) == WORKERS and clients >= CLIENTS * WORKERS:
            break
        time.sleep(0.05)
    return started, servers


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class Interrupted(Cloud):
    def start_cloud(self) -> None:
        raise KeyboardInterrupt


def test_a_stack_that_is_interrupted_while_it_starts_leaves_no_broker_running() -> None:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        stack = Stack(Path(name))
        stack.cloud = Interrupted(Path(name))
        with pytest.raises(KeyboardInterrupt), stack:
            pass
        assert not listening(stack.cloud.broker.port)
