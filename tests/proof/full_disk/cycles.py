"""R3. The gateway's disk fills up, from outside and by weighings, and is emptied again, over and over.

A real agent on a small file system of its own, a person with bags at its kiosk. Intake stops where everybody
sees it, nothing that was shown as saved is lost, and it goes on with nobody's help once there is room.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick

_CYCLES_A_TASK = 50
_PATIENCE_S = 3_600.0


def _split(count: int, seed: int) -> Sequence[Task]:
    begins = range(0, count, _CYCLES_A_TASK)
    shares = [min(_CYCLES_A_TASK, count - begin) for begin in begins]
    return [Task(share, {"key": f"{share}.{seed}.{number}"}) for number, share in enumerate(shares)]


def cycled(key: str, tick: Tick) -> Part:
    """As many cycles as the key begins with, in a mount namespace of their own; what was found."""
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        count, found, code = _inside(folder, key, tick)
    if found is None:
        raise RuntimeError(f"the cycles {key} ended with {code} and said nothing; their message is above")
    return Part(count, [Violation(key, what) for what in found["findings"]], found["figures"])


def _inside(folder: str, key: str, tick: Tick) -> tuple[int, Any, int]:
    """Run the program for the inside; how many cycles are done, what was found, and how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = ["unshare", "-Urm", "--", sys.executable, "-m", "tests.proof.full_disk.inside", folder, key]
    count, found = 0, None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                said = json.loads(line)
                if "done" in said:
                    count += said["done"]
                    tick(said["done"])
                else:
                    found = said
            return count, found, child.wait(_PATIENCE_S)
        finally:
            child.terminate()  # if it still runs: it stops what it has started, and is waited for


FULL_DISK = Row(
    id="R3",
    name="a disk that fills up and is emptied again",
    unit="cycles",
    covers=(*PROGRAMS, "tests/proof/full_disk", "tests/proof/processes/people.py", "tests/system/exports.py"),
    shallow=5,
    deep=200,
    split=_split,
    run=Keyed(cycled).run,
    replay=Keyed(cycled).replay,
    at_once=2,
)  # fmt: skip
