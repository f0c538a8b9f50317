"""Rows read straight from the pages of a damaged SQLite file and its WAL, without asking SQLite.

Knows just enough of the format (sqlite.org/fileformat2.html) to find rows shaped like ours. What it
finds is not trusted: the chain decides (`salvage`). A database file is never read while this process has it
open, since closing it would drop SQLite's locks; a WAL has none.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from edge.journal.database import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.journal.filesystem import FileSystem, OpenFile

_LOCAL_MAX: Final = PAGE_BYTES - 35
_LOCAL_MIN: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW: Final = PAGE_BYTES - 4
_READ_TRIES: Final = 5
_PAYLOAD_MAX: Final = 16 * 1024
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_FRAME: Final = _FRAME_HEADER + PAGE_BYTES


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
        return _frames(wal.read if strict else partial(_read, wal), wal.size_bytes())
    finally:
        wal.close()


def _frames(read: Callable[[int, int], bytes], size_bytes: int) -> list[WalFrame]:
    salts = _generation(read)
    frames: list[WalFrame] = []
    committed = 0
    for index in range(1, (size_bytes - _WAL_HEADER) // _FRAME + 1):
        offset = _WAL_HEADER + (index - 1) * _FRAME
        header = read(_FRAME_HEADER, offset)
        if len(header) == _FRAME_HEADER and header[8:16] == salts:
            page, size = struct.unpack_from(">II", header)
            frames.append(WalFrame(index, page, offset + _FRAME_HEADER))
            committed = len(frames) if size else committed
    return frames[:committed]


def _generation(read: Callable[[int, int], bytes]) -> bytes:
    """The salts of the frames that count: the header's, or the first frame's if the header is damaged."""
    header = read(_WAL_HEADER, 0)
    if len(header) == _WAL_HEADER and _header_holds(header):
        return header[16:24]
    return read(8, _WAL_HEADER + 8)


def _header_holds(header: bytes) -> bool:
    order = ">" if header[3] & 1 else "<"
    first = second = 0
    for left, right in struct.iter_unpack(f"{order}II", header[:24]):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return (first, second) == struct.unpack(">II", header[24:])


class PageFile:
    """A database file with the frames of its WAL laid over it."""

    def __init__(self, path: Path, frames: list[WalFrame], disk: FileSystem) -> None:
        self._main = disk.open(path)
        self._wal = disk.open(wal_path(path)) if frames else None
        self._frames = frames
        self._newest = {frame.page: frame.offset for frame in frames}
        self._pages = -(-self._main.size_bytes() // PAGE_BYTES)

    def rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, data, digest) of every cell that looks like a row of `records`, in no order."""
        for number in range(2, self._pages + 1):
            yield from self._leaf(self._page(number))
        for number in self._newest:
            if number > self._pages:
                yield from self._leaf(self._page(number))

    def stale_rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The same of every older image of a page: what is damaged in the newest may be whole there."""
        for frame in self._frames:
            yield from self._leaf(_read(self._wal, PAGE_BYTES, frame.offset))
        for number in self._newest:
            yield from self._leaf(_read(self._main, PAGE_BYTES, (number - 1) * PAGE_BYTES))

    def close(self) -> None:
        """Close both files."""
        for file in (self._main, self._wal):
            if file is not None:
                file.close()

    def _page(self, number: int) -> bytes:
        offset = self._newest.get(number)
        if offset is not None:
            page = _read(self._wal, PAGE_BYTES, offset)
        else:
            page = _read(self._main, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        return page.ljust(PAGE_BYTES, b"\0")

    def _leaf(self, page: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        # Whatever its first byte says: that byte may be what was hit, and no other page has rows that hold.
        count = min(int.from_bytes(page[3:5], "big"), (PAGE_BYTES - 8) // 2)
        for index in range(count):
            start = int.from_bytes(page[8 + 2 * index : 10 + 2 * index], "big")
            row = self._cell(page, start)
            if row is not None:
                yield row

    def _cell(self, page: bytes, start: int) -> tuple[int, bytes, bytes] | None:
        length, start = _varint(page, start)
        seq, start = _varint(page, start)
        if not (0 < length <= _PAYLOAD_MAX and 0 < seq < 2**63):
            return None
        payload = self._payload(page, start, length)
        header, at = _varint(payload, 0)
        types: list[int] = []
        while at < header and len(types) < 4:
            kind, at = _varint(payload, at)
            types.append(kind)
        match types:  # NULL in place of the seq, a blob, a blob of 32 bytes
            case [0, int(blob), 76] if blob >= 12 and not blob % 2:
                size = (blob - 12) // 2
                if header + size + 32 == length == len(payload):
                    return seq, payload[header : header + size], payload[header + size :]
        return None

    def _payload(self, page: bytes, start: int, length: int) -> bytes:
        if length <= _LOCAL_MAX:
            return page[start : start + length]
        spilled = _LOCAL_MIN + (length - _LOCAL_MIN) % _OVERFLOW
        local = spilled if spilled <= _LOCAL_MAX else _LOCAL_MIN
        payload = page[start : start + local]
        number = int.from_bytes(page[start + local : start + local + 4], "big")
        while number and len(payload) < length:
            overflow = self._page(number)
            payload += overflow[4 : 4 + min(_OVERFLOW, length - len(payload))]
            number = int.from_bytes(overflow[:4], "big")
        return payload


def _read(file: OpenFile | None, length: int, offset: int) -> bytes:
    """What the file says; a block that the disk cannot read, asked again and again, is a block of nothing."""
    if file is None:
        return b""
    for _ in range(_READ_TRIES):
        with contextlib.suppress(OSError):
            return file.read(length, offset)
    return b""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's big-endian varint at `at`: (value, offset after it); (-1, at) beyond the end."""
    value = 0
    for index in range(9):
        if at >= len(data):
            return -1, at
        byte = data[at]
        at += 1
        if index == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
    return value, at
