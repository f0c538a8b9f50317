"""Yaohua's `=` form with its digits reversed, pure: `=000.3000` is 3.000, `=00.1000-` is −1.00.

Some indicators put the `=` behind the digits (`543.210=` is 12.345), so it is a separator here, not a start.
There is no unit, no flag and no checksum. What guards a value is its width: 8 characters are taken at once,
7 (the form with the `=` behind) only between two separators and after a run of such tokens.
A value with more than 3 decimals is refused: it is the unreversed form of the same indicator.
"""

import re
from typing import Final

from edge.devices.framing import garbage
from edge.devices.readings import FrameFault, Reading, gross, shown

WIDE: Final = 8
NARROW: Final = 7
NARROW_RUN: Final = 5
"""Tokens of 7 in a row until they are believed; a wide stream that lost single bytes does not get there."""
_TOKEN: Final = re.compile(rb"(?:[0-9]{1,3}\.)?[0-9]{1,8}-?\Z")
_SEPARATOR: Final = b"="
_LINE_ENDS: Final = b"\r\n"


class ReversedParser:
    """`unit` is what the indicator is set to."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._token = b""
        self._attached = False  # True once a separator was seen: what stands before it may be half a token
        self._taken = False
        self._narrow = 0

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        items: list[Reading | FrameFault] = []
        first, *others = data.split(_SEPARATOR)
        self._grow(first, items)
        for part in others:
            self._close(items)
            self._grow(part, items)
        return items

    def _grow(self, part: bytes, items: list[Reading | FrameFault]) -> None:
        self._token += part
        if self._attached and not self._taken and len(self._token) >= WIDE:
            self._narrow = 0
            self._taken = True
            items.append(self._read(self._token[:WIDE]))
            self._token = self._token[WIDE:]
        if len(self._token) > WIDE:
            items.append(garbage(self._token))
            self._token = b""

    def _close(self, items: list[Reading | FrameFault]) -> None:
        token, taken, attached = self._token, self._taken, self._attached
        self._token, self._taken, self._attached = b"", False, True
        if not taken and attached and len(token) == NARROW:
            self._narrow += 1
            items.append(self._read(token) if self._narrow >= NARROW_RUN else _unconfirmed(token))
            return
        if not taken:
            self._narrow = 0
        if token.strip(_LINE_ENDS):
            items.append(garbage(token))

    def _read(self, token: bytes) -> Reading | FrameFault:
        if not _TOKEN.match(token):
            return FrameFault("frame.format", token, "no reversed number with at most 3 decimals")
        display = shown(token[::-1].decode(), self._unit)
        return gross(display, stable=None, raw=_SEPARATOR + token)


def _unconfirmed(token: bytes) -> FrameFault:
    return FrameFault("frame.width", token, f"{NARROW} characters: believed after {NARROW_RUN} in a row")
