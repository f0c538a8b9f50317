"""Everything that is ever done to a journal, one letter each, on a disk that records it.

    a append one            g append three together       G three groups in one commit
    B a record of 5 KB      x appends across a checkpoint v a quiet moment: prune, checkpoint
    k acknowledge half      K acknowledge all             b the cloud was restored: acknowledge less
    q one was quarantined   p time passes, prune          f the disk is full: ballast, prune, room again
    n a new epoch           e a new epoch with everything r a clean restart
    c killed, restarted     d a digest is damaged         m the file is of schema version 1, migrated

`Machine` notes, between the disk's events, what the journal owes from there on.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import apsw

from edge.config import JournalSettings
from edge.errors import JournalError
from edge.journal import Journal
from protocol.bodies import GatewayStopped
from tests.edge.hand_clock import NOW_MS, HandClock
from tests.edge.journal.site import BOOT, DAY_MS, GATEWAY, weighing
from tests.proof.disk.disk import Disk, Fault
from tests.proof.disk.image import Sync, Write
from tests.proof.disk.promise import Promise, acknowledged, held, unsent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.journal import Entry
    from edge.journal.filesystem import FileSystem
    from protocol.bodies import Body
    from tests.proof.disk.image import Event

SETTINGS: Final = JournalSettings(keep_days=1, ballast_bytes=4096, free_bytes_min=1 << 20)
_ROOM: Final = 1 << 30


@dataclass(slots=True)
class Mark:
    """From here on this is promised."""

    promise: Promise


def open_journal(folder: Path, disk: FileSystem, seed: str, boot: str) -> Journal:
    """The agent's own way of opening, with a boot of its own and randomness from `seed`."""
    chance = random.Random(seed)
    return Journal.open(folder, GATEWAY, HandClock(), chance.randbytes, SETTINGS, boot_id=boot, disk=disk)


def abandon(journal: Journal) -> None:
    """Leave it as a killed process would: nothing is written any more."""
    journal._reader.close()
    journal._store._drop_writer()
    os.close(journal._lock)


@dataclass(slots=True)
class Machine:
    """One gateway's journal and its disk. `log` is what happened, in order."""

    folder: Path
    seed: str
    log: list[Event | Mark] = field(default_factory=list)
    promise: Promise = field(default_factory=Promise)
    _disk: Disk = field(init=False)
    _journal: Journal | None = None
    _boots: int = 0
    _day: int = 0
    _grams: int = 1000

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        self._disk = Disk(self.folder)
        self._disk.on_event = self.log.append
        self.log.append(Mark(self.promise))

    @property
    def disk(self) -> Disk:
        """The disk it works on."""
        return self._disk

    @property
    def journal(self) -> Journal:
        """The journal that is open."""
        if self._journal is None:
            raise RuntimeError("no journal is open")
        return self._journal

    @property
    def is_open(self) -> bool:
        """Whether there is a journal to work with: opening may have failed."""
        return self._journal is not None

    def begin(self) -> None:
        """A journal with a little history: five records, two of them acknowledged."""
        self.start()
        self.append(2)
        self.append(3)
        self.acknowledge(2)

    def do(self, path: str) -> None:
        """Do these letters one after the other."""
        for letter in path:
            DEEDS[letter](self)

    def close(self) -> None:
        """Stop as a killed process does, and give everything back."""
        if self._journal is not None:
            abandon(self._journal)
            self._journal = None
        self._disk.close()

    # What is done, each with its promise.

    def owe(self, promise: Promise) -> None:
        """From now on this is promised."""
        self.promise = promise
        self.log.append(Mark(promise))

    @property
    def boot(self) -> str:
        """The kernel's present boot."""
        return f"{BOOT}-{self._boots}"

    def start(self) -> None:
        """Open the journal, in a boot of its own."""
        self._boots += 1
        self._journal = open_journal(self.folder, self._disk, f"{self.seed}.{self._boots}", self.boot)
        self.owe(replace(self.promise, marks=frozenset({(self.journal.epoch, self.journal.acked)})))

    def stop(self, *, cleanly: bool) -> None:
        """Leave the journal."""
        journal, self._journal = self.journal, None
        journal.close() if cleanly else abandon(journal)

    def append(self, count: int) -> None:
        """Save so many weighings together."""
        self.saving(lambda: self.journal.append(*[self.weighing() for _ in range(count)]))

    def saving(self, save: Callable[[], list[Entry]]) -> None:
        """Save in one transaction: while it is under way any of it may be there, but then all of it."""
        under_way = Mark(self.promise)
        self.log.append(under_way)
        before_g = self._grams
        try:
            digests = tuple(entry.digest for entry in save())
        except JournalError as error:
            if error.code == "journal.unsure":
                masses_g = frozenset(range(before_g + 1, self._grams + 1)) or frozenset({0})
                self.owe(replace(self.promise, unsure=self.promise.unsure | masses_g))
            raise
        known = self.promise.known | frozenset(digests)
        under_way.promise = replace(self.promise, known=known, together=digests)
        self.owe(replace(self.promise, known=known, owed=self.promise.owed | frozenset(digests)))

    def weighing(self) -> Body:
        """Another weighing each time."""
        self._grams += 1
        return weighing(self._grams)

    def acknowledge(self, through: int) -> None:
        """The cloud has committed these; time passes from ack to ack."""
        self._day += 1
        journal = self.journal
        now = frozenset(unsent(journal))
        done = {entry.digest for entry in journal.entries(1, through)} | set(held(journal)[: max(through, 0)])
        gone = acknowledged(self.promise, done)
        both = gone.marks | {(journal.epoch, through)}
        self.owe(replace(gone, marks=both))
        journal.acknowledge(through, NOW_MS + self._day * 3 * DAY_MS)
        again = frozenset(unsent(journal)) - now
        self.owe(replace(gone, owed=gone.owed | again, marks=frozenset({(journal.epoch, through)})))

    def new_epoch(self, reason: str, *, everything: bool) -> None:
        """Go on in another file."""
        journal = self.journal
        kept = frozenset(held(journal)) if everything else self.promise.owed
        journal.new_epoch(reason, everything=everything)
        marks = frozenset({(journal.epoch, journal.acked)})
        self.owe(replace(self.promise, owed=self.promise.owed | kept, marks=marks))

    def spoil(self, name: str, offset: int, value: int) -> None:
        """Another byte is on the disk than was written."""
        path = self.folder / name
        with path.open("r+b", buffering=0) as stream:
            stream.seek(offset)
            stream.write(bytes([value]))
        inode = self._disk.inode(path)
        self.log += [Write(inode, offset, bytes([value])), Sync(inode)]


def _groups(machine: Machine) -> None:
    def save() -> list[Entry]:
        one, two, three = machine.weighing(), machine.weighing(), machine.weighing()
        bodies: list[list[Body]] = [[one], [GatewayStopped("x" * 20_000)], [two, three]]
        outcomes = machine.journal.append_groups(bodies)
        for outcome in outcomes:
            if isinstance(outcome, JournalError):
                raise outcome
        assert isinstance(outcomes[1], Exception), "a record beyond all size was taken"
        return [entry for outcome in outcomes if isinstance(outcome, list) for entry in outcome]

    machine.saving(save)


def _across_a_checkpoint(machine: Machine) -> None:
    writer = machine.journal._store._writer
    if writer is not None:
        writer.pragma("wal_autocheckpoint", 3)
    for _ in range(3):
        machine.append(1)
    writer = machine.journal._store._writer
    if writer is not None:
        writer.pragma("wal_autocheckpoint", 1000)


def _full(machine: Machine) -> None:
    disk, left, before = machine.disk, [1], machine.disk.fault

    def full(operation: str, name: str) -> Fault | None:
        if operation == "write" and name.endswith("-wal") and left[0]:
            left[0] -= 1
            return Fault.ENOSPC
        return before(operation, name)

    disk.fault, disk.spare_bytes = full, 0
    try:
        machine.append(1)
        while machine.journal.prune():
            pass
    finally:
        disk.fault, disk.spare_bytes = before, _ROOM
    machine.journal.prune()


def _restart(machine: Machine, *, cleanly: bool) -> None:
    machine.stop(cleanly=cleanly)
    machine.start()


def _damage(machine: Machine) -> None:
    """A digest that the next record confirms: nothing may be lost by it."""
    journal = machine.journal
    entries = list(journal.entries(max(journal.acked, 1)))
    if len(entries) < 3:
        return
    digest, epoch = entries[-2].digest, journal.epoch
    machine.stop(cleanly=False)
    for name in (f"{epoch:016x}.journal", f"{epoch:016x}.journal-wal"):
        content = (machine.folder / name).read_bytes() if (machine.folder / name).exists() else b""
        at = content.find(digest)
        while at >= 0:
            machine.spoil(name, at + 3, content[at + 3] ^ 0x10)
            at = content.find(digest, at + 1)
    machine.start()


def _migrate(machine: Machine) -> None:
    journal = machine.journal
    path = str(machine.folder / f"{journal.epoch:016x}.journal")
    machine.stop(cleanly=True)
    fault, machine.disk.fault = machine.disk.fault, lambda _operation, _name: None
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=machine.disk.vfs)
    connection.pragma("synchronous", 2)
    connection.execute("BEGIN; DROP TABLE acks; DROP TABLE quarantined; PRAGMA user_version = 1; COMMIT")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    machine.disk.fault = fault
    machine.start()


def _quarantined(machine: Machine) -> None:
    machine.journal.quarantined(machine.journal.head, "kind.unknown")


def _prune(machine: Machine) -> None:
    machine.acknowledge(machine.journal.acked)  # another day
    while machine.journal.prune():
        pass


def _half(machine: Machine) -> None:
    machine.acknowledge((machine.journal.acked + machine.journal.head + 1) // 2)


DEEDS: Final[dict[str, Callable[[Machine], None]]] = {
    "a": lambda machine: machine.append(1),
    "g": lambda machine: machine.append(3),
    "G": _groups,
    "B": lambda machine: machine.saving(lambda: machine.journal.append(GatewayStopped("x" * 5000))),
    "x": _across_a_checkpoint,
    "v": lambda machine: machine.journal._store.checkpoint(),
    "k": _half,
    "K": lambda machine: machine.acknowledge(machine.journal.head),
    "b": lambda machine: machine.acknowledge(machine.journal.acked // 2),
    "q": _quarantined,
    "p": _prune,
    "f": _full,
    "n": lambda machine: machine.new_epoch("forked", everything=False),
    "e": lambda machine: machine.new_epoch("restored", everything=True),
    "r": lambda machine: _restart(machine, cleanly=True),
    "c": lambda machine: _restart(machine, cleanly=False),
    "d": _damage,
    "m": _migrate,
}
