"""How long what is acknowledged is kept, and what goes first when room is short.

Owns pruning of the current epoch and removal of older ones. Never touches a record that is not acknowledged
nor a file set aside of which records may be missing: those stay until somebody takes them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import apsw

from edge.journal import database, files
from edge.journal.store import Store, read_state

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal.disk import Disk
    from edge.journal.filesystem import FileSystem

PRUNE_ROWS: Final = 5000
"""Rows forgotten in one transaction, so that an append never waits long behind it."""
EVIDENCE_FILES_MAX: Final = 4
"""Files kept that were set aside and of which nothing is missing; they only tell how the disk fails."""
_DAY_MS: Final = 86_400_000


class Retention:
    """Keeps acknowledged records `keep_days`, counted in the time that acks sign, or until room is short.

    `forgotten` names files that were set aside and are removed now, for somebody to tell.
    """

    def __init__(self, directory: Path, disk: Disk, keep_days: int, files_on: FileSystem) -> None:
        self._directory = directory
        self._files_on = files_on
        self._disk = disk
        self._keep_ms = keep_days * _DAY_MS
        self.forgotten: deque[str] = deque(maxlen=4 * EVIDENCE_FILES_MAX)

    def step(self, store: Store) -> int:
        """Forget one portion; returns how many rows, files and pages went, 0 when nothing is left."""
        tight = self._disk.tight()
        gone = self._step_older(store, tight)
        before = store.state.anchor_seq
        store.prune(min(self._target(store, tight), store.state.acked, before + PRUNE_ROWS))
        gone += store.state.anchor_seq - before
        # New rows reuse free pages; only when room is short is it worth moving pages to give them back.
        return gone + (store.shrink() if tight else 0)

    def _target(self, store: Store, tight: bool) -> int:
        if tight:
            return store.state.acked
        if len(files.epoch_files(self._directory, self._files_on)) > 1:
            # What was carried outlasts what it was carried from: only of this can a frame tell the cloud that
            # it is held, should the cloud have lost it.
            return 0
        return store.acked_before(store.state.server_time_ms - self._keep_ms)

    def _step_older(self, store: Store, tight: bool) -> int:
        if store.state.acked < store.state.carried_through:
            return 0
        gone = self._forget_evidence()
        for path in files.epoch_files(self._directory, self._files_on):
            if path != store.path:
                settled_ms = _settled(path, store.state.server_time_ms, self._files_on)
                overdue = settled_ms is not None and settled_ms + self._keep_ms < store.state.server_time_ms
                if overdue or (tight and settled_ms is not None):
                    files.remove(path, self._files_on)
                    gone += 1
        return gone

    def _forget_evidence(self) -> int:
        """All that they held is acknowledged: it was carried on before they were set aside."""
        left, gone = self._disk.evidence_bytes_max(), 0
        for number, path in enumerate(files.evidence_files(self._directory, self._files_on)):
            left -= files.whole_size_bytes(path, self._files_on)
            if left < 0 or number >= EVIDENCE_FILES_MAX:
                files.remove(path, self._files_on)
                self.forgotten.append(path.name)
                gone += 1
        return gone


def _settled(path: Path, time_ms: int, files_on: FileSystem) -> int | None:
    """When all the file held was acknowledged, marked now if it was not; None if the file cannot say."""
    try:
        reader = database.open_reader(path, files_on)
        try:
            settled_ms = read_state(reader).settled_ms
        finally:
            reader.close(True)
        if settled_ms is None:
            store = Store(path, files_on)
            store.change(("settle", {"server_time_ms": time_ms}))
            store.close()
            settled_ms = time_ms
    except apsw.Error:
        return None  # the next start examines it and sets it aside
    return settled_ms
