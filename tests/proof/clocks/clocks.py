"""The row: every named case, and as many random lives of clocks as are asked for besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proof.clocks.bars import errors_of
from tests.proof.clocks.cases import all_cases
from tests.proof.clocks.run import STORED, run_cases
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick

_NAMED = len(all_cases())
_SHARES = 2
"""Tasks that the named cases are dealt to; each starts a Postgres."""
_LIVES = 2_000
"""Random lives a task."""
_STORED_OF, _STORED_MAX = 150, 2_000
"""One in so many cases is a random life that goes through the database; at most so many."""
_LIFE = "life/"
_TICK = 50


def _split(count: int, seed: int) -> Sequence[Task]:
    tasks = []
    for share in range(_SHARES):
        numbers = list(range(share, _NAMED, _SHARES))
        stored = [
            f"{seed}.{number}" for number in range(share, min(count // _STORED_OF, _STORED_MAX), _SHARES)
        ]
        tasks.append(Task(len(numbers) + len(stored), {"cases": numbers, "stored": stored}))
    lives = max(count - sum(task.count for task in tasks), 0)
    for begin in range(0, lives, _LIVES):
        end = min(begin + _LIVES, lives)
        tasks.append(Task(end - begin, {"seed": seed, "lives": (begin, end)}))
    return tasks


def _run(task: Task, tick: Tick) -> Part:
    if "cases" in task.work:
        return _cases(task.work["cases"], tick, task.work["stored"])
    begin, end = task.work["lives"]
    return _lives(task.work["seed"], range(begin, end), tick)


def _cases(numbers: Sequence[int], tick: Tick, stored: Sequence[str] = ()) -> Part:
    every = all_cases()
    tally = run_cases([(number, every[number]) for number in numbers], tick, stored)
    found = [Violation(key, what) for key, what in tally.wrong]
    figures = {
        "named cases": len(numbers),
        "weighings": tally.weighings,
        "random lives": len(stored),
        "error bars": tally.bars,
    }
    return Part(tally.cases, found, figures)


def _lives(seed: int, numbers: Sequence[int], tick: Tick) -> Part:
    count, bars = 0, 0
    found: list[Violation] = []
    for number in numbers:
        part = _life(f"{seed}.{number}")
        count += 1
        bars += int(part.figures["error bars"])
        found += part.violations
        if count % _TICK == 0:
            tick(_TICK)
    tick(count % _TICK)
    return Part(count, found, {"random lives": count, "error bars": bars})


def _life(key: str) -> Part:
    """One life; every fourth gateway's clock lies about being synchronised now and then."""
    liar = int(key.rpartition(".")[2]) % 4 == 3
    try:
        bars, wrong, _ = errors_of(key, liar=liar)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        bars, wrong = 0, [f"{type(error).__name__}: {error}"]
    return Part(1, [Violation(_LIFE + key, what) for what in wrong[:3]], {"error bars": bars})


def _replay(key: str) -> Part:
    if key.startswith(_LIFE):
        return _life(key.removeprefix(_LIFE))
    if key.startswith(STORED):
        return _cases((), lambda _: None, [key.removeprefix(STORED)])
    every = all_cases()
    numbers = [number for number, case in enumerate(every) if case.key == key]
    if not numbers:  # what was wrong of all together
        numbers = list(range(_NAMED))
    return _cases(numbers, lambda _: None)


CLOCKS = Row(
    id="R14",
    name="clocks that are wrong, and times that are repaired",
    unit="cases",
    covers=(
        "protocol",
        "edge",
        "cloud/clocks",
        "cloud/errors.py",
        "cloud/ingest",
        "cloud/kit",
        "cloud/ledger",
        "cloud/weighings",
        "cloud/worker/times.py",
        "tests/cloud/hand_clock.py",
        "tests/edge/station/bench.py",
        "tests/proof/clocks",
    ),
    shallow=_NAMED + 2_000,
    deep=_NAMED + 100_000,
    split=_split,
    run=_run,
    replay=_replay,
)
