"""Disks that forget what was not synced: the SQLite files of one machine, through a VFS of our own.

Owns what of the written bytes is durable, and failing I/O on demand. The production code opens its files as
always: the VFS is this process's default. Creating, renaming and removing files is durable at once here
(the crash states of those are another row's).

Each file keeps its durable content and the writes since its last sync. Losing power keeps the durable
content and any part of those writes, torn at 512 bytes; killing a process loses nothing. A sync that fails
may have written any part, and a later one does not write the rest: the kernel believes it clean.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import apsw

from edge.journal.filesystem import FileSystem

if TYPE_CHECKING:
    import random
    from pathlib import Path

_SECTOR_BYTES = 512
_TORN = 0.2
_KEPT = (".journal", ".journal-wal", ".new", ".new-wal", ".damaged", ".damaged-wal")
Fault = Callable[[str], apsw.Error | None]
"""Asked before each write, sync and truncation: the error to raise instead, None to go on."""


@dataclass(slots=True)
class _Content:
    """What of one file survives: `durable` surely; `pending` maybe, as (offset, bytes) or (length, None)."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def settle(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def settle_some(self, chance: random.Random) -> None:
        """Some of what is pending reaches the disk, in part; the rest never will."""
        self.durable, self.pending = self.survivors(chance), []

    def survivors(self, chance: random.Random) -> bytearray:
        survived, kept = bytearray(self.durable), chance.random()
        for place, data in self.pending:
            if chance.random() >= kept:
                continue
            _apply(survived, (place, data if data is None else _torn(data, chance)))
        return survived


def _torn(data: bytes, chance: random.Random) -> bytes:
    """A write that got through, or its first sectors."""
    if len(data) <= _SECTOR_BYTES or chance.random() >= _TORN:
        return data
    return data[: _SECTOR_BYTES * chance.randrange(1, len(data) // _SECTOR_BYTES + 1)]


def _apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    place, data = change
    if data is None:
        del content[place:]
        return
    if len(content) < place:
        content.extend(bytes(place - len(content)))
    content[place : place + len(data)] = data


WIDE_BYTES, TIGHT_BYTES, LOW_BYTES = 1 << 30, 1_500_000, 500_000
"""Room for everything; so little that synced records go early; less than intake needs."""
FREE_BYTES_MIN = 1_000_000


class Room(FileSystem):
    """The file system as it is, but for how much room it says there is."""

    def __init__(self) -> None:
        self.spare_bytes = WIDE_BYTES

    def free_bytes(self, folder: Path) -> int:
        """Whatever the schedule says."""
        return self.spare_bytes


class Disk:
    """One machine's disk. `folder` is where it lives now, another one after each crash."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root, self._chance = root, chance
        self._life = 0
        self._contents: dict[int, _Content] = {}
        self.fault: Fault = lambda _: None
        self.room = Room()
        self.folder = root / "0"
        self.folder.mkdir(parents=True)
        _DISKS[str(self.folder)] = self

    def crash(self, *, power: bool) -> None:
        """Leave the folder to the dead, whose writes fail from now on; go on with what survived."""
        old = self.folder
        del _DISKS[str(old)]
        self._life += 1
        self.folder = self._root / str(self._life)
        _DISKS[str(self.folder)] = self
        contents: dict[int, _Content] = {}
        self._copy(old, self.folder, contents, power=power)
        self._contents = contents

    def image(self) -> Path:
        """A copy of all that is on the disk, as a careful person makes it."""
        image = self._root / f"image-{self._life}"
        if not image.exists():
            self._copy(self.folder, image, {}, power=False)
        return image

    def put_back(self, image: Path) -> None:
        """Go on with a copy that was made before; nothing may have the folder open."""
        shutil.rmtree(self.folder)
        self._contents.clear()
        shutil.copytree(image, self.folder)
        for path in self.folder.rglob("*"):
            if path.name.endswith(_KEPT):
                self._contents[path.stat().st_ino] = _Content(bytearray(path.read_bytes()))

    def remove(self) -> None:
        """The simulation is over."""
        _DISKS.pop(str(self.folder), None)
        shutil.rmtree(self._root, ignore_errors=True)

    def content(self, inode: int) -> _Content:
        """The durable side of a file; a new one is empty."""
        return self._contents.setdefault(inode, _Content())

    def _copy(self, old: Path, new: Path, contents: dict[int, _Content], *, power: bool) -> None:
        new.mkdir(mode=0o700)
        for entry in sorted(os.scandir(old), key=lambda entry: entry.name):
            target = new / entry.name
            if entry.is_dir():
                self._copy(old / entry.name, target, contents, power=power)
            elif not entry.name.endswith("-shm"):
                known = self._contents.get(entry.inode())
                if known is None or not power:
                    shutil.copyfile(entry.path, target)
                else:
                    known = _Content(known.survivors(self._chance))
                    target.write_bytes(known.durable)
                target.chmod(0o600)
                if known is not None:
                    contents[target.stat().st_ino] = known


_DISKS: dict[str, Disk] = {}
"""The disks that are in use, by their present folder."""


class _File(apsw.VFSFile):
    """A file on a disk of ours."""

    def __init__(self, path: str, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._path = path
        self._inode = os.stat(path).st_ino
        self._writable = bool(flags[0] & apsw.SQLITE_OPEN_READWRITE)

    def _at(self, what: str) -> _Content:
        """The file's durable side, if nothing is to fail now."""
        disk = _disk_of(self._path)
        if disk is None:
            raise apsw.IOError("the machine is dead")
        error = disk.fault(what)
        if error is not None:
            if what == "sync":
                disk.content(self._inode).settle_some(disk._chance)
            raise error
        return disk.content(self._inode)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw names it
        self._at("write").pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw names it
        self._at("truncate").pending.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw names it
        self._at("sync").settle()

    def xLock(self, level: int) -> None:  # noqa: N802 - apsw names it
        if not self._writable and level == apsw.SQLITE_LOCK_EXCLUSIVE:
            raise apsw.BusyError("a file opened for reading cannot be locked for writing")
        super().xLock(level)


class _Vfs(apsw.VFS):
    """Like the default, but files of our disks forget."""

    def __init__(self) -> None:
        super().__init__("reloop-simulated", "unix", makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw names it
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or _disk_of(path) is None or not path.endswith(_KEPT):
            return apsw.VFSFile("unix", name, flags)
        return _File(path, name, flags)


def _disk_of(path: str) -> Disk | None:
    for folder, disk in _DISKS.items():
        if path.startswith(folder + "/"):
            return disk
    return None


@contextlib.contextmanager
def simulated_disks() -> Iterator[None]:
    """While this lasts, SQLite's files on our disks forget what was not synced."""
    vfs = _Vfs()
    try:
        yield
    finally:
        vfs.unregister()
