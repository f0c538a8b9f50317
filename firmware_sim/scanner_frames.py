"""What scanners and tag readers put on the line: terminators, AIM prefixes, RDM6300 frames.

Pure functions from a text or a tag to bytes.
"""

from enum import StrEnum

from firmware_sim.errors import CommandError

STX, ETX = 0x02, 0x03
MAX_TEXT_BYTES = 4096
RDM6300_HEX_DIGITS = 10


class Terminator(StrEnum):
    """How a scanner ends a code; `gap` is nothing at all, just a pause."""

    CR = "cr"
    LF = "lf"
    CRLF = "crlf"
    TAB = "tab"
    GAP = "gap"


TERMINATOR_BYTES = {
    Terminator.CR: b"\r",
    Terminator.LF: b"\n",
    Terminator.CRLF: b"\r\n",
    Terminator.TAB: b"\t",
    Terminator.GAP: b"",
}


class Symbology(StrEnum):
    """What was scanned, by its AIM identifier."""

    QR = "]Q0"
    DATA_MATRIX = "]d0"
    CODE_128 = "]C0"
    EAN = "]E0"


def scan_frame(text: str, terminator: Terminator, aim: Symbology | None = None) -> bytes:
    """The bytes of one scanned code; CommandError for a text that no scanner sends."""
    try:
        body = text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise CommandError("a scanner sends single-byte characters; this text has others") from error
    if not 0 < len(body) <= MAX_TEXT_BYTES:
        raise CommandError(f"a code has 1 to {MAX_TEXT_BYTES} characters, not {len(body)}")
    prefix = aim.value.encode("ascii") if aim else b""
    return prefix + body + TERMINATOR_BYTES[terminator]


def tag_frame(tag: str) -> bytes:
    """RDM6300, 14 bytes: STX, ten hex digits, XOR of the five bytes as two hex digits, ETX."""
    digits = tag.upper()
    if len(digits) != RDM6300_HEX_DIGITS or set(digits) - set("0123456789ABCDEF"):
        raise CommandError(f"a tag is ten hex digits such as 010063E9AE, not {tag!r}")
    total = 0
    for byte in bytes.fromhex(digits):
        total ^= byte
    return bytes([STX]) + f"{digits}{total:02X}".encode("ascii") + bytes([ETX])
