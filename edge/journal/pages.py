"""Rows read straight from the pages of a damaged SQLite file and its WAL, without asking SQLite.

What it finds is not trusted: the chain decides (`salvage`). A database file is never read while this process
has it open, since closing it would drop SQLite's locks.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from edge.journal.cells import rows_in, states_in
from edge.journal.database import PAGE_BYTES
from edge.journal.wal import read_block, wal_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.journal.filesystem import FileSystem
    from edge.journal.store import State
    from edge.journal.wal import WalFrame

_PAGES_AT: Final = 28
"""Where a file's header tells the number of its pages."""


class PageFile:
    """A database file with the frames of its WAL laid over it."""

    def __init__(self, path: Path, frames: list[WalFrame], disk: FileSystem) -> None:
        self._main = disk.open(path)
        self._wal = disk.open(wal_path(path)) if frames else self._main  # without frames nobody reads it
        self._frames = frames
        self._newest = {frame.page: frame.offset for frame in frames}
        self._pages = -(-self._main.size_bytes() // PAGE_BYTES)

    @property
    def cut(self) -> bool:
        """Whether the file is shorter than it says itself."""
        told = int.from_bytes(read_block(self._main, 4, _PAGES_AT), "big")
        return self._main.size_bytes() < told * PAGE_BYTES

    def rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, data, digest) of all that looks like a row of `records`, in no order."""
        for page in self._newest_pages():
            yield from rows_in(page, self._page)

    def stale_rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The same of every older image of a page: what is damaged in the newest may be whole there."""
        for page in self._stale_pages():
            yield from rows_in(page, self._page)
            yield from rows_in(page, self._main_page)

    def states(self, gateway: str, epoch: int) -> Iterator[State]:
        """All that looks like this gateway's and epoch's row of facts, the newest first."""
        for page in itertools.chain(self._newest_pages(), self._stale_pages()):
            yield from states_in(page, gateway, epoch)

    def _newest_pages(self) -> Iterator[bytes]:
        beyond = (number for number in self._newest if number > self._pages)
        for number in itertools.chain(range(2, self._pages + 1), beyond):
            yield self._page(number)

    def _stale_pages(self) -> Iterator[bytes]:
        for frame in self._frames:
            yield read_block(self._wal, PAGE_BYTES, frame.offset)
        for number in self._newest:
            yield self._main_page(number)

    def close(self) -> None:
        """Close both files."""
        for file in {self._main, self._wal}:
            file.close()

    def _page(self, number: int) -> bytes:
        offset = self._newest.get(number)
        if offset is None:
            return self._main_page(number)
        return read_block(self._wal, PAGE_BYTES, offset).ljust(PAGE_BYTES, b"\0")

    def _main_page(self, number: int) -> bytes:
        return read_block(self._main, PAGE_BYTES, (number - 1) * PAGE_BYTES).ljust(PAGE_BYTES, b"\0")
