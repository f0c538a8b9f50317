"""A power cut, simulated: of what was not synced any part may be missing, torn or out of order.

A killed process loses nothing that the kernel has; a Pi without power does. So every write, sync and
truncation below SQLite is recorded, and crash states are made of them: what was synced is there, of the
rest a random choice, whole or cut at a sector.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import apsw
import pytest

from protocol.bodies import RecordCarried
from protocol.records import next_digest
from tests.edge.journal.site import NOW_MS, Site, crash, weighing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.journal import Journal

SECTOR = 512


class Operation(NamedTuple):
    """What happened to a file; `told` instead is a digest whose append returned."""

    what: str
    name: str = ""
    offset: int = 0
    data: bytes = b""


class Recording(apsw.VFS):
    """SQLite's default file system, noting what is done to each file."""

    def __init__(self) -> None:
        super().__init__("recording", "unix", makedefault=True)
        self.operations: list[Operation] = []

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> RecordedFile:  # noqa: N802
        return RecordedFile(self.operations, name, flags)


class RecordedFile(apsw.VFSFile):
    """One file of it."""

    def __init__(
        self, operations: list[Operation], name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("unix", name, flags)
        full = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._operations, self._name = operations, full.rsplit("/", 1)[-1]

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._operations.append(Operation("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._operations.append(Operation("sync", self._name))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._operations.append(Operation("truncate", self._name, newsize))
        super().xTruncate(newsize)


@pytest.fixture
def disk() -> Iterator[Recording]:
    recording = Recording()
    yield recording
    recording.unregister()


def crashed(before: dict[str, bytes], operations: list[Operation], chance: random.Random) -> dict[str, bytes]:
    """The files as a power cut after `operations` may leave them."""
    files = {name: bytearray(data) for name, data in before.items()}
    synced = {one.name: index for index, one in enumerate(operations) if one.what == "sync"}
    for index, one in enumerate(operations):
        if one.what not in {"write", "truncate"}:
            continue
        kept = index < synced.get(one.name, -1)
        if kept or chance.random() < 0.5:
            _do(files.setdefault(one.name, bytearray()), one if kept else _torn(one, chance))
    return {name: bytes(data) for name, data in files.items()}


def _torn(one: Operation, chance: random.Random) -> Operation:
    sectors = len(one.data) // SECTOR
    if sectors < 2 or chance.random() < 0.6:
        return one
    return one._replace(data=one.data[: SECTOR * chance.randrange(1, sectors)])


def _do(file: bytearray, one: Operation) -> None:
    if one.what == "truncate":
        del file[one.offset :]
        return
    file.extend(bytes(max(one.offset + len(one.data) - len(file), 0)))
    file[one.offset : one.offset + len(one.data)] = one.data


def work(journal: Journal, disk: Recording, chance: random.Random) -> None:
    """Append, acknowledge and prune, noting each digest as it is told."""
    writer = journal._store._writer
    assert writer is not None
    writer.pragma("wal_autocheckpoint", 8)
    for step in range(60):
        entries = journal.append(*[weighing(1000 + step)] * chance.randrange(1, 4))
        disk.operations += [Operation("told", data=entry.digest) for entry in entries]
        if step % 7 == 6:
            journal.acknowledge(entries[0].seq // 2, NOW_MS + step * 86_400_000)
            journal.prune()


def held(journal: Journal) -> set[bytes]:
    """Digests of all records held, carried ones by their own, and of all that were acknowledged."""
    found = set()
    for entry in journal.entries():
        body = entry.record.body
        if isinstance(body, RecordCarried):
            found.add(next_digest(body.prev_digest, body.data))
        else:
            found.add(entry.digest)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_append_returned_survives_a_power_cut_at_any_moment(
    tmp_path: Path, disk: Recording, seed: int
) -> None:
    chance = random.Random(seed)
    site = Site(tmp_path / "journal", seed)
    journal = site.open()
    before = {path.name: path.read_bytes() for path in site.folder.iterdir() if "-shm" not in path.name}
    disk.operations.clear()
    work(journal, disk, chance)
    crash(journal)
    operations = list(disk.operations)
    told_order = [one.data for one in operations if one.what == "told"]
    for number in range(40):
        cut = operations[: chance.randrange(len(operations) + 1)]
        told = [one.data for one in cut if one.what == "told"]
        folder = tmp_path / f"cut-{number}"
        folder.mkdir(mode=0o700)
        for name, data in crashed(before, cut, chance).items():
            (folder / name).write_bytes(data)
        again = Site(folder, seed * 1000 + number).open()
        # Rows below the anchor were acknowledged and pruned; every other one that was told must be here.
        pruned = set(told_order[: again.first_kept - 1]) if again.birth.reason == "continued" else set()
        acknowledged = set(told[: len(told) // 2 + 1])  # `work` never acknowledges more
        missing = set(told) - held(again) - pruned
        assert not missing if again.birth.reason == "continued" else missing <= acknowledged
        assert again.verify().ok
        again.append(weighing())
        again.close()


def test_the_simulation_itself_can_lose_what_was_not_synced(tmp_path: Path, disk: Recording) -> None:
    """Without synchronous=FULL the same crash states do lose records: the test can fail."""
    site = Site(tmp_path / "journal")
    journal = site.open()
    before = {path.name: path.read_bytes() for path in site.folder.iterdir() if "-shm" not in path.name}
    disk.operations.clear()
    writer = journal._store._writer
    assert writer is not None
    writer.pragma("synchronous", 1)
    told = {journal.append(weighing())[0].digest for _ in range(20)}
    crash(journal)
    folder = tmp_path / "cut"
    folder.mkdir(mode=0o700)
    for name, data in crashed(before, disk.operations, random.Random(3)).items():
        (folder / name).write_bytes(data)
    again = Site(folder).open()
    assert told - held(again)
    again.close()
