"""Cutting a byte stream into frames, within bounds, finding back by itself. Knows no dialect and no meaning.

A dialect hands in a `decode` that judges one candidate. Bytes that belong to no frame come out as one
`FrameFault` per run, so that they are seen and counted but never flood.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from edge.devices.readings import RAW_BYTES_MAX, FrameFault

Item = TypeVar("Item")

Decoded = tuple[int, Item | FrameFault | None]
"""Size of the frame found and what it says (None: nothing to tell). Size 0 waits, -1 is no frame here."""

WAIT: Final[tuple[int, None]] = (0, None)
NO_FRAME: Final[tuple[int, None]] = (-1, None)


def not_a_frame(code: str, raw: bytes, detail: str = "") -> tuple[int, FrameFault]:
    """No frame here, for a reason worth telling (a checksum, an unknown unit)."""
    return -1, FrameFault(code, raw[:RAW_BYTES_MAX], detail)


def garbage(raw: bytes) -> FrameFault:
    """The fault for a run of bytes in which no frame was found."""
    return FrameFault("frame.garbage", raw[:RAW_BYTES_MAX], f"{len(raw)} bytes that belong to no frame")


class MarkedFrames(Generic[Item]):
    """Frames that begin with a marker and have a length the decoder knows.

    `decode(buffer, start)` is asked at each marker. It must answer other than WAIT as soon as
    `frame_bytes_max` bytes are there, which bounds the buffer.
    """

    def __init__(self, marker: bytes, decode: Callable[[bytes, int], Decoded[Item]]) -> None:
        self._marker = marker
        self._decode = decode
        self._rest = b""

    def feed(self, data: bytes) -> list[Item | FrameFault]:
        """The frames and faults that became complete with `data`."""
        buffer = self._rest + data
        items: list[Item | FrameFault] = []
        kept = position = 0  # bytes before `kept` are spoken for, those up to `position` are looked at
        reason: FrameFault | None = None
        while (start := buffer.find(self._marker, position)) >= 0:
            size, item = self._decode(buffer, start)
            if size == 0:
                position = start
                break
            if size < 0:
                reason = reason or (item if isinstance(item, FrameFault) else None)
                position = start + 1
                continue
            _tell_skipped(buffer[kept:start], reason, items)
            reason = None
            if item is not None:
                items.append(item)
            kept = position = start + size
        else:
            position = len(buffer)
        _tell_skipped(buffer[kept:position], reason, items)
        self._rest = buffer[position:]
        return items


def _tell_skipped(skipped: bytes, reason: FrameFault | None, items: list[Item | FrameFault]) -> None:
    if reason is not None:
        items.append(reason)
    elif skipped:
        items.append(garbage(skipped))


class Lines(Generic[Item]):
    """Frames that end with CR LF and with nothing less.

    `decode(line)` gets what stands before the CR LF and answers where in it the frame begins (a line may
    have the debris of another in front) and what it says; -1 is no frame. Lines longer than `bytes_max` are
    cut; a NUL then stands for what is missing, so that a decoder never takes the tail for a whole line.
    """

    def __init__(self, bytes_max: int, decode: Callable[[bytes], Decoded[Item]]) -> None:
        self._bytes_max = bytes_max
        self._decode = decode
        self._rest = b""

    def feed(self, data: bytes) -> list[Item | FrameFault]:
        """The lines and faults that became complete with `data`."""
        items: list[Item | FrameFault] = []
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line, items)
        if len(rest) > self._bytes_max + 1:  # one more for the NUL of an earlier cut
            items.append(garbage(rest[: -self._bytes_max]))
            rest = self._cut(rest)
        self._rest = rest
        return items

    def _cut(self, text: bytes) -> bytes:
        return text if len(text) <= self._bytes_max else b"\x00" + text[-self._bytes_max :]

    def _take(self, line: bytes, items: list[Item | FrameFault]) -> None:
        if not line.endswith(b"\r"):
            items.append(garbage(line + b"\n"))
            return
        debris, _, text = line[:-1].rpartition(b"\r")
        text = self._cut(text)
        start, item = self._decode(text)
        if start < 0:
            items.append(item if isinstance(item, FrameFault) else garbage(line + b"\n"))
            return
        if debris or start:
            items.append(garbage(debris + text[:start]))
        if item is not None:
            items.append(item)
