"""Ninety virtual days of visits into the real journal, each append timed; a program of its own.

`python -m tests.proof.endurance.filling CONFIG VISITS SEED DAYS` prints one JSON line: how long appends took
at the start and at the end. The journal is as in the field (WAL, synchronous=FULL); the clock is stepped.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.config import load_settings
from edge.core import Core, open_core
from edge.lock import FolderLock
from protocol.bodies import Body, DepositClosed, DepositOpened, HolderKind, Outcome
from tests.bench.visits import CITIZENS, offers_of, serial_of, weighing
from tests.system.intake import SteppedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAY_S = 86_400
_EDGE_SHARE = 10
"""The first and the last tenth of the appends are what is compared."""
_MASSES = 4_000


class Visits:
    """People one after the other, each of their three records an append of its own, as at a kiosk."""

    def __init__(self, core: Core, clock: SteppedClock, seed: int, visit_s: float) -> None:
        catalog = core.directory.catalog()
        assert catalog is not None, "claiming brought no catalogue"
        self._offers = offers_of(catalog)
        self._journal = core.journal.journal
        self._clock = clock
        self._random = random.Random(seed)
        self._third_s = visit_s / 3
        self.seconds: list[float] = []

    def visit(self) -> None:
        """Open, weigh once, close."""
        serial = serial_of(self._random.randrange(CITIZENS))
        opened = self._append(DepositOpened(HolderKind.CARD, serial))
        line = weighing(serial, self._random.randrange(_MASSES), opened, self._random.choice(self._offers))
        self._append(line)
        self._append(DepositClosed(opened, Outcome.COMPLETED, 1, line.net_g, line.points or 0))

    def _append(self, body: Body) -> int:
        self._clock.step(self._random.uniform(0.2, 1.8) * self._third_s)
        begun = time.perf_counter()
        seq = self._journal.append(body)[0].seq
        self.seconds.append(time.perf_counter() - begun)
        return seq


def percentile_us(seconds: Sequence[float], share: float) -> int:
    """The value below which this share of them lies, in microseconds."""
    ordered = sorted(seconds)
    return round(1e6 * ordered[min(int(share * len(ordered)), len(ordered) - 1)])


def fill(config: Path, visits: int, seed: int, days: int) -> dict[str, int]:
    """So many visits, spread evenly over the days before now."""
    settings = load_settings(config)
    clock = SteppedClock(int(time.time() * 1000) - days * _DAY_S * 1000, 60_000)
    with FolderLock(settings.data_dir):
        core = open_core(settings, clock)
        try:
            people = Visits(core, clock, seed, days * _DAY_S / visits)
            for _ in range(visits):
                people.visit()
            head = core.journal.head
        finally:
            asyncio.run(core.close())
    edge = max(len(people.seconds) // _EDGE_SHARE, 1)
    return {
        "head": head,
        "append_p99_first_us": percentile_us(people.seconds[:edge], 0.99),
        "append_p99_last_us": percentile_us(people.seconds[-edge:], 0.99),
        "append_p50_last_us": percentile_us(people.seconds[-edge:], 0.5),
        "append_max_us": percentile_us(people.seconds, 1.0),
    }


if __name__ == "__main__":
    print(json.dumps(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
