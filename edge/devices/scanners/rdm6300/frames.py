"""RDM6300 frames, pure, in both forms the modules come in, and the repeats of a tag that stays in the field.

    text     02 <10 hex digits> <2 hex digits> 03        XOR of the five bytes
    binary   02 0A 02 <5 bytes> <1 byte> 03              XOR of everything between the markers

Both give the same ten upper-case hex digits, so that a tag has one name whichever reader it meets.
"""

import re
from functools import reduce
from operator import xor
from typing import Final

from edge.devices.events import Scan, ScanFault
from edge.devices.framing import NO_FRAME, WAIT, Decoded, MarkedFrames, not_a_frame

TEXT_BYTES: Final = 14
BINARY_BYTES: Final = 10
_BINARY_LENGTH: Final = 0x0A
GONE_AFTER_S: Final = 0.5
"""A tag in the field repeats every 50 ms; after ten of those without it, it has left."""

_TEXT: Final = re.compile(rb"\x02(?P<tag>[0-9A-F]{10})(?P<xor>[0-9A-F]{2})\x03")
_BINARY: Final = re.compile(rb"\x02\x0a\x02(?P<tag>.{5})(?P<xor>.)\x03", re.DOTALL)


class Rdm6300Reader:
    """Frames in, one scan per visit of a tag to the field out."""

    def __init__(self) -> None:
        self._frames = MarkedFrames[Scan](b"\x02", _decode)
        self._present = ""
        self._seen_s = 0.0

    def feed(self, data: bytes, now: float) -> list[Scan | ScanFault]:
        """The tags that came into the field with `data`, and the faults."""
        items: list[Scan | ScanFault] = []
        for item in self._frames.feed(data):
            if not isinstance(item, Scan):
                code = item.code.replace("frame.", "scan.")
                items.append(ScanFault(code, item.raw, item.detail or "damaged tag: hold it again"))
            elif self._enters(item.text, now):
                items.append(item)
        return items

    def idle(self, now: float) -> list[Scan | ScanFault]:  # noqa: ARG002 - part of Reader
        """Nothing: a frame is complete by its bytes."""
        return []

    def wait_s(self, now: float) -> float | None:  # noqa: ARG002 - part of Reader
        """Never."""
        return None

    def _enters(self, tag: str, now: float) -> bool:
        entered = tag != self._present or now - self._seen_s > GONE_AFTER_S
        self._present, self._seen_s = tag, now
        return entered


def _decode(buffer: bytes, start: int) -> Decoded[Scan]:
    binary = buffer[start + 1 : start + 2] == bytes((_BINARY_LENGTH,))
    size = BINARY_BYTES if binary else TEXT_BYTES
    if len(buffer) < start + size:
        return WAIT
    match = (_BINARY if binary else _TEXT).match(buffer, start)
    if match is None:
        return NO_FRAME
    tag = match["tag"] if binary else bytes.fromhex(match["tag"].decode())
    check = match["xor"][0] if binary else int(match["xor"], 16)
    length_and_kind = _BINARY_LENGTH ^ 0x02 if binary else 0
    if reduce(xor, tag, length_and_kind) != check:
        return not_a_frame("frame.checksum", match[0])
    return size, Scan("tag", tag.hex().upper(), match[0])
