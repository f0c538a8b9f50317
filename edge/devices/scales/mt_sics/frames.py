"""MT-SICS answers and requests, pure. Owns the grammar of a line; does not own when to ask.

    weight   `<ID> SP <status> SP <value, exactly 10 wide, right-aligned> SP <unit> CR LF`

The width is checked strictly because the dialect has no checksum: it is what catches a dropped digit.
What is no number where the weight belongs (`S S Error 12b`) is an error of the scale, never a zero.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from edge.devices.framing import NO_FRAME, Decoded, Lines, not_a_frame
from edge.devices.mass import is_unit
from edge.devices.readings import FrameFault, Reading, Status, gross, refused, shown

LINE_BYTES_MAX: Final = 128
"""Longer than any line asked for here; `I2` with its quoted model text is the longest."""
ANSWERS_MAX: Final = 16
"""Answers kept until somebody takes them; older ones fall out."""

_WEIGHT: Final = re.compile(
    rb"S (?P<status>[SD]) (?=.{10} [a-z])(?P<value> *-?[0-9]+(?:\.[0-9]+)?) (?P<unit>[a-z]{1,3}) *\Z"
)
_SCALE_ERROR: Final = re.compile(rb"S [SD] +(?P<detail>Error [ -~]{1,12})\Z")
_REFUSAL: Final = re.compile(rb"S (?P<status>[I+-])\Z")
_TROUBLE: Final = re.compile(rb"(?P<code>E[STL])\Z")
_ANSWER: Final = re.compile(
    rb"(?P<command>Z|ZI|T|TI|TA|TAC|I[0-5]|@) (?P<status>[A-Z+-])(?P<fields>(?: [ -~]{1,100})?)\Z"
)
_REFUSED: Final = {
    b"I": (Status.ERROR, "S I: not executable now"),
    b"+": (Status.OVERLOAD, ""),
    b"-": (Status.UNDERLOAD, ""),
}
_TROUBLES: Final = {
    b"ES": "ES: the scale does not know the command",
    b"ET": "ET: transmission error, check baud rate and parity",
    b"EL": "EL: the command cannot be carried out",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no weight: `command` `Z`, `I4` ..., `status` `A`, `I`, `+` ..., `text` unquoted."""

    command: str
    status: str
    text: str


def request_immediate() -> bytes:
    """Ask for the weight as it is now, at rest or not. (`S` would block until the scale is stable.)"""
    return b"SI\r\n"


def request_serial() -> bytes:
    """Ask for the serial number."""
    return b"I4\r\n"


def request_model() -> bytes:
    """Ask for model, capacity and unit."""
    return b"I2\r\n"


def request_zero() -> bytes:
    """Set to zero once stable."""
    return b"Z\r\n"


class MtSicsParser:
    """Weight lines become readings; other answers wait in a bounded box for `take_answers`."""

    def __init__(self) -> None:
        self._lines = Lines[Reading](LINE_BYTES_MAX, self._decode)
        self._answers: deque[Answer] = deque(maxlen=ANSWERS_MAX)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._lines.feed(data)

    def take_answers(self) -> list[Answer]:
        """The answers since the last call, oldest first."""
        answers = list(self._answers)
        self._answers.clear()
        return answers

    def _decode(self, line: bytes) -> Decoded[Reading]:
        if match := _WEIGHT.search(line):
            return _weight(match)
        if match := _SCALE_ERROR.match(line):
            return match.start(), _error(match, match["detail"].decode())
        if match := _REFUSAL.match(line):
            status, detail = _REFUSED[match["status"]]
            return match.start(), refused(status, unit="", raw=_raw(match), detail=detail)
        if match := _TROUBLE.match(line):
            return match.start(), _error(match, _TROUBLES[match["code"]])
        if match := _ANSWER.match(line):
            self._answers.append(_answer(match))
            return match.start(), None
        return NO_FRAME


def _weight(match: re.Match[bytes]) -> Decoded[Reading]:
    unit = match["unit"].decode()
    if not is_unit(unit):
        return not_a_frame("frame.unit", _raw(match), f"unit {unit!r} is no mass this gateway converts")
    display = shown(match["value"].decode(), unit)
    return match.start(), gross(display, stable=match["status"] == b"S", raw=_raw(match))


def _error(match: re.Match[bytes], detail: str) -> Reading:
    return refused(Status.ERROR, unit="", raw=_raw(match), detail=detail)


def _answer(match: re.Match[bytes]) -> Answer:
    fields = match["fields"].decode().strip()
    return Answer(match["command"].decode(), match["status"].decode(), fields.replace('"', ""))


def _raw(match: re.Match[bytes]) -> bytes:
    return match[0] + b"\r\n"
