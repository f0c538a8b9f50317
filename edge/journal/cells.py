"""Rows of ours recognised by their shape in the raw bytes of a SQLite page, wherever in it they lie.

Knows just enough of the record format (sqlite.org/fileformat2.html). What it finds is not trusted: the chain
decides (`salvage`). The page's own header and cell pointers are not asked, since they may be what was hit.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge.journal.database import PAGE_BYTES
from edge.journal.store import State
from protocol.errors import RecordError
from protocol.records import decode_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCAL_MAX: Final = PAGE_BYTES - 35
_LOCAL_MIN: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW: Final = PAGE_BYTES - 4
_DATA_MAX: Final = 16 * 1024
_DIGEST: Final = 32
_ROW: Final = re.compile(rb"(?=[\x04-\x06]\x00[\x80-\xff]{0,2}[\x00-\x7f]\x4c)")
"""A row's header: its length, NULL in place of the seq, a blob of any length, a blob of 32 bytes."""
_PREFIX_MAX: Final = 18
"""Bytes of two varints before the header: the row's length and its seq."""
_STATE_COLUMNS: Final = 14
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def rows_in(page: bytes, overflow: Callable[[int], bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """(seq, data, digest) of all that looks like a row of `records`; `overflow` gives pages by number."""
    for match in _ROW.finditer(page):
        begin = match.start()
        kind, after = varint(page, begin + 2)
        header = after + 1 - begin
        size = (kind - 12) // 2
        if kind < 12 or kind % 2 or size > _DATA_MAX or page[begin] != header:
            continue
        length = header + size + _DIGEST
        payload = _payload(page, begin, length, overflow)
        if len(payload) == length:
            data = payload[header : header + size]
            for seq in _seqs(page, begin, length, data):
                yield seq, data, payload[header + size :]


def _seqs(page: bytes, begin: int, length: int, data: bytes) -> set[int]:
    """The seq that stands before the header and the one in the record: either may have been hit."""
    found = set()
    for start in range(max(begin - _PREFIX_MAX, 0), begin - 1):
        told, at = varint(page, start)
        seq, at = varint(page, at)
        if told == length and at == begin:
            found.add(seq)
    with contextlib.suppress(RecordError):  # of a newer version, or hit: then the chain will say so
        found.add(decode_record(data).seq)
    return {seq for seq in found if 0 < seq < 2**63}


def _payload(page: bytes, start: int, length: int, overflow: Callable[[int], bytes]) -> bytes:
    if length <= LOCAL_MAX:
        return page[start : start + length]
    spilled = _LOCAL_MIN + (length - _LOCAL_MIN) % _OVERFLOW
    local = spilled if spilled <= LOCAL_MAX else _LOCAL_MIN
    payload = page[start : start + local]
    number = int.from_bytes(page[start + local : start + local + 4], "big")
    while number and len(payload) < length:
        more = overflow(number)
        payload += more[4 : 4 + min(_OVERFLOW, length - len(payload))]
        number = int.from_bytes(more[:4], "big")
    return payload


def states_in(page: bytes, gateway: str, epoch: int) -> Iterator[State]:
    """All that looks like this gateway's and epoch's row of facts."""
    name = gateway.encode()
    at = page.find(name)
    while at >= 0:
        for header in range(_STATE_COLUMNS + 1, 2 * _STATE_COLUMNS):
            values = _values(page, at - header, header)
            if values is not None:
                try:
                    state = msgspec.convert(values[1:], State)
                except ValueError:
                    continue
                if (state.gateway, state.epoch) == (gateway, epoch):
                    yield state
        at = page.find(name, at + 1)


def _values(page: bytes, begin: int, header: int) -> list[Any] | None:
    if begin < 0 or page[begin] != header:
        return None
    kinds, at = [], begin + 1
    while at < begin + header:
        kind, at = varint(page, at)
        kinds.append(kind)
    if at != begin + header or len(kinds) != _STATE_COLUMNS:
        return None
    values: list[Any] = []
    for kind in kinds:
        value, at = _value(page, kind, at)
        values.append(value)
    return values


def _value(page: bytes, kind: int, at: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(page[at:end], "big", signed=True), end
    if kind < 12:
        return {8: 0, 9: 1}.get(kind), at
    end = at + (kind - 12) // 2
    data = page[at:end]
    return (data.decode(errors="replace") if kind % 2 else data), end


def varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's big-endian varint at `at`: (value, offset after it); (-1, at) beyond the end."""
    value = 0
    for _ in range(8):
        if at >= len(data):
            return -1, at
        byte, at = data[at], at + 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
    return (value << 8 | data[at], at + 1) if at < len(data) else (-1, at)
