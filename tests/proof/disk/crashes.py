"""A power cut at every moment of everything that is done to a journal, and another while it recovers.

All sequences of up to three deeds, and longer ones at random. Of each, crashes in the last deed: those in
the ones before are another sequence's.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.proof.disk.covers import COVERS
from tests.proof.disk.states import BEGINNING, Judge, Point, Recording, record
from tests.proof.disk.workload import DEEDS
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proof.disk.promise import Promise
    from tests.proof.row import Tick

STATES: Final = 2_500
"""Of one task."""
_EXHAUSTIVE: Final = 3
"""All sequences of so many deeds at most."""
_SHARE: Final = 60
"""States of one sequence at least: fewer sequences rather than fewer states."""
_LONG_MAX: Final = 12
_TWICE_EVERY: Final = 24
"""Of so many states one is cut again while it recovers, and at one the process is killed first,"""
KILLED: Final = "k"
"""After a point: no power cut but a killed process, whose successor's recovery is cut."""
_TWICE: Final = 8
"""at so many points."""


def paths(seed: int) -> list[str]:
    """Every sequence of up to three deeds, those of one and two first, in an order of the seed's."""
    chance, letters = random.Random(seed), sorted(DEEDS)
    every = [BEGINNING]
    for length in range(1, _EXHAUSTIVE + 1):
        some = ["".join(path) for path in itertools.product(letters, repeat=length)]
        chance.shuffle(some)
        every += some
    return every


def _split(count: int, seed: int) -> Sequence[Task]:
    tasks = -(-count // STATES)
    shared = {"seed": seed, "of": tasks, "sequences": max(count // _SHARE, 1)}
    return [
        Task(min(STATES, count - STATES * number), {**shared, "number": number}) for number in range(tasks)
    ]


def _run(task: Task, tick: Tick) -> Part:
    seed, number, of = task.work["seed"], task.work["number"], task.work["of"]
    mine = paths(seed)[: task.work["sequences"]][number::of]
    chance = random.Random(f"{seed}.{number}")
    with scratch() as folder:
        explorer = Explorer(folder, str(seed), chance)
        left = task.count
        for index, path in enumerate(itertools.chain(mine, _longer(chance))):
            if left <= 0:
                break
            share = -(-left // max(len(mine) - index, 1))
            before = explorer.count
            explorer.explore(path, share)
            left -= explorer.count - before
            tick(explorer.count - before)
    figures = {"crashes in recovery": explorer.twice, "sequences": explorer.sequences}
    return Part(explorer.count, explorer.violations, figures)


def _longer(chance: random.Random) -> Iterator[str]:
    letters = sorted(DEEDS)
    while True:
        yield "".join(chance.choices(letters, k=chance.randint(_EXHAUSTIVE + 1, _LONG_MAX)))


class scratch:  # noqa: N801 - used as a function
    """A folder in memory, if the machine has one."""

    def __enter__(self) -> Path:
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(prefix="reloop-", dir=memory if memory.is_dir() else None))
        return self._folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Explorer:
    """Crash states of one sequence after the other; `count` are different ones that were really judged."""

    def __init__(self, folder: Path, seed: str, chance: random.Random) -> None:
        self.count, self.twice, self.sequences = 0, 0, 0
        self.violations: list[Violation] = []
        self._folder, self._seed, self._chance = folder, seed, chance
        self._judge = Judge(folder / "state")
        self._path = ""

    def explore(self, path: str, share: int) -> None:
        """Judge `share` states of this sequence's last deed, or as many as it has."""
        self.sequences += 1
        # The sequence is in the names of its epochs: no two sequences share a state.
        self._path, self._judge = path, Judge(self._folder / "state")
        recording = record(self._folder / "work", self._seed, path)
        points = list(recording.points(self._chance))
        self._chance.shuffle(points)
        wanted = self.count + share
        while points and self.count < wanted:
            some = sorted(points[-(wanted - self.count) :])
            del points[-(wanted - self.count) :]
            self._explore(recording, some, wanted)

    def _explore(self, recording: Recording, points: list[Point], wanted: int) -> None:
        for point, promise, state in recording.states(points):
            new = self._judged(state, promise, str(point), 1)
            match self._chance.randrange(_TWICE_EVERY):
                case 0 if new:
                    self._once_more(self._judge.again(state, promise), str(point), wanted)
                case 1:
                    recovery = self._judge.killed(*recording.before(point), recording.boot)
                    self._once_more(recovery, f"{point}{KILLED}", wanted)

    def _once_more(self, recovery: Recording, first: str, wanted: int) -> None:
        points = list(recovery.points(self._chance))
        some = self._chance.sample(points, min(_TWICE, len(points), max(wanted - self.count, 0)))
        for point, owed, left in recovery.states(sorted(some)):
            self.twice += self._judged(left, owed, f"{first}/{point}", 2)

    def _judged(self, state: dict[str, bytes], promise: Promise, where: str, life: int) -> bool:
        new, broken = self._judge.recovers(state, promise, life)
        self.count += new
        key = f"{self._seed}/{self._path}/{where}"
        self.violations += [Violation(key, f"after {self._path!r}: {what}") for what in broken]
        return new


def _replay(key: str) -> Part:
    seed, path, *where = key.split("/")
    with scratch() as folder:
        judge = Judge(folder / "state")
        recording = record(folder / "work", seed, path)
        broken: list[str] = []
        for life, text in enumerate(where, 1):
            point = Point.parse(text.removesuffix(KILLED))
            if text.endswith(KILLED):
                recording = judge.killed(*recording.before(point), recording.boot)
                continue
            ((_, promise, state),) = recording.states([point])
            _, broken = judge.recovers(state, promise, life)
            if life < len(where):
                recording = judge.again(state, promise)
    return Part(1, [Violation(key, what) for what in broken])


CRASHES = Row(
    id="R1",
    name="crash states of the journal",
    unit="crash states",
    covers=COVERS,
    shallow=20_000,
    deep=1_000_000,
    split=_split,
    run=_run,
    replay=_replay,
)  # fmt: skip
