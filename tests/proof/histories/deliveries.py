"""The delivery session over any network: long random walks of gateways, frames, acks, restarts and backups.

The world is the one of the protocol's own tests: hypothesis looks there for small failures, this for rare.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.proof.row import Part, Row, Task, Violation
from tests.protocol.delivery_world import (
    CLOUD_RESTORED,
    EPOCH_ENDED,
    JOURNAL_COPIED,
    NETWORK,
    NETWORK_MAX,
    World,
    happen,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.proof.row import Tick

LENGTHS = (20, 50, 200)
"""Events of one walk, by turns; then the faults stop and everything must arrive."""
_ROUND = 9
"""Walks that go through every regime and every length once."""
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Regime:
    """Which faults strike in a walk and how often each, and whether order and completeness are promised.

    Where the cloud goes back, journals are copied and epochs end at once, what comes again comes out of turn,
    and what a lost device had acknowledged is gone: what anybody still holds is applied, that is promised.
    """

    weights: Mapping[str, int]
    complete: bool


REGIMES = (
    Regime(NETWORK | CLOUD_RESTORED, complete=True),
    Regime(NETWORK | JOURNAL_COPIED, complete=True),
    Regime(NETWORK | CLOUD_RESTORED | JOURNAL_COPIED | EPOCH_ENDED, complete=False),
)


def _split(count: int, seed: int) -> Sequence[Task]:
    steps = sum(LENGTHS) * len(REGIMES)
    rounds = -(-count // steps)
    share = min(_ROUNDS, -(-rounds // 2))  # small counts too keep two cores busy
    begins = range(0, rounds, share)
    ends = [min(begin + share, rounds) for begin in begins]
    return [
        Task(steps * (end - begin), {"seed": seed, "walks": (begin * _ROUND, end * _ROUND)})
        for begin, end in zip(begins, ends, strict=True)
    ]


def _run(task: Task, tick: Tick) -> Part:
    count = applied = 0
    violations: list[Violation] = []
    for number in range(*task.work["walks"]):
        part = walk(f"{task.work['seed']}.{number}")
        count += part.count
        applied += int(part.figures["records applied"])
        violations += part.violations
        tick(part.count)
    return Part(count, violations, {"records applied": applied})


def walk(key: str) -> Part:
    """One walk; the world itself checks that nothing is applied twice or out of its place."""
    chance, number = random.Random(key), int(key.rpartition(".")[2])
    regime, length = REGIMES[number % len(REGIMES)], LENGTHS[number // len(REGIMES) % len(LENGTHS)]
    events, weights = list(regime.weights), list(regime.weights.values())
    world, done = World(), 0
    try:
        while done < length:
            (event,) = chance.choices(events, weights)
            done += happen(world, event, chance.randrange(NETWORK_MAX))
        world.calm(patient=not regime.complete)
        if regime.complete:
            world.check_order()
            world.check_complete()
        for gateway in world.gateways:
            world.check_kept(gateway)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        found = Violation(key, f"after {done} steps: {type(error).__name__}: {error}")
        return Part(done, [found], {"records applied": len(world.cloud.applied)})
    return Part(done, (), {"records applied": len(world.cloud.applied)})


DELIVERIES = Row(
    id="R7",
    name="delivery session over any network",
    unit="steps",
    covers=(
        "protocol/__init__.py",
        "protocol/acks.py",
        "protocol/bodies.py",
        "protocol/cbor.py",
        "protocol/cose.py",
        "protocol/delivery.py",
        "protocol/errors.py",
        "protocol/frames.py",
        "protocol/records.py",
        "protocol/topics.py",
        "tests/proof/histories/deliveries.py",
        "tests/protocol/delivery_world.py",
    ),
    shallow=100_000,
    deep=10_000_000,
    split=_split,
    run=_run,
    replay=walk,
)
