"""Yaohua XK3190 and clones, pure: A9 (continuous and on command), A12E and its unchecked clones.

    a9          02 ± dddddd p XX 03           p decimals 0-4, XX = XOR of ± to p as two hex digits
    a9 reply    02 addr cmd ± dddddd p XX 03  XOR from the address on; the handshake's reply has no weight
    a12e        WG004.139kg3D CR LF           XOR of the first 11 bytes; WN is net; OL/LO out of range
    a12e-clone  ww0003.17kg                   ww gross, wn net, wt tare; nothing to check it by

None of them tells whether the load is at rest. A9 names no unit: it is the configured one.
"""

import re
from functools import reduce
from operator import xor
from typing import Final

from edge.devices.framing import NO_FRAME, WAIT, Decoded, Lines, MarkedFrames, not_a_frame
from edge.devices.readings import Display, FrameFault, Reading, Status, gross, net, refused, shown, tare_only

A9_BYTES: Final = 12
A9_REPLY_BYTES: Final = 14
A9_HANDSHAKE_BYTES: Final = 6
A12E_BYTES: Final = 15
CLONE_BYTES: Final = 11
_STX, _ETX = b"\x02", b"\x03"

_A9: Final = re.compile(
    rb"\x02(?P<checked>(?P<sign>[+-])(?P<digits>[0-9]{6})(?P<decimals>[0-4]))"
    rb"(?P<xor>[0-9A-F]{2})\x03"
)
_A9_REPLY: Final = re.compile(
    rb"\x02(?P<checked>[A-Z](?P<command>[BCD])(?P<sign>[+-])(?P<digits>[0-9]{6})(?P<decimals>[0-4]))"
    rb"(?P<xor>[0-9A-F]{2})\x03"
)
_A9_HANDSHAKE: Final = re.compile(rb"\x02(?P<checked>[A-Z]A)(?P<xor>[0-9A-F]{2})\x03")
_VALUE: Final = rb"(?P<value>(?=[0-9.-]{7}[a-z])-?[0-9]+(?:\.[0-9]+)?)(?P<unit>kg|lb)"
_A12E: Final = re.compile(rb"(?P<checked>W(?P<mode>[GN])" + _VALUE + rb")(?P<xor>[0-9A-F]{2})\Z")
_A12E_OUT: Final = re.compile(rb"(?P<checked> {9}(?P<side>OL|LO))(?P<xor>[0-9A-F]{2})\Z")
_CLONE: Final = re.compile(rb"w(?P<mode>[wnt])" + _VALUE)


class A9Parser:
    """Continuous A9 frames; `unit` is what the indicator is set to."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._frames = MarkedFrames[Reading](_STX, self._decode)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._frames.feed(data)

    def _decode(self, buffer: bytes, start: int) -> Decoded[Reading]:
        if len(buffer) < start + A9_BYTES:
            return WAIT
        match = _A9.match(buffer, start)
        if match is None:
            return NO_FRAME
        if not _checks(match):
            return not_a_frame("frame.checksum", match[0])
        return A9_BYTES, gross(_a9_display(match, self._unit), stable=None, raw=match[0])


class A9ReplyParser:
    """Replies of an A9 in command mode: gross, tare and net each asked for by its letter."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._frames = MarkedFrames[Reading](_STX, self._decode)
        self.handshakes = 0

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._frames.feed(data)

    def _decode(self, buffer: bytes, start: int) -> Decoded[Reading]:
        here = len(buffer) - start
        if here < A9_HANDSHAKE_BYTES:
            return WAIT
        if (match := _A9_HANDSHAKE.match(buffer, start)) and _checks(match):
            self.handshakes += 1
            return A9_HANDSHAKE_BYTES, None
        if here < A9_REPLY_BYTES:
            return WAIT
        match = _A9_REPLY.match(buffer, start)
        if match is None:
            return NO_FRAME
        if not _checks(match):
            return not_a_frame("frame.checksum", match[0])
        return A9_REPLY_BYTES, _a9_reply(match, self._unit)


class A12eParser:
    """A12E frames with their XOR."""

    def __init__(self) -> None:
        self._lines = Lines[Reading](2 * A12E_BYTES, _decode_a12e)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._lines.feed(data)


class A12eCloneParser:
    """Clones of the A12E: no checksum, and often no line end, so the unit ends a frame."""

    def __init__(self) -> None:
        self._frames = MarkedFrames[Reading](b"w", _decode_clone)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        items = self._frames.feed(data)
        return [item for item in items if isinstance(item, Reading) or item.raw.strip(b"\r\n")]


def a9_request(address: str, command: str) -> bytes:
    """Ask the indicator with `address` A-Z: `A` handshake, `B` gross, `C` tare, `D` net."""
    body = (address + command).encode("ascii")
    return _STX + body + b"%02X" % reduce(xor, body) + _ETX


def _checks(match: re.Match[bytes]) -> bool:
    return reduce(xor, match["checked"]) == int(match["xor"], 16)


def _a9_display(match: re.Match[bytes], unit: str) -> Display:
    return Display(int(match["sign"] + match["digits"]), int(match["decimals"]), unit)


def _a9_reply(match: re.Match[bytes], unit: str) -> Reading:
    display = _a9_display(match, unit)
    match match["command"]:
        case b"C":
            return tare_only(display, raw=match[0])
        case b"D":
            return net(display, None, stable=None, raw=match[0])
        case _:
            return gross(display, stable=None, raw=match[0])


def _decode_a12e(line: bytes) -> Decoded[Reading]:
    match = _A12E.search(line) or _A12E_OUT.search(line)
    if match is None:
        return NO_FRAME
    raw = match[0] + b"\r\n"
    if not _checks(match):
        return not_a_frame("frame.checksum", raw)
    side = match.groupdict().get("side")
    if side is not None:
        status = Status.OVERLOAD if side == b"OL" else Status.UNDERLOAD
        return match.start(), refused(status, unit="", raw=raw)
    return match.start(), _by_mode(match, raw)


def _decode_clone(buffer: bytes, start: int) -> Decoded[Reading]:
    if len(buffer) < start + CLONE_BYTES:
        return WAIT
    match = _CLONE.match(buffer, start)
    return (CLONE_BYTES, _by_mode(match, match[0])) if match else NO_FRAME


def _by_mode(match: re.Match[bytes], raw: bytes) -> Reading:
    display = shown(match["value"].decode(), match["unit"].decode())
    match match["mode"]:
        case b"N" | b"n":
            return net(display, None, stable=None, raw=raw)
        case b"t":
            return tare_only(display, raw=raw)
        case _:
            return gross(display, stable=None, raw=raw)
