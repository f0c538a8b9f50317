"""Chooses crash states of a recorded piece of work, makes them on a real folder and judges what recovers.

Owns how a state is named, made, hashed, reopened and judged; not which work is done (`workload`), nor what
is owed (`promise`).
"""

from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.journal.filesystem import LOCAL
from tests.edge.journal.site import BOOT, weighing
from tests.proof.disk.disk import Disk
from tests.proof.disk.image import FolderSync, Image, Kept, Naming, Write
from tests.proof.disk.promise import Promise, examine
from tests.proof.disk.workload import Machine, Mark, abandon, open_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge.journal import Journal
    from edge.journal.filesystem import FileSystem
    from tests.proof.disk.image import Event, State
    from tests.proof.disk.promise import Found

BEGINNING: Final = "o"
"""The path of one deed: a journal is opened where there was none."""


class Point(NamedTuple):
    """A crash: after so many things in the log, with this of what was pending on the disk."""

    after: int
    kept: Kept

    def __str__(self) -> str:
        return f"{self.after}.{self.kept.changes:x}.{self.kept.torn}.{self.kept.sectors:x}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point that `str` names."""
        after, changes, torn, sectors = text.split(".")
        return cls(int(after), Kept(int(changes, 16), int(torn), int(sectors, 16)))


@dataclass(slots=True)
class Recording:
    """What happened to a disk from `image` on; crashes are looked for from `begin` on."""

    image: Image
    log: Sequence[Event | Mark]
    begin: int = 0
    boot: str = ""

    def points(self, chance: random.Random) -> Iterator[Point]:
        """Every crash that leaves something another one has not left, as far as can be told here."""
        image = self.image.copy()
        for index, event in enumerate(self.log):
            if not isinstance(event, Mark):
                image.take(event)
            if index < self.begin or not isinstance(event, Mark | Write | Naming):
                continue
            newest = not isinstance(event, Mark)
            for kept in image.choices(chance, newest=newest):
                yield Point(index + 1, kept)

    def before(self, point: Point) -> tuple[Image, Promise]:
        """The disk and what was promised, at this moment."""
        image, promise = self.image.copy(), Promise()
        for event in self.log[: point.after]:
            if isinstance(event, Mark):
                promise = event.promise
            else:
                image.take(event)
        return image, promise

    def states(self, points: Sequence[Point]) -> Iterator[tuple[Point, Promise, dict[str, bytes]]]:
        """The folder at each point, the points ascending, and what was promised then."""
        image, at, promise = self.image.copy(), 0, Promise()
        for point in points:
            for event in self.log[at : point.after]:
                if isinstance(event, Mark):
                    promise = event.promise
                else:
                    image.take(event)
            at = point.after
            yield point, promise, image.state(point.kept)


def record(folder: Path, seed: str, path: str) -> Recording:
    """Do `path` on a journal with a little history; crashes are wanted in its last deed."""
    machine = Machine(folder, f"{seed}.{path}")
    begin = 0
    try:
        if path == BEGINNING:
            machine.start()
        else:
            machine.begin()
            machine.do(path[:-1])
            begin = len(machine.log)
            machine.do(path[-1])
    finally:
        machine.close()
    return Recording(Image(), machine.log, max(begin - 1, 0), machine.boot)


def digest_of(state: State) -> bytes:
    """One number for the whole folder."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(f"{name}\0{len(state[name])}\0".encode())
        digest.update(state[name])
    return digest.digest()


def make(folder: Path, state: State) -> None:
    """Put the state there, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name, content in state.items():
        (folder / name).write_bytes(content)


@dataclass(slots=True)
class Judge:
    """Reopens states, each only once, and says how a promise is broken by what comes up."""

    folder: Path
    seen: dict[bytes, Found | str] = field(default_factory=dict)

    def recovers(self, state: State, promise: Promise, life: int = 1) -> tuple[bool, list[str]]:
        """Whether the state is a new one, and what is broken; `life` numbers the boots after the work."""
        name = digest_of(state)
        new = name not in self.seen
        if new:
            make(self.folder, state)
            self.seen[name] = reopened(self.folder, LOCAL, name, f"{BOOT}-after-{life}")
        found = self.seen[name]
        return new, [found] if isinstance(found, str) else list(promise.broken_by(found))

    def again(self, state: State, promise: Promise) -> Recording:
        """The recovery from a state, recorded, with what is owed from its every step on."""
        before = self.seen.get(digest_of(state))
        if not isinstance(before, str | None) and before.salvaged:
            promise = replace(promise, together=())
        return self._recorded(Image.of(state), state, promise)

    def killed(self, image: Image, promise: Promise, boot: str) -> Recording:
        """The same of a killed process, whose successor sees all that was written, certain or not."""
        return self._recorded(image.copy(), image.state(image.everything()), promise, boot)

    def _recorded(
        self, image: Image, state: State, promise: Promise, boot: str = f"{BOOT}-after-1"
    ) -> Recording:
        make(self.folder, state)
        names = image.names_seen()
        numbers = {(self.folder / name).stat().st_ino: number for name, number in names.items()}
        log: list[Event | Mark] = [Mark(promise)]
        disk = Disk(self.folder)
        disk.on_event = lambda event: log.append(_renumbered(event, numbers))
        try:
            reopened(self.folder, disk, digest_of(state), boot, _Owing(promise, log))
        finally:
            disk.close()
        return Recording(image, log)


class _Owing:
    """Notes in a log what a recovery shows: that is owed as well, should the power fail once more."""

    def __init__(self, promise: Promise, log: list[Event | Mark]) -> None:
        self._promise, self._log = promise, log
        self._under_way: Mark | None = None

    def found(self, found: Found) -> None:
        """The journal is open; one more record is about to be saved."""
        marks = frozenset({(found.epoch, found.acked)})
        shown = frozenset(found.unsent)
        self._promise = replace(self._promise, owed=self._promise.owed | shown, marks=marks, together=())
        self._under_way = Mark(self._promise)
        self._log.append(self._under_way)

    def saved(self, digest: bytes) -> None:
        """It was."""
        both = replace(self._promise, known=self._promise.known | {digest})
        if self._under_way is not None:
            self._under_way.promise = both
        self._log.append(Mark(replace(both, owed=both.owed | {digest})))


def _renumbered(event: Event, numbers: dict[int, int]) -> Event:
    """Files that were there have small numbers in the image, new ones those of the real file system."""
    if isinstance(event, FolderSync):
        return event
    return event._replace(inode=numbers.get(event.inode, event.inode))


def reopened(
    folder: Path, disk: FileSystem, name: bytes, boot: str, owing: _Owing | None = None
) -> Found | str:
    """What the agent's own recovery makes of the folder, or how it failed; the journal goes on from there."""
    try:
        journal = open_journal(folder, disk, f"{name.hex()}.{boot}", boot)
        try:
            found = examine(journal, disk)
            if owing is not None:
                owing.found(found)
            goes_on = _goes_on(journal)
            if owing is not None:
                owing.saved(journal.head_digest)
        finally:
            abandon(journal)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        return f"it does not open: {type(error).__name__}: {error}"
    return goes_on or found


def _goes_on(journal: Journal) -> str:
    """What is wrong with the next append."""
    head, digest = journal.head, journal.head_digest
    (entry,) = journal.append(weighing(4321))
    if entry.seq == head + 1 and entry.digest == hashlib.sha256(digest + entry.data).digest():
        return ""
    return f"after recovery the journal goes on with seq {entry.seq} behind {head}"
