"""Failing I/O: every operation of whatever is done to a journal fails, once or until somebody mends it.

Deep, every two of them. What may be told then is only what is so: a record told as saved is there and stays,
one that was refused is never seen again, and once the fault is gone the next append works.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.errors import JournalError
from tests.proof.disk.covers import COVERS
from tests.proof.disk.crashes import scratch
from tests.proof.disk.disk import Fault
from tests.proof.disk.image import Image, Kept
from tests.proof.disk.promise import examine
from tests.proof.disk.states import BEGINNING, Judge, Point, Recording
from tests.proof.disk.workload import DEEDS, Machine
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.proof.row import Tick

SEQUENCES: Final = (BEGINNING, *(f"{deed}a" for deed in DEEDS if deed != "m"), "ma")
"""Each deed, and an append after it, which must tell the truth about what came before."""
_SINGLES: Final = 3_400
_ALL: Final = 150_000
"""Failures of one and of two operations, at least: all there are is run, and these are a little fewer."""
_POINTS: Final = 400
"""Of one task."""
_TRIES: Final = 6
_KINDS: Final = {
    "write": (Fault.EIO, Fault.ENOSPC, Fault.SHORT),
    "sync": (Fault.EIO, Fault.FORGETFUL),
    "truncate": (Fault.EIO, Fault.ENOSPC),
    "create": (Fault.EIO, Fault.ENOSPC),
    "reserve": (Fault.EIO, Fault.ENOSPC),
}
"""How these may fail; others by EIO alone."""


class Failure(NamedTuple):
    """The operation `number` (from 0) fails, and with `lasting` all of its kind from then on."""

    number: int
    fault: Fault
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.number}.{self.fault.name}.{'lasting' if self.lasting else 'once'}"

    @classmethod
    def parse(cls, text: str) -> Failure:
        """The failure that `str` names."""
        number, fault, lasting = text.split(".")
        return cls(int(number), Fault[fault], lasting == "lasting")


class Plan:
    """Counts operations and fails those it is told to."""

    def __init__(self, failures: Sequence[Failure] = ()) -> None:
        self.operations: list[str] = []
        self._at = {failure.number: failure for failure in failures}
        self._lasting: dict[str, Fault] = {}

    def __call__(self, operation: str, name: str) -> Fault | None:
        failure = self._at.get(len(self.operations))
        self.operations.append(operation)
        if failure is not None:
            if failure.lasting:
                self._lasting[operation] = failure.fault
            return failure.fault
        return self._lasting.get(operation)


def operations(folder: Path, seed: str, sequence: str) -> list[str]:
    """What is done to the disk if nothing fails."""
    plan = Plan()
    machine = Machine(folder, f"{seed}.{sequence}")
    try:
        _work(machine, sequence, plan)
    finally:
        machine.close()
    return plan.operations


def _work(machine: Machine, sequence: str, plan: Plan) -> list[str]:
    """Do the deeds under the plan; returns what is wrong with how errors were told."""
    if sequence != BEGINNING:
        machine.begin()
    machine.disk.fault = plan
    wrong: list[str] = []
    for deed in sequence:
        try:
            machine.start() if deed == BEGINNING else _do(machine, deed)
        except JournalError:
            continue
        except Exception as error:  # noqa: BLE001 - whatever else comes out is a finding
            wrong.append(f"{deed!r} ends in {type(error).__name__}: {error}")
    return wrong


def _do(machine: Machine, deed: str) -> None:
    if not machine.is_open:
        machine.start()
    machine.do(deed)


def run_one(folder: Path, seed: str, sequence: str, failures: Sequence[Failure]) -> list[str]:
    """Do it with these failures, mend the disk, look; then cut the power, open again and look once more.

    And as if the process had been killed, or the power cut, before the disk was mended: what is appended
    later syncs what was not.
    """
    machine = Machine(folder / "work", f"{seed}.{sequence}")
    try:
        wrong = _work(machine, sequence, Plan(failures))
        worked = len(machine.log)
        machine.disk.fault = lambda _operation, _name: None
        wrong += _mended(machine)
    finally:
        machine.close()
    if not wrong:
        wrong = _killed(folder, machine, worked) or _after_power_cut(folder, machine, worked)
    return wrong or _after_power_cut(folder, machine, len(machine.log))


def _mended(machine: Machine) -> Iterator[str]:
    try:
        if not machine.is_open:
            machine.start()
        machine.append(1)
        yield from machine.promise.broken_by(examine(machine.journal, machine.disk))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        yield f"the disk works again, the journal does not: {type(error).__name__}: {error}"


def _killed(folder: Path, machine: Machine, worked: int) -> list[str]:
    image, promise = Recording(Image(), machine.log).before(Point(worked, Kept(0)))
    _, broken = Judge(folder / "state").recovers(image.state(image.everything()), promise)
    return [f"after a restart: {what}" for what in broken]


def _after_power_cut(folder: Path, machine: Machine, at: int) -> list[str]:
    image, promise = Recording(Image(), machine.log).before(Point(at, Kept(0)))
    judge = Judge(folder / "state")
    for kept in (Kept(0), image.everything()):
        _, broken = judge.recovers(image.state(kept), promise)
        if broken:
            return [f"after a power cut: {what}" for what in broken]
    return []


def _ways(operation: str) -> tuple[Fault, ...]:
    return _KINDS.get(operation, (Fault.EIO,))


def singles(done: Sequence[str]) -> Iterator[tuple[Failure, ...]]:
    """Every operation, failing in each way, once and for good."""
    for number, operation in enumerate(done):
        for fault in _ways(operation):
            yield (Failure(number, fault),)
            yield (Failure(number, fault, lasting=True),)


def pairs(done: Sequence[str]) -> Iterator[tuple[Failure, ...]]:
    """Every two operations, both failing once, each in each way.

    The second is counted on in what really happens, which after a failure is something else than before.
    """
    for first, second in itertools.combinations(range(len(done)), 2):
        for one, other in itertools.product(_ways(done[first]), _ways(done[second])):
            yield Failure(first, one), Failure(second, other)


@dataclass(frozen=True, slots=True)
class _Case:
    sequence: str
    failures: tuple[Failure, ...]

    def key(self, seed: int) -> str:
        return "/".join([str(seed), self.sequence, *map(str, self.failures)])


def _split(count: int, seed: int) -> Sequence[Task]:
    with scratch() as folder:
        done = {sequence: operations(folder / "work", str(seed), sequence) for sequence in SEQUENCES}
    cases = [_Case(sequence, failures) for sequence in SEQUENCES for failures in singles(done[sequence])]
    twos = [_Case(sequence, failures) for sequence in SEQUENCES for failures in pairs(done[sequence])]
    random.Random(seed).shuffle(twos)
    cases += twos if count >= _ALL else twos[: max(count - len(cases), 0)]
    keys = [case.key(seed) for case in cases]
    tasks = -(-len(keys) // _POINTS)
    return [Task(len(keys[at::tasks]), {"keys": keys[at::tasks]}) for at in range(tasks)]


def _run(task: Task, tick: Tick) -> Part:
    violations: list[Violation] = []
    with scratch() as folder:
        for key in task.work["keys"]:
            violations += [Violation(key, what) for what in _run_key(folder, key)]
            tick(1)
    return Part(task.count, violations)


def _run_key(folder: Path, key: str) -> list[str]:
    seed, sequence, *failures = key.split("/")
    return run_one(folder, seed, sequence, [Failure.parse(one) for one in failures])


def _replay(key: str) -> Part:
    with scratch() as folder:
        return Part(1, [Violation(key, what) for what in _run_key(folder, key)])


FAULTS = Row(
    id="R2",
    name="failing I/O under the journal",
    unit="fault points",
    covers=COVERS,
    shallow=_SINGLES,
    deep=_ALL,
    split=_split,
    run=_run,
    replay=_replay,
)  # fmt: skip
