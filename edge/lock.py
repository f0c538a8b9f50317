"""One process at a time may write in a data folder: the agent, or a command in its absence."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from edge.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path


class LockedError(EdgeError):
    """Another process works in this folder."""

    code = "agent.running"


class FolderLock:
    """An flock(2) on `agent.lock`; the kernel frees it however the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "agent.lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LockedError(
                f"{self._path} cannot be opened: {error.strerror}; check `data_dir` and who runs this",
                code="agent.folder",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise LockedError(
                f"another reloop-edge works in {self._path.parent}; stop it first", code="agent.running"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
