"""Names of the journal's files: one `<epoch in hex>.journal` per epoch, beside it what SQLite needs.

<epoch>.journal                       an epoch; the highest generation is the current one
<epoch>.journal.new                   being built; never read, removed at the next start
<epoch>.journal.damaged               set aside as it was found, records may be missing: never removed
<epoch>.<generation>.journal.damaged  the same, but nothing is missing: the newest few stay (`retention`)
lock                                  held by the one process that writes
ballast                               room to prune on a full disk
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from edge.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal.filesystem import FileSystem

_SUFFIX: Final = ".journal"
_NEW: Final = ".new"
_DAMAGED: Final = ".damaged"
_SIDES: Final = ("", "-wal", "-shm")
_SPENT: Final = re.compile(rf"[0-9a-f]{{16}}\.(\d+){_SUFFIX}{_DAMAGED}")


def epoch_path(directory: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return directory / f"{epoch:016x}{_SUFFIX}"


def epoch_of(path: Path) -> int | None:
    """The epoch in a file's name, None if it is no epoch's."""
    try:
        return int(path.name.split(".")[0], 16)
    except ValueError:
        return None


def epoch_files(directory: Path, disk: FileSystem) -> list[Path]:
    """Every epoch's file, in no order that matters."""
    paths = [directory / name for name in disk.names(directory) if name.endswith(_SUFFIX)]
    return [path for path in paths if epoch_of(path) is not None]


def damaged_files(directory: Path, disk: FileSystem) -> list[Path]:
    """Every file that was set aside."""
    return [directory / name for name in disk.names(directory) if name.endswith(_SUFFIX + _DAMAGED)]


def evidence_files(directory: Path, disk: FileSystem) -> list[Path]:
    """Those set aside of which nothing is missing elsewhere, the newest first."""
    found = [(_SPENT.fullmatch(path.name), path) for path in damaged_files(directory, disk)]
    known = [(int(match[1]), path) for match, path in found if match]
    return [path for _, path in sorted(known, reverse=True)]


def new_path(directory: Path, epoch: int) -> Path:
    """Where an epoch's file is built."""
    path = epoch_path(directory, epoch)
    return path.with_name(path.name + _NEW)


def publish(directory: Path, epoch: int, disk: FileSystem) -> Path:
    """Give a finished new file its name, so that it survives a power cut; returns its path."""
    path = epoch_path(directory, epoch)
    disk.rename(new_path(directory, epoch), path)
    disk.sync_folder(directory)
    return path


def set_aside(path: Path, disk: FileSystem, generation: int | None = None) -> Path:
    """Rename a damaged file and its WAL; the shared memory is worth nothing.

    `generation` is given if nothing of it is missing elsewhere.
    """
    stem = path.stem if generation is None else f"{path.stem}.{generation}"
    aside = path.with_name(stem + _SUFFIX + _DAMAGED)
    for side in _SIDES[:2]:
        source = path.with_name(path.name + side)
        if disk.exists(source):
            disk.rename(source, aside.with_name(aside.name + side))
    disk.remove(path.with_name(path.name + "-shm"))
    # No record hangs on it, as the next start would do it again: what people are told to keep lies there.
    disk.sync_folder(path.parent)
    return aside


def remove(path: Path, disk: FileSystem) -> None:
    """Remove an epoch's file, or one set aside, and what lies beside it."""
    for side in _SIDES:
        disk.remove(path.with_name(path.name + side))
    disk.sync_folder(path.parent)


def tidy(directory: Path, disk: FileSystem) -> None:
    """Remove what a power cut left half built, and finish setting aside what it left half moved."""
    for name in disk.names(directory):
        if f"{_SUFFIX}{_NEW}" in name or ".salvage" in name:
            disk.remove(directory / name)
    for aside in damaged_files(directory, disk):
        path = epoch_path(directory, epoch_of(aside) or 0)
        wal = path.with_name(path.name + "-wal")
        if disk.exists(wal) and not disk.exists(path):
            disk.rename(wal, aside.with_name(aside.name + "-wal"))


def whole_size_bytes(path: Path, disk: FileSystem) -> int:
    """What a file and its WAL take."""
    return sum(disk.size_bytes(path.with_name(path.name + side)) for side in _SIDES)


def size_bytes(directory: Path, disk: FileSystem) -> int:
    """What the epochs' files take; neither the ballast nor what was set aside counts."""
    suffixes = tuple(_SUFFIX + side for side in _SIDES)
    return sum(disk.size_bytes(directory / name) for name in disk.names(directory) if name.endswith(suffixes))


def take_lock(directory: Path, disk: FileSystem) -> int:
    """Become the one process that writes here; returns the descriptor that holds the lock.

    Raises JournalError `journal.locked`.
    """
    try:
        return disk.lock(directory / "lock")
    except BlockingIOError as error:
        raise JournalError(
            f"another process writes the journal in {directory}; stop it first", code="journal.locked"
        ) from error
