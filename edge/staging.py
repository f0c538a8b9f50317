"""Courier files between a stick and the data folder: a confined agent sees nothing outside its own folder.

Owns copying, whole and durably. The command that a person runs does it, with that person's rights.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from edge.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""Far more than all documents and the acks of a year."""


class StagingFailed(SyncError):  # noqa: N818 - names what happened
    """A courier file could not be copied."""

    code = "courier.failed"
    retry = False


def carry_out(staged: Path, file: Path) -> None:
    """Move a file the agent has written to where the person wants it. Raises StagingFailed."""
    try:
        _copy(staged, file)
    except OSError as error:
        raise StagingFailed(
            f"{file} cannot be written: {error.strerror}; is the stick full or read-only?"
        ) from error
    finally:
        staged.unlink(missing_ok=True)


@contextlib.contextmanager
def carried_in(file: Path, staged: Path) -> Iterator[Path]:
    """Hand the agent a copy that it may read, for as long as this lasts. Raises StagingFailed."""
    try:
        if file.stat().st_size > _ANSWER_BYTES_MAX or not file.is_file():
            raise StagingFailed(f"{file} is no answer file: no plain file of at most 256 MiB")
        _copy(file, staged)
        if os.geteuid() == 0:
            owner = staged.parent.stat()
            os.chown(staged, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise StagingFailed(f"{file} cannot be read: {error.strerror}") from error
    try:
        yield staged
    finally:
        staged.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    fresh = target.with_name(target.name + ".part")
    try:
        with source.open("rb") as reading, fresh.open("wb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
        fresh.replace(target)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
