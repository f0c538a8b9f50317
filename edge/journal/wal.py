"""The frames of a write-ahead log, read without asking SQLite: which of them were committed and then hit?

Knows of the format (sqlite.org/fileformat2.html) no more than it takes. A log has no locks that reading it
could drop. Does not own what the pages say (`pages`).
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from edge.journal.database import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.journal.filesystem import FileSystem, OpenFile

_READ_TRIES: Final = 5
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_FRAME: Final = _FRAME_HEADER + PAGE_BYTES
_HIT_BITS: Final = 3
"""Salts that differ in no more bits are the same ones, damaged."""


@dataclass(frozen=True, slots=True)
class WalFrame:
    """Where one page's image lies in a WAL: the `index`-th frame of the file, from 1."""

    index: int
    page: int
    offset: int


def wal_path(path: Path) -> Path:
    """The WAL beside a database file."""
    return path.with_name(path.name + "-wal")


def wal_frames(path: Path, disk: FileSystem, *, strict: bool = False) -> list[WalFrame]:
    """Frames of the WAL's current generation up to its last commit, whether their checksums hold or not.

    SQLite silently stops reading at the first damaged frame; a last index beyond the one it reads to means
    that committed rows would be forgotten. A block that cannot be read is a block of nothing, or if `strict`
    raises OSError.
    """
    try:
        wal = disk.open(wal_path(path))
    except FileNotFoundError:
        return []
    try:
        return _frames(wal.read if strict else partial(read_block, wal), wal.size_bytes())
    finally:
        wal.close()


def last_commit_holds(path: Path, disk: FileSystem) -> bool:
    """Whether every frame of the last transaction is as it was written, of a log that holds one.

    Then whatever was hit before them, the last record of all is among what the pages tell.
    """
    frames = wal_frames(path, disk)
    wal = disk.open(wal_path(path))
    try:
        read = partial(read_block, wal)
        for at in range(len(frames) - 1, -1, -1):
            if not _frame_holds(read, frames[at].offset):
                return False
            if at and _commits(read, frames[at - 1]):
                return True
        return True
    finally:
        wal.close()


def _commits(read: Callable[[int, int], bytes], frame: WalFrame) -> bool:
    """Whether the frame ends a transaction: then it tells the database's size in pages."""
    return any(read(4, frame.offset - _FRAME_HEADER + 4))


def _frames(read: Callable[[int, int], bytes], size_bytes: int) -> list[WalFrame]:
    salts = _generation(read)
    frames: list[WalFrame] = []
    committed = 0
    for index in range(1, (size_bytes - _WAL_HEADER) // _FRAME + 1):
        offset = _WAL_HEADER + (index - 1) * _FRAME
        header = read(_FRAME_HEADER, offset)
        if len(header) == _FRAME_HEADER and _nearly(header[8:16], salts):
            page, size = struct.unpack_from(">II", header)
            frames.append(WalFrame(index, page, offset + _FRAME_HEADER))
            committed = len(frames) if size else committed
    # Nobody can tell whether one that was hit ended a transaction.
    hit = [at for at in range(committed, len(frames)) if not _frame_holds(read, frames[at].offset)]
    return frames[: hit[-1] + 1 if hit else committed]


def _nearly(salts: bytes, expected: bytes) -> bool:
    """Whether they are the same but for a hit; those of other generations differ in half of their bits."""
    return (int.from_bytes(salts, "big") ^ int.from_bytes(expected, "big")).bit_count() <= _HIT_BITS


def _frame_holds(read: Callable[[int, int], bytes], page_at: int) -> bool:
    """Whether a frame's checksum follows from the one before it."""
    offset = page_at - _FRAME_HEADER
    before = read(8, offset - _FRAME + 16) if offset > _WAL_HEADER else read(8, _WAL_HEADER - 8)
    frame, begin = read(_FRAME, offset), read(4, 0)
    if len(before) < 8 or len(frame) < _FRAME or len(begin) < 4:
        return False
    order = ">" if begin[3] & 1 else "<"
    sums = _checksum(order, frame[:8], *struct.unpack(">II", before))
    return _checksum(order, frame[_FRAME_HEADER:], *sums) == struct.unpack(">II", frame[16:24])


def _generation(read: Callable[[int, int], bytes]) -> bytes:
    """The salts of the frames that count: the header's, or the first frame's if the header is damaged."""
    header = read(_WAL_HEADER, 0)
    if len(header) == _WAL_HEADER and _header_holds(header):
        return header[16:24]
    return read(8, _WAL_HEADER + 8)


def _header_holds(header: bytes) -> bool:
    order = ">" if header[3] & 1 else "<"
    return _checksum(order, header[:24], 0, 0) == struct.unpack(">II", header[24:])


def _checksum(order: str, data: bytes, first: int, second: int) -> tuple[int, int]:
    for left, right in struct.iter_unpack(f"{order}II", data):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return first, second


def read_block(file: OpenFile, length: int, offset: int) -> bytes:
    """What the file says; a block that the disk cannot read, asked again and again, is a block of nothing."""
    for _ in range(_READ_TRIES):
        with contextlib.suppress(OSError):
            return file.read(length, offset)
    return b""
