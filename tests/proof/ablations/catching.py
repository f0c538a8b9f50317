"""The program that runs in a copy of the tree: a row until it breaks as expected, or cases of it again.

`python -m tests.proof.ablations.catching` reads an order as JSON and answers with JSON. It refuses to run on
any code but that of the folder it is started in, where an installed package would be found as well.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.proof.row import Row, Violation

ROWS: Final = {
    "R1": "tests.proof.disk.crashes:CRASHES",
    "R2": "tests.proof.disk.faults:FAULTS",
    "R3": "tests.proof.full_disk.cycles:FULL_DISK",
    "R4": "tests.proof.disk.flips:FLIPS",
    "R5": "tests.proof.simulation.schedules:SCHEDULES",
    "R7": "tests.proof.histories.deliveries:DELIVERIES",
    "R8": "tests.proof.histories.equivalence:EQUIVALENCE",
    "R14": "tests.proof.clocks.clocks:CLOCKS",
    "R17": "tests.proof.breakers:BREAKER",
    "R21": "tests.proof.restore.row:RESTORE",
    "SEC": "tests.proof.link_security.matrix:LINK_SECURITY",
}
"""Where each row is: to import all of them takes longer than some need to run."""
SEED: Final = 1
_SEEDED: Final = re.compile(rf"{SEED}\.(\d+)")
"""Keys of rows whose cases are the seeds themselves, in order."""


def row_of(name: str) -> Row:
    """A row by its name."""
    module, _, attribute = ROWS[name].partition(":")
    row: Row = getattr(importlib.import_module(module), attribute)
    return row


def catch(name: str, cases: int, says: str) -> dict[str, Any]:
    """Run the row until a violation says what is expected; `cases` in the answer is how many it took."""
    row, done, others = row_of(name), 0, ""
    for task in row.split(cases, SEED):
        part = row.run(task, lambda _: None)
        for violation in part.violations:
            if re.search(says, violation.what):
                cases_run = _position(violation, done + part.count)
                return {"key": violation.key, "what": violation.what, "cases": cases_run}
            others = others or violation.what
        done += part.count
    return {"key": None, "what": others, "cases": done}


def _position(violation: Violation, at_most: int) -> int:
    """How many cases were run up to this one; rows without a number in their keys say so by the task."""
    match = _SEEDED.fullmatch(violation.key)
    return int(match[1]) + 1 if match else at_most


def again(cases: list[tuple[str, str]]) -> dict[str, Any]:
    """Run these cases of rows, each by its key; what is broken in them."""
    broken = {}
    for name, key in cases:
        part = row_of(name).replay(key)
        if part.violations:
            broken[f"{name}:{key}"] = part.violations[0].what
    return {"broken": broken}


def refuse_other_code() -> None:
    """End unless the product's code is that of this folder."""
    here = Path.cwd().resolve()
    for name in ("edge", "cloud", "protocol", "tests.proof"):
        found = Path(str(importlib.import_module(name).__file__)).resolve()
        if not found.is_relative_to(here):
            raise SystemExit(f"{name} is {found}, not of the copy in {here}")


def main() -> None:
    """Do what the standard input says."""
    refuse_other_code()
    order = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr), answers:
        answer = again(order["again"]) if "again" in order else catch(**order["catch"])
        json.dump(answer, answers)


if __name__ == "__main__":
    main()
