"""The "ST,GS" family, pure: five line formats of A&D, CAS and KERN, all ended by CR LF, none with a checksum.

    and     17 bytes   ST,+0001.234 kg          with a comparator ST,OK,+0001.234 kg
    cas22   22 bytes   ST,GS,<id><lamp>,000013.5 kg     the lamp byte is above 0x7F: bytes, not text
    cas18   18 bytes   ST,GS,000013.5kg
    cas10   10 bytes   000013.5                 no header, no unit, no flag
    kern               ST,GS,+01234567  oz

Field widths are checked strictly: without a checksum they are what catches a lost byte.
"""

import re
from collections.abc import Callable
from typing import Final

from edge.devices.framing import NO_FRAME, Decoded, Lines, not_a_frame
from edge.devices.mass import is_unit
from edge.devices.readings import (
    Display,
    FrameFault,
    Reading,
    Status,
    gross,
    net,
    refused,
    shown,
    tare_only,
)

LINE_BYTES_MAX: Final = 40
"""The longest line, A&D's with a comparator's word, has 20 bytes."""
_LAMP_STABLE: Final = 0x40

_AND: Final = re.compile(
    rb"(?P<head>ST|US|QT),(?:(?:HI|OK|LO),)?(?P<value>[+-][0-9]{1,7}\.?[0-9]{0,6})(?<=[+-].{8})"
    rb"(?P<unit>[ A-Za-z]{3})\Z"
)
_AND_OVER: Final = re.compile(rb"OL,(?:(?:HI|OK|LO),)?(?P<sign>[+-])9999999E\+19\Z")
_DATA: Final = rb"(?=[ 0-9.-]{7}[0-9](?![0-9.]))(?P<value> *-?[0-9]+(?:\.[0-9]+)?)"
"""Eight characters, right-aligned: the eighth is a digit and the ninth is not."""
_CAS22: Final = re.compile(
    rb"(?P<head>ST|US),(?P<mode>GS|NT),[1-=](?P<lamp>[\x80-\xff])," + _DATA + rb" (?P<unit>[a-z ]{2})\Z"
)
_CAS22_OVER: Final = re.compile(rb"OL,(?:GS|NT),[1-=][\x80-\xff],(?P<data>[ -~]{8}) [a-z ]{2}\Z")
_CAS_ERROR: Final = re.compile(rb"ERR ?(?P<code>[0-9A-Za-z]{1,6})\Z")
_CAS18: Final = re.compile(rb"(?P<head>ST|US),(?P<mode>GS|NT)," + _DATA + rb"(?P<unit>[a-z ]{2})\Z")
_CAS18_OVER: Final = re.compile(rb"OL,(?:GS|NT),(?P<data>[ -~]{8})[a-z ]{2}\Z")
_CAS10: Final = re.compile(rb"\A" + _DATA + rb"\Z")
_KERN: Final = re.compile(
    rb"(?P<head>ST|US),(?P<mode>GS|NT|TR),(?P<value>[+-](?=[ 0-9.]{7}[0-9] ) *[0-9]+(?:\.[0-9]+)?)"
    rb"(?P<unit>[ ]{1,3}[a-z]{1,3})\Z"
)
_KERN_OVER: Final = re.compile(rb"OL,(?:GS|NT|TR),(?P<sign>[+-]) *(?:[a-z]{1,3})?\Z")

Decode = Callable[[bytes], Decoded[Reading]]


class StGsParser:
    """One parser for the five formats; `decode` is one of the `decode_*` below."""

    def __init__(self, decode: Decode) -> None:
        self._lines = Lines[Reading](LINE_BYTES_MAX, decode)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._lines.feed(data)


def decode_and(line: bytes) -> Decoded[Reading]:
    """A&D standard format. `QT` counts pieces: an error here, never a weight."""
    if match := _AND_OVER.search(line):
        return match.start(), _out_of_range(match["sign"] == b"-", match)
    match = _AND.search(line)
    if match is None:
        return NO_FRAME
    if match["head"] == b"QT":
        detail = "counting mode: switch the scale to weighing"
        return match.start(), refused(Status.ERROR, unit="", raw=_raw(match), detail=detail)
    return _weight(match, stable=match["head"] == b"ST")


def decode_cas22(line: bytes) -> Decoded[Reading]:
    """CAS with device id and lamp byte. Stable only if header and lamp both say so."""
    if match := _CAS22_OVER.search(line):
        return match.start(), _out_of_range(b"-" in match["data"], match)
    if match := _CAS_ERROR.match(line):
        return match.start(), _error(match)
    match = _CAS22.search(line)
    if match is None:
        return NO_FRAME
    return _weight(match, stable=match["head"] == b"ST" and bool(match["lamp"][0] & _LAMP_STABLE))


def decode_cas18(line: bytes) -> Decoded[Reading]:
    """CAS in its 18-byte "AND" format."""
    if match := _CAS18_OVER.search(line):
        return match.start(), _out_of_range(b"-" in match["data"], match)
    if match := _CAS_ERROR.match(line):
        return match.start(), _error(match)
    match = _CAS18.search(line)
    return _weight(match, stable=match["head"] == b"ST") if match else NO_FRAME


def decode_cas10(unit: str) -> Decode:
    """CAS in its 10-byte format, which tells neither unit nor stability: `unit` is the configured one."""

    def decode(line: bytes) -> Decoded[Reading]:
        if match := _CAS_ERROR.match(line):
            return 0, _error(match)
        match = _CAS10.match(line)
        if match is None:
            return NO_FRAME
        return 0, gross(shown(match["value"].decode(), unit), stable=None, raw=_raw(match))

    return decode


def decode_kern(line: bytes) -> Decoded[Reading]:
    """KERN and others: sign, eight characters, unit right-aligned."""
    if match := _KERN_OVER.search(line):
        return match.start(), _out_of_range(match["sign"] == b"-", match)
    match = _KERN.search(line)
    return _weight(match, stable=match["head"] == b"ST") if match else NO_FRAME


def _weight(match: re.Match[bytes], *, stable: bool) -> Decoded[Reading]:
    unit = match["unit"].decode().strip()
    if not is_unit(unit):
        return not_a_frame("frame.unit", _raw(match), f"unit {unit!r} is no mass this gateway converts")
    display = shown(match["value"].decode().replace(" ", ""), unit)
    return match.start(), _by_mode(match.groupdict().get("mode"), display, stable, _raw(match))


def _by_mode(mode: bytes | None, display: Display, stable: bool, raw: bytes) -> Reading:
    match mode:
        case b"NT":
            return net(display, None, stable=stable, raw=raw)
        case b"TR":
            return tare_only(display, raw=raw)
        case _:
            return gross(display, stable=stable, raw=raw)


def _out_of_range(negative: bool, match: re.Match[bytes]) -> Reading:
    return refused(Status.UNDERLOAD if negative else Status.OVERLOAD, unit="", raw=_raw(match))


def _error(match: re.Match[bytes]) -> Reading:
    return refused(Status.ERROR, unit="", raw=_raw(match), detail=f"ERR{match['code'].decode()}")


def _raw(match: re.Match[bytes]) -> bytes:
    return match[0] + b"\r\n"
