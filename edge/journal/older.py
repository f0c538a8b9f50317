"""What a frame says of the epochs before its own: how far the cloud had acknowledged what is still held.

Reads only. Does not own which files are kept (`retention`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import apsw

from edge.errors import JournalError
from edge.journal import files
from edge.journal.store import Reader
from protocol.frames import Older
from protocol.records import record_id

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal.filesystem import FileSystem
    from edge.journal.store import State

EVERYTHING: Final = "sync.cloud_forgot"
"""Reason of an epoch that carries all that was held when it began: what is older need not be named."""


def older_epochs(directory: Path, disk: FileSystem, current: State) -> tuple[Older, ...]:
    """The epochs before `current`, oldest first, without those carried as a whole in it or in a later one."""
    found = [_read(path, disk) for path in files.epoch_files(directory, disk)]
    known = sorted((one for one in found if one is not None), key=lambda one: one[0].generation)
    states = [state for state, _ in known if state.generation < current.generation]
    whole = [state.generation for state in (*states, current) if state.reason == EVERYTHING]
    begin = max(whole, default=0)
    return tuple(
        Older(state.epoch, state.acked, head, record_id(state.acked_digest).bytes)
        for state, head in known
        if begin <= state.generation < current.generation
    )


def _read(path: Path, disk: FileSystem) -> tuple[State, int] | None:
    try:
        reader = Reader(path, disk)
    except apsw.Error:
        return None  # the next start examines it and sets it aside
    try:
        return reader.state, reader.head(reader.state.anchor_seq)
    except JournalError:
        return None
    finally:
        reader.close()
