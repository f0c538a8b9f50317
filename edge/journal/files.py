"""Names of the journal's files: one `<epoch in hex>.journal` per epoch, beside it what SQLite needs.

<epoch>.journal            an epoch; the highest generation is the current one
<epoch>.journal.new        being built; never read, removed at the next start
<epoch>.journal.damaged    set aside as it was found, for ever
lock                       held by the one process that writes
ballast                    room to prune on a full disk
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from edge.errors import JournalError
from edge.journal.database import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX: Final = ".journal"
_NEW: Final = ".new"
_DAMAGED: Final = ".damaged"
_SIDES: Final = ("", "-wal", "-shm")


def epoch_path(directory: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return directory / f"{epoch:016x}{_SUFFIX}"


def epoch_of(path: Path) -> int | None:
    """The epoch in a file's name, None if it is no epoch's."""
    try:
        return int(path.name.split(".")[0], 16)
    except ValueError:
        return None


def epoch_files(directory: Path) -> list[Path]:
    """Every epoch's file, in no order that matters."""
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if epoch_of(path) is not None)


def damaged_files(directory: Path) -> list[Path]:
    """Every file that was set aside."""
    return sorted(directory.glob(f"*{_SUFFIX}{_DAMAGED}"))


def new_path(directory: Path, epoch: int) -> Path:
    """Where an epoch's file is built."""
    path = epoch_path(directory, epoch)
    return path.with_name(path.name + _NEW)


def publish(directory: Path, epoch: int) -> Path:
    """Give a finished new file its name, so that it survives a power cut; returns its path."""
    path = epoch_path(directory, epoch)
    new_path(directory, epoch).rename(path)
    sync_folder(directory)
    return path


def set_aside(path: Path) -> Path:
    """Rename a damaged file and its WAL; the shared memory is worth nothing."""
    aside = path.with_name(path.name + _DAMAGED)
    for side in _SIDES[:2]:
        source = path.with_name(path.name + side)
        if source.exists():
            source.rename(aside.with_name(aside.name + side))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync_folder(path.parent)
    return aside


def remove(path: Path) -> None:
    """Remove an epoch's file and what lies beside it."""
    for side in _SIDES:
        path.with_name(path.name + side).unlink(missing_ok=True)
    sync_folder(path.parent)


def tidy(directory: Path) -> None:
    """Remove what a power cut left half built, and finish setting aside what it left half moved."""
    for path in directory.glob(f"*{_SUFFIX}{_NEW}*"):
        path.unlink()
    for path in directory.glob("*.salvage*"):
        path.unlink()
    for aside in damaged_files(directory):
        path = aside.with_name(aside.name.removesuffix(_DAMAGED))
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and not path.exists():
            wal.rename(aside.with_name(aside.name + "-wal"))


def size_bytes(directory: Path) -> int:
    """What the epochs' files take; neither the ballast nor what was set aside counts."""
    return sum(
        entry.stat().st_size
        for entry in os.scandir(directory)
        if entry.name.endswith(tuple(_SUFFIX + side for side in _SIDES))
    )


def take_lock(directory: Path) -> int:
    """Become the one process that writes here; returns the descriptor that holds the lock.

    Raises JournalError `journal.locked`.
    """
    descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(
            f"another process writes the journal in {directory}; stop it first", code="journal.locked"
        ) from error
    return descriptor
