"""What a row of the scorecard is: a promise, how it is put to the test, and what came of it.

A row cuts its work into tasks that other processes can run; the same seed gives the same tasks. Every
violation carries a key by which that one case is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Figures = Mapping[str, int | float | str]
Tick = Callable[[int], None]
"""Called by running tasks: so many more cases are done."""


PROGRAMS = ("edge", "cloud", "protocol", "deploy/local")
"""What every row covers that starts the gateway's agent and the cloud as processes."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: `what` for people, `key` to run the case again."""

    key: str
    what: str


@dataclass(frozen=True, slots=True)
class Task:
    """A share of a row's work. `count` cases of it; `work` is what `Row.run` makes of it (picklable)."""

    count: int
    work: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """What a task found. `count` cases were really run; `figures` are merged by `Row.merge`."""

    count: int
    violations: Sequence[Violation] = ()
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Keyed:
    """`run` and `replay` of a row whose tasks are one case each, named by `key` in the task's work."""

    judge: Callable[[str, Tick], Part]

    def run(self, task: Task, tick: Tick) -> Part:
        """The case of this task."""
        return self.judge(task.work["key"], tick)

    def replay(self, key: str) -> Part:
        """The same case again, for one who only wants to know."""
        return self.judge(key, lambda _: None)


def keep_last(parts: Sequence[Figures]) -> Figures:
    """Figures of a row that runs as one task."""
    return dict(parts[-1]) if parts else {}


def add_up(parts: Sequence[Figures]) -> Figures:
    """Figures that are counters."""
    total: dict[str, int | float | str] = {}
    for part in parts:
        for name, value in part.items():
            before = total.get(name, 0)
            if isinstance(value, str) or isinstance(before, str):
                total[name] = value
            else:
                total[name] = before + value
    return total


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the scorecard.

    `split(count, seed)` gives tasks; `run(task, tick)` runs one, in any process; `replay(key)` runs the case
    of a violation again. `covers`: folders and files on which the result depends; while none of them changes
    (tests in them aside) the result stands. That is all it imports and all that runs in processes it starts,
    but not the frame (this file, the runner, the scorecard and its command line): the frame carries cases to
    processes and adds up what they found, it decides neither what a case is nor whether a promise was broken.
    `shallow` and `deep` are the counts by name. `at_once`: tasks that may run side by side, None for as many
    as there are cores (rows of real processes say how many they bear).
    """

    id: str
    name: str
    unit: str
    covers: tuple[str, ...]
    shallow: int
    deep: int
    split: Callable[[int, int], Sequence[Task]]
    run: Callable[[Task, Tick], Part]
    replay: Callable[[str], Part]
    merge: Callable[[Sequence[Figures]], Figures] = add_up
    at_once: int | None = None
