"""Codes typed by a scanner, pure: terminators, time gaps, AIM prefixes and what kind of code it is.

A code ends with the configured terminator or, for `gap`, with 100 ms of silence. With a terminator the same
silence means that the rest never came: the partial code is dropped and said to be, and is never glued to the
next one. Owns no signature: whether a card is genuine is judged elsewhere.
"""

import re
from typing import Final, Literal

from edge.devices.events import Scan, ScanFault
from edge.devices.readings import RAW_BYTES_MAX
from protocol.cards import PREFIX as CARD_PREFIX
from protocol.codes import BIN_PREFIX, check_bin_code
from protocol.errors import CodeError

Terminator = Literal["cr", "lf", "crlf", "tab", "gap"]

GAP_S: Final = 0.1
CODE_BYTES_MAX: Final = 600
"""A member card has at most 512 characters; the rest is prefix and room."""
_TERMINATORS: Final[dict[Terminator, bytes]] = {"cr": b"\r", "lf": b"\n", "crlf": b"\r\n", "tab": b"\t"}
_LINE_ENDS: Final = b"\r\n\t\x00"
_AIM: Final = re.compile(rb"\][A-Za-z][0-9A-Za-z]")
_TEXT: Final = re.compile(rb"[\x20-\x7e\x1d]+")  # 0x1D separates the elements of GS1 codes


class LineReader:
    """Collects the bytes of one code at a time, at most CODE_BYTES_MAX of them."""

    def __init__(self, terminator: Terminator, gap_s: float = GAP_S) -> None:
        self._terminator = _TERMINATORS.get(terminator)
        self._gap_s = gap_s
        self._pending = b""
        self._last_s: float | None = None
        self._overlong = False

    def feed(self, data: bytes, now: float) -> list[Scan | ScanFault]:
        """The codes and faults that became complete with `data`.

        Only `idle` ends a code for want of bytes: time that passed until bytes were read may be our own
        lateness, silence that was looked at is the scanner's.
        """
        items: list[Scan | ScanFault] = []
        self._last_s = now
        if self._terminator is None:
            self._grow(data, items)
            return items
        *codes, self._pending = (self._pending + data).split(self._terminator)
        for code in codes:
            self._finish(code, items)
        pending, self._pending = self._pending, b""
        self._grow(pending, items)
        return items

    def idle(self, now: float) -> list[Scan | ScanFault]:
        """What the silence until `now` completed or cut off; call it after looking for bytes in vain."""
        items: list[Scan | ScanFault] = []
        if self._last_s is None or now - self._last_s <= self._gap_s:
            return items
        code, self._pending, self._last_s = self._pending, b"", None
        if self._terminator is None or self._overlong or not code.strip(_LINE_ENDS):
            self._finish(code, items)
        else:
            items.append(_fault("scan.partial", code, "the code broke off before its end: scan it again"))
        return items

    def wait_s(self, now: float) -> float | None:
        """Seconds until the gap is over."""
        return None if self._last_s is None else max(0.0, self._last_s + self._gap_s - now) + 0.001

    def _grow(self, data: bytes, items: list[Scan | ScanFault]) -> None:
        if self._overlong:
            return
        self._pending += data
        if len(self._pending) > CODE_BYTES_MAX:
            items.append(_overlong(self._pending))
            self._pending, self._overlong = b"", True

    def _finish(self, code: bytes, items: list[Scan | ScanFault]) -> None:
        overlong, self._overlong = self._overlong, False
        if overlong or not code.strip(_LINE_ENDS):
            return
        items.append(read_code(code) if len(code) <= CODE_BYTES_MAX else _overlong(code))


def read_code(raw: bytes) -> Scan | ScanFault:
    """What a complete code is. Surrounding line ends and an AIM prefix are no part of its text."""
    code = raw.strip(_LINE_ENDS)
    aim = _AIM.match(code)
    body = code[aim.end() :] if aim else code
    if not _TEXT.fullmatch(body):
        return _fault("scan.bytes", raw, "bytes that are no text: check baud rate and parity of the scanner")
    text = body.decode("ascii")
    prefix = aim[0].decode("ascii") if aim else None
    if text.startswith(CARD_PREFIX):
        return Scan("card", text, raw, prefix)
    if text.upper().startswith(BIN_PREFIX):
        return _bin(text.upper(), raw, prefix)
    return Scan("unknown", text, raw, prefix)


def _bin(text: str, raw: bytes, aim: str | None) -> Scan | ScanFault:
    try:
        return Scan("bin", BIN_PREFIX + check_bin_code(text), raw, aim)
    except CodeError as error:
        return _fault("scan.bin", raw, str(error))


def _overlong(raw: bytes) -> ScanFault:
    return _fault("scan.too_long", raw, f"more than {CODE_BYTES_MAX} characters: no code of ours")


def _fault(code: str, raw: bytes, detail: str) -> ScanFault:
    return ScanFault(code, raw[:RAW_BYTES_MAX], detail)
