"""The row: each safeguard is taken away in turn, and the proof has to notice.

An ablation is caught if a row breaks in a copy of the tree without the safeguard, and the very same case
holds in a copy that is whole. A patch that does not apply any more is a violation as well.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.proof.ablations.catching import ROWS, row_of
from tests.proof.ablations.patches import PatchError, ablations, named
from tests.proof.ablations.trees import copy_tree, without
from tests.proof.disk.crashes import scratch
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.proof.ablations.patches import Ablation
    from tests.proof.row import Figures, Tick

_SHARES: Final = 2
"""Tasks for few ablations: as many as a small machine has cores; each makes a whole copy."""
_MANY: Final = 5
"""Ablations of one task, of many."""
_DEADLINE_S: Final = 600.0
"""A row that runs longer in a copy has not caught anything."""


class ChildError(Exception):
    """The program in a copy did not come to an answer."""


@dataclass(frozen=True, slots=True)
class Caught:
    """By which case of which row, after how many cases."""

    ablation: Ablation
    key: str
    what: str
    cases: int


def ask(tree: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Have the program in this tree do something. Raises ChildError."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.proof.ablations.catching"],
            input=json.dumps(order), capture_output=True, text=True, cwd=tree, env=environment,
            timeout=_DEADLINE_S, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"it did not end within {_DEADLINE_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise ChildError(f"it fell over: {error.stderr.strip()[-600:]}") from error
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def try_one(ablation: Ablation, whole: Path, folder: Path) -> Caught | str:
    """Take one safeguard away: who caught it, or why nobody did."""
    try:
        tree = without(ablation, whole, folder / ablation.name)
        order = {"name": ablation.row, "cases": ablation.cases, "says": ablation.says}
        answer = ask(tree, {"catch": order})
    except PatchError as error:
        return str(error)
    except ChildError as error:
        return f"{ablation.row} came to no verdict: {error}"
    if answer["key"] is None:
        others = f"; what it found instead: {answer['what']}" if answer["what"] else ""
        return f"{ablation.row} found nothing like {ablation.says!r} in {answer['cases']} cases{others}"
    return Caught(ablation, answer["key"], answer["what"], answer["cases"])


def hold(caught: Sequence[Caught], whole: Path) -> Iterator[str]:
    """What is broken even with every safeguard in place, of the cases by which ablations were caught."""
    try:
        broken = ask(whole, {"again": [(one.ablation.row, one.key) for one in caught]})["broken"]
    except ChildError as error:
        yield f"the whole copy came to no verdict: {error}"
        return
    for case, what in broken.items():
        yield f"{case} is broken with every safeguard in place, so it catches nothing: {what}"


def _split(count: int, seed: int) -> Sequence[Task]:
    names = [ablation.name for ablation in ablations()[:count]]
    tasks = max(_SHARES, -(-len(names) // _MANY))
    shares = [names[at::tasks] for at in range(tasks)]
    return [Task(len(share), {"names": share}) for share in shares if share]


def _run(task: Task, tick: Tick) -> Part:
    caught: list[Caught] = []
    violations: list[Violation] = []
    with scratch() as folder:
        whole = copy_tree(folder / "whole")
        for name in task.work["names"]:
            found = try_one(named(name), whole, folder)
            if isinstance(found, Caught):
                caught.append(found)
            else:
                violations.append(Violation(name, f"without {name}: {found}"))
            tick(1)
        violations += [Violation(caught[0].ablation.name, what) for what in hold(caught, whole)]
    return Part(task.count, violations, {one.ablation.name: _figure(one) for one in caught})


def _figure(one: Caught) -> str:
    return f"{one.ablation.row} {one.cases}"


def _merged(parts: Sequence[Figures]) -> Figures:
    """How many were caught, by which rows, and how long it took where cases are seeds of schedules."""
    by = [str(value).split() for part in parts for value in part.values()]
    figures: dict[str, int | float | str] = {"caught": len(by)}
    for row in ROWS:
        if number := sum(name == row for name, _ in by):
            figures[f"by {row}"] = number
    seeds = [int(cases) for name, cases in by if name == "R5"]
    if seeds:
        figures["median seeds of R5"] = statistics.median(seeds)
        figures["most seeds of R5"] = max(seeds)
    return figures


def _replay(key: str) -> Part:
    with scratch() as folder:
        whole = copy_tree(folder / "whole")
        found = try_one(named(key), whole, folder)
        if isinstance(found, Caught):
            print(f"caught by {found.ablation.row}:{found.key}: {found.what}")
            return Part(1, [Violation(key, what) for what in hold([found], whole)])
        return Part(1, [Violation(key, f"without {key}: {found}")])


def _covers() -> tuple[str, ...]:
    used = {ablation.row for ablation in ablations()}
    found = {path for row in used for path in row_of(row).covers}
    return tuple(sorted({"edge", "cloud", "protocol", "tests/proof/ablations"} | found))


ABLATIONS = Row(
    id="R6",
    name="safeguards taken away, one at a time",
    unit="safeguards",
    covers=_covers(),
    shallow=10,
    deep=len(ablations()),
    split=_split,
    run=_run,
    replay=_replay,
    merge=_merged,
)
