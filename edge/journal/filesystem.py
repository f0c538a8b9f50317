"""The file operations that the journal does itself, beside those that SQLite does.

One object, handed in, so that a proof can record or refuse every one of them. Knows no file by name.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path


class OpenFile:
    """A file open for reading; nobody's locks hang on it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def size_bytes(self) -> int:
        """The file's length."""
        return os.fstat(self._descriptor).st_size

    def read(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises OSError for a block that cannot be read any more."""
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class FileSystem:
    """A local file system. Every method raises OSError.

    `vfs` names the SQLite VFS by which its files are reached, None for SQLite's own.
    """

    vfs: str | None = None

    def make_folder(self, folder: Path) -> None:
        """Make the folder and those above it; only its owner may look into it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)

    def names(self, folder: Path) -> list[str]:
        """Names of all that is in the folder, sorted."""
        return sorted(os.listdir(folder))

    def exists(self, path: Path) -> bool:
        """Whether there is such a file."""
        return path.exists()

    def size_bytes(self, path: Path) -> int:
        """A file's length, 0 if it is gone: another thread may have pruned it."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def create(self, path: Path) -> None:
        """Make an empty file only its owner may read. Raises FileExistsError."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of whatever had it."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in the folder survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def reserve(self, path: Path, size_bytes: int) -> None:
        """Make a file that really takes so much room."""
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        finally:
            os.close(descriptor)

    def free_bytes(self, folder: Path) -> int:
        """What this process could still write beside the folder."""
        room = os.statvfs(folder)
        return room.f_bavail * room.f_frsize

    def open(self, path: Path) -> OpenFile:
        """Open a file for reading. Raises FileNotFoundError."""
        return OpenFile(path)

    def lock(self, path: Path) -> int:
        """Lock a file, made if need be, until the descriptor is closed. Raises BlockingIOError."""
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


LOCAL: Final = FileSystem()
"""The file system of this machine; it holds no state."""
