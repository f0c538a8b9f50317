"""A real folder whose every change is recorded, and whose every operation can be made to fail.

    disk = Disk(folder)                       # an empty folder, best on a tmpfs
    Journal.open(folder, ..., disk=disk)      # SQLite's files through a VFS, the journal's own through this
    disk.on_event = image.take                # every write, truncation, sync, creation, renaming and removal
    disk.fault = lambda operation, name: None # a Fault: what becomes of the next operation
    disk.close()

Operations are named as in OPERATIONS. The files are real, so that locks and shared memory are, too; nothing
of SQLite's shared memory is recorded, since no power cut leaves any.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import apsw

from edge.journal.filesystem import FileSystem, OpenFile
from tests.proof.disk.image import FolderSync, Forgotten, Naming, Sync, Write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proof.disk.image import Event

OPERATIONS: Final = (
    "open", "read", "write", "truncate", "sync", "delete",
    "list", "stat", "create", "rename", "remove", "sync_folder", "reserve", "free", "lock",
)  # fmt: skip
"""What can fail: SQLite's operations, then the journal's own (which also `open` and `read`)."""


class Fault(Enum):
    """How an operation fails."""

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    SHORT = -1
    """Half of a write is done, then there is no room. Anything else: as EIO."""
    FORGETFUL = -2
    """A sync fails and what was to be written is gone, while the cache still shows it (as ext4 does it).
    Anything else: as EIO."""


_SQLITE: Final[dict[str, int]] = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "delete": apsw.SQLITE_IOERR_DELETE,
}
"""What the unix VFS makes of an error of the kernel."""
_NUMBERS = itertools.count()


class Disk(FileSystem):
    """The folder, as the journal and SQLite reach it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.on_event: Callable[[Event], None] = lambda _: None
        self.fault: Callable[[str, str], Fault | None] = lambda _operation, _name: None
        self.spare_bytes = 1 << 30
        self.vfs = name = f"recorded-{os.getpid()}-{next(_NUMBERS)}"
        self._vfs = _Vfs(self, name)

    def close(self) -> None:
        """No file of it is open any more."""
        self._vfs.unregister()

    def inode(self, path: Path | str) -> int:
        """The number of a file."""
        return os.stat(path).st_ino

    def names(self, folder: Path) -> list[str]:
        """As a file system does."""
        self._ask("list", folder)
        return super().names(folder)

    def exists(self, path: Path) -> bool:
        """As a file system does."""
        self._ask("stat", path)
        return super().exists(path)

    def size_bytes(self, path: Path) -> int:
        """As a file system does."""
        self._ask("stat", path)
        return super().size_bytes(path)

    def create(self, path: Path) -> None:
        """As a file system does."""
        self._ask("create", path)
        super().create(path)
        self._named(None, path, self.inode(path))

    def rename(self, source: Path, target: Path) -> None:
        """As a file system does."""
        self._ask("rename", source)
        inode = self.inode(source)
        super().rename(source, target)
        self.on_event(Naming(source.name, target.name, inode))

    def remove(self, path: Path) -> None:
        """As a file system does."""
        self._ask("remove", path)
        if path.exists():
            inode = self.inode(path)
            super().remove(path)
            self._named(path, None, inode)

    def sync_folder(self, folder: Path) -> None:
        """As a file system does."""
        self._ask("sync_folder", folder)
        self.on_event(FolderSync())

    def reserve(self, path: Path, size_bytes: int) -> None:
        """As a file system does: first the name, then the room, which is not taken from `spare_bytes`."""
        new = not path.exists()
        super().reserve(path, 1)
        if new:
            self._named(None, path, self.inode(path))
        self._ask("reserve", path)
        super().reserve(path, size_bytes)
        self.on_event(Write(self.inode(path), size_bytes - 1, b"\0"))

    def free_bytes(self, folder: Path) -> int:
        """Whatever `spare_bytes` says."""
        self._ask("free", folder)
        return self.spare_bytes

    def open(self, path: Path) -> OpenFile:
        """As a file system does."""
        self._ask("open", path)
        return _Readable(self, path)

    def lock(self, path: Path) -> int:
        """As a file system does."""
        self._ask("lock", path)
        new = not path.exists()
        descriptor = super().lock(path)
        if new:
            self._named(None, path, self.inode(path))
        return descriptor

    def _named(self, old: Path | None, new: Path | None, inode: int) -> None:
        if not str(old or new).endswith("-shm"):
            self.on_event(Naming(old.name if old else None, new.name if new else None, inode))

    def _ask(self, operation: str, path: Path) -> None:
        match self.fault(operation, path.name):
            case None:
                return
            case Fault.ENOSPC | Fault.SHORT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            case Fault.EIO | Fault.FORGETFUL:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


class _Readable(OpenFile):
    def __init__(self, disk: Disk, path: Path) -> None:
        super().__init__(path)
        self._disk, self._path = disk, path

    def read(self, length: int, offset: int) -> bytes:
        self._disk._ask("read", self._path)
        return super().read(length, offset)


def _sqlite_error(fault: Fault, operation: str) -> Exception:
    if operation in {"write", "truncate"} and fault in {Fault.ENOSPC, Fault.SHORT}:
        return apsw.exception_for(apsw.SQLITE_FULL)
    return apsw.exception_for(_SQLITE[operation])


class _Vfs(apsw.VFS):
    """SQLite's file system for one Disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(name, "unix")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return apsw.VFSFile("unix", name, flags)
        fault = self._disk.fault("open", path.rsplit("/", 1)[-1])
        if fault is not None:
            raise _sqlite_error(fault, "open")
        new = not os.path.exists(path)
        file = _File(self._disk, path, name, flags)
        if new:
            self._disk.on_event(Naming(None, path.rsplit("/", 1)[-1], file.inode))
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        name = filename.rsplit("/", 1)[-1]
        fault = self._disk.fault("delete", name)
        if fault is not None:
            raise _sqlite_error(fault, "delete")
        inode = self._disk.inode(filename)
        super().xDelete(filename, syncdir)
        self._disk.on_event(Naming(name, None, inode))
        if syncdir:
            self._disk.on_event(FolderSync())


_NEW_LOG: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class _File(apsw.VFSFile):
    """One file that SQLite has open."""

    def __init__(self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk, self._name = disk, path.rsplit("/", 1)[-1]
        self.inode = disk.inode(path)
        # The unix VFS syncs the folder once, with the first sync of a log that it may have created.
        self._folder_too = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _NEW_LOG)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        fault = self._disk.fault("read", self._name)
        if fault is not None:
            raise _sqlite_error(fault, "read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        fault = self._disk.fault("write", self._name)
        if fault is Fault.SHORT:
            self._write(data[: len(data) // 2], offset)
        if fault is not None:
            raise _sqlite_error(fault, "write")
        self._write(data, offset)

    def _write(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.on_event(Write(self.inode, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        fault = self._disk.fault("truncate", self._name)
        if fault is not None:
            raise _sqlite_error(fault, "truncate")
        super().xTruncate(newsize)
        self._disk.on_event(Write(self.inode, newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        fault = self._disk.fault("sync", self._name)
        if fault is Fault.FORGETFUL:
            self._disk.on_event(Forgotten(self.inode))
        if fault is not None:
            raise _sqlite_error(fault, "sync")
        self._disk.on_event(Sync(self.inode))
        if self._folder_too:
            self._folder_too = False
            self._disk.on_event(FolderSync())
