"""Bit rot: one bit of a journal's files is not what was written, or a file ends too early.

Such damage is noticed or changes nothing; every record that was not hit itself is carried on; and no record
ever comes up with another content. A log that ends too early is one that was never longer, as far as anybody
can tell: of it only the last is asked.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.errors import JournalError
from edge.journal import files
from edge.journal.filesystem import LOCAL
from protocol.records import genesis_digest
from tests.edge.journal.site import BOOT, GATEWAY, NOW_MS, weighing
from tests.proof.disk.covers import COVERS
from tests.proof.disk.crashes import scratch
from tests.proof.disk.image import Image
from tests.proof.disk.promise import examine, unsent, written
from tests.proof.disk.states import make
from tests.proof.disk.workload import Machine, Mark, abandon, open_journal
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.journal import Journal
    from tests.proof.disk.promise import Written
    from tests.proof.row import Tick

JOURNALS: Final = (
    "agagag", "agagagr", "aBgBaBr", "gKpgag", "gKpgagr", "gagnga", "gagnrga", "gkqgdga", "gegkgr",
)  # fmt: skip
"""Journals that are hit: with a log and without one, with large records, pruned, carried, salvaged."""
_CASES: Final = 2_500
_CASES_FEW: Final = 250
"""Of one task, of many and of few."""
_CUT_EVERY: Final = 11
"""Of so many cases one cuts a file off instead."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A journal as it lies on the disk, and what is in it."""

    state: dict[str, bytes]
    boot: str
    owed: dict[bytes, Written]
    known: frozenset[bytes]
    mark: tuple[int, int]
    quarantine: dict[int, str]


def sample(folder: Path, seed: str, path: str) -> Sample:
    """Do `path`, and be killed."""
    machine = Machine(folder, f"{seed}.{path}")
    try:
        machine.begin()
        machine.do(path)
        journal = machine.journal
        owed, mark = written(journal), (journal.epoch, journal.acked)
        quarantine = journal.quarantine()
    finally:
        machine.close()
    image = Image()
    for event in machine.log:
        if not isinstance(event, Mark):
            image.take(event)
    state = image.state(image.everything())
    return Sample(state, machine.boot, owed, machine.promise.known, mark, quarantine)


@dataclass(frozen=True, slots=True)
class Hit:
    """One bit of a file, or with `bit` -1 its end: the file is cut off at `offset`."""

    name: str
    offset: int
    bit: int

    def __str__(self) -> str:
        return f"{self.name}/{self.offset}.{self.bit}"

    @classmethod
    def parse(cls, name: str, text: str) -> Hit:
        """The hit that `str` names."""
        offset, bit = text.split(".")
        return cls(name, int(offset), int(bit))

    def on(self, state: dict[str, bytes]) -> dict[str, bytes]:
        """The files after it."""
        content = bytearray(state[self.name])
        if self.bit < 0:
            del content[self.offset :]
        else:
            content[self.offset] ^= 1 << self.bit
        return {**state, self.name: bytes(content)}


def choose(state: dict[str, bytes], chance: random.Random) -> Hit:
    """Any bit of any file, each as likely as another."""
    names = [name for name in sorted(state) if ".journal" in name and state[name]]
    (name,) = chance.choices(names, [len(state[name]) for name in names])
    cut = chance.randrange(_CUT_EVERY) == 0
    return Hit(name, chance.randrange(len(state[name])), -1 if cut else chance.randrange(8))


def intact(before: Sample, after: dict[str, bytes]) -> set[bytes]:
    """The owed records that are still on the disk with both digests that prove them."""
    contents = b"".join(after.values())
    genesis = genesis_digest(GATEWAY, before.mark[0])
    return {
        born
        for born, one in before.owed.items()
        if one.data in contents
        and one.digest in contents
        and (one.previous == genesis or one.previous in contents)
    }


@dataclass(slots=True)
class Outcome:
    """What came of one hit."""

    broken: list[str]
    detected: bool
    intact: int
    salvaged: int


def strike(folder: Path, before: Sample, hit: Hit) -> Outcome:
    """Hit the files, open them as the agent does, and look."""
    after = hit.on(before.state)
    make(folder, after)
    try:
        journal = open_journal(folder, LOCAL, str(hit), f"{BOOT}-after")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        return Outcome([f"it does not open: {type(error).__name__}: {error}"], True, 0, 0)
    try:
        return _judged(journal, before, hit, after)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        return Outcome([f"it is open but cannot be read: {type(error).__name__}: {error}"], True, 0, 0)
    finally:
        abandon(journal)


def _judged(journal: Journal, before: Sample, hit: Hit, after: dict[str, bytes]) -> Outcome:
    at_start = journal.birth.reason == "damaged" or bool(journal.birth.set_aside)
    detected = at_start or not journal.verify().ok
    broken = list(examine(journal, LOCAL).problems) if at_start or not detected else []
    broken += _goes_on(journal)
    there, whole = set(unsent(journal)), intact(before, after)
    if strange := {digest for digest in there - before.known if digest != journal.head_digest}:
        broken.append(f"{len(strange)} records came up that nobody saved")
    # What only the full check finds is nobody's to mend: what is sent must not depend on it.
    if not at_start and hit.bit >= 0:
        if missing := before.owed.keys() - there:
            broken.append(f"{len(missing)} records are lost and the start did not notice")
        if (journal.epoch, journal.acked) != before.mark:
            broken.append(f"the acknowledged mark is {journal.acked} and the start did not notice")
    cut_log = hit.bit < 0 and hit.name.endswith("-wal")
    if not cut_log and _said_to_be_whole(journal) and (missing := before.owed.keys() - there):
        broken.append(f"{len(missing)} records are missing and what may hold them may be removed")
    if cut_log:
        return Outcome(broken, detected, 0, 0)
    return Outcome(broken, detected, len(whole), len(whole & there))


def _said_to_be_whole(journal: Journal) -> bool:
    """Whether all that was set aside may be removed one day, since no record of it is said to be missing."""
    aside = set(journal.birth.set_aside)
    return bool(aside) and aside <= set(files.evidence_files(journal.directory, LOCAL))


def _goes_on(journal: Journal) -> list[str]:
    """Whether records are taken and acknowledged, at the second try if the first ran into the damage."""
    for change in (
        lambda: journal.acknowledge(journal.acked, NOW_MS),
        lambda: journal.append(weighing(5000)),
    ):
        try:
            try:
                change()
            except JournalError:
                change()
        except JournalError as error:
            return [f"it does not go on: {error}"]
    return []


def _split(count: int, seed: int) -> Sequence[Task]:
    cases = _CASES if count > 4 * _CASES else _CASES_FEW
    tasks = -(-count // cases)
    return [Task(min(cases, count - cases * at), {"seed": seed, "number": at}) for at in range(tasks)]


def _run(task: Task, tick: Tick) -> Part:
    seed, number = task.work["seed"], task.work["number"]
    chance = random.Random(f"{seed}.{number}")
    violations: list[Violation] = []
    figures = {"noticed": 0, "intact": 0, "salvaged": 0}
    with scratch() as folder:
        samples = {path: sample(folder / "work", str(seed), path) for path in JOURNALS}
        for _ in range(task.count):
            path = chance.choice(JOURNALS)
            hit = choose(samples[path].state, chance)
            outcome = strike(folder / "state", samples[path], hit)
            violations += [Violation(f"{seed}/{path}/{hit}", what) for what in outcome.broken]
            figures["noticed"] += outcome.detected
            figures["intact"] += outcome.intact
            figures["salvaged"] += outcome.salvaged
            tick(1)
    missed = figures["intact"] - figures["salvaged"]
    if missed > _MISSED_MAX + figures["intact"] // 1000:
        what = f"{missed} of {figures['intact']} intact records were not salvaged"
        violations.append(Violation(f"{seed}/{number}.{task.count}", what))
    return Part(task.count, violations, figures)


_MISSED_MAX: Final = 3
"""Intact records of one task that may be missed beside one in a thousand: there are few in a task."""


def _replay(key: str) -> Part:
    seed, path, *hit = key.split("/")
    if not hit:
        number, count = map(int, path.split("."))
        return _run(Task(count, {"seed": int(seed), "number": number}), lambda _: None)
    with scratch() as folder:
        before = sample(folder / "work", seed, path)
        outcome = strike(folder / "state", before, Hit.parse(*hit))
    return Part(1, [Violation(key, what) for what in outcome.broken])


FLIPS = Row(
    id="R4",
    name="bit flips and cuts in the journal's files",
    unit="hits",
    covers=COVERS,
    shallow=1_000,
    deep=100_000,
    split=_split,
    run=_run,
    replay=_replay,
)  # fmt: skip
