"""The breaker against its reference model, over long walks with the wall clock thrown about."""

from __future__ import annotations

import datetime
import random
from typing import TYPE_CHECKING

import pytest
import time_machine

from tests.proof.row import Part, Row, Task, Violation
from tests.protocol.breaker_model import Pair, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick

STEPS = 500
"""Of one walk: the model remembers everything, so that long ones are slow."""
_WALKS = 100


def _split(count: int, seed: int) -> Sequence[Task]:
    walks = -(-count // STEPS)
    shares = [(begin, min(begin + _WALKS, walks)) for begin in range(0, walks, _WALKS)]
    return [Task(STEPS * (end - begin), {"seed": seed, "walks": (begin, end)}) for begin, end in shares]


def _run(task: Task, tick: Tick) -> Part:
    count, taken = 0, 0
    violations: list[Violation] = []
    for number in range(*task.work["walks"]):
        part = _walk(f"{task.work['seed']}.{number}")
        count += part.count
        violations += part.violations
        taken += int(part.figures["transitions"])
        tick(part.count)
    return Part(count, violations, {"transitions": taken})


def _walk(key: str) -> Part:
    """One walk; every step is compared, and the wall clock steps by up to ten years now and then."""
    pair, chance = Pair(), random.Random(key)
    with time_machine.travel(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), tick=False) as wall:
        for step in range(STEPS):
            try:
                if chance.random() < 0.05:
                    year = 2026 + chance.randint(-10, 10)
                    wall.move_to(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC))
                walk(pair, chance)
                pair.compare()
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever goes wrong is a finding
                found = Violation(key, f"step {step}: {type(error).__name__}: {error}")
                return Part(step + 1, [found], {"transitions": len(pair.heard)})
    return Part(STEPS, (), {"transitions": len(pair.heard)})


BREAKER = Row(
    id="R17",
    name="breaker against its reference model",
    unit="steps",
    covers=(
        "protocol/__init__.py",
        "protocol/breaker.py",
        "protocol/errors.py",
        "tests/proof/breakers.py",
        "tests/protocol/breaker_model.py",
    ),
    shallow=50_000,
    deep=5_000_000,
    split=_split,
    run=_run,
    replay=_walk,
)
