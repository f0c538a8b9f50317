"""The row: schedules by seed, and seeds replayed to see that a run is the same run every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proof.row import Part, Row, Task, Violation
from tests.proof.simulation.schedule import Verdict, run_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick

_SCHEDULES = 25
"""Of one task: a second or two."""
_TASKS_MIN = 40
"""Of few schedules: whoever stops at the first violation waits for its task."""
_REPLAYS = {True: 10, False: 3}
_TAIL = 60
"""Events shown of a schedule that went wrong."""
COVERS = (
    "protocol",
    "edge",
    "cloud/errors.py",
    "cloud/ingest",
    "cloud/ledger",
    "cloud/kit",
    "tests/proof/simulation",
)


def _split(count: int, seed: int) -> Sequence[Task]:
    size = min(_SCHEDULES, -(-count // _TASKS_MIN))
    shares = [(begin, min(begin + size, count)) for begin in range(0, count, size)]
    return [Task(end - begin, {"seed": seed, "numbers": (begin, end)}) for begin, end in shares]


def _run(task: Task, tick: Tick) -> Part:
    violations: list[Violation] = []
    figures: dict[str, int] = {}
    for number in range(*task.work["numbers"]):
        verdict = run_seed(f"{task.work['seed']}.{number}")
        violations += _violations(verdict)
        for name, value in verdict.figures.items():
            figures[name] = figures.get(name, 0) + value
        tick(1)
    return Part(task.count, violations, figures)


def _violations(verdict: Verdict) -> list[Violation]:
    """One a schedule: what follows from the first fault says little."""
    return [Violation(verdict.seed, "; ".join(verdict.faults[:3]))] if verdict.faults else []


def _replay(key: str) -> Part:
    verdict = run_seed(key)
    if verdict.faults:
        print("\n".join(verdict.tail[-_TAIL:]))
    return Part(1, [Violation(key, fault) for fault in verdict.faults], dict(verdict.figures))


def _split_seeds(count: int, seed: int) -> Sequence[Task]:
    seeds = max(count // _times(count), 1)
    return [
        Task(_times(count), {"seed": f"{seed}.{number}", "times": _times(count)}) for number in range(seeds)
    ]


def _times(count: int) -> int:
    return _REPLAYS[count >= 100]


def _run_again(task: Task, tick: Tick) -> Part:
    """One seed, several times: a run is its trace."""
    digests: list[str] = []
    for _ in range(task.work["times"]):
        digests.append(run_seed(task.work["seed"]).digest)
        tick(1)
    return Part(len(digests), _differing(task.work["seed"], digests), {"seeds": 1})


def _differing(seed: str, digests: Sequence[str]) -> list[Violation]:
    different = sorted(set(digests))
    return [Violation(seed, f"{len(different)} different runs: {different}")] if len(different) > 1 else []


def _replay_again(key: str) -> Part:
    digests = [run_seed(key).digest for _ in range(_REPLAYS[True])]
    return Part(len(digests), _differing(key, digests))


SCHEDULES = Row(
    id="R5",
    name="simulated schedules of the whole",
    unit="schedules",
    covers=COVERS,
    shallow=1_000,
    deep=100_000,
    split=_split,
    run=_run,
    replay=_replay,
)

SAME_RUN = Row(
    id="R5b",
    name="schedules replayed byte for byte",
    unit="runs",
    covers=COVERS,
    shallow=15,
    deep=1_000,
    split=_split_seeds,
    run=_run_again,
    replay=_replay_again,
)
