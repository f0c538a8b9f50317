"""Yaohua XK3190 indicators and their clones: A9 with XOR, "=" reversed, A12E and its copies.

The A9 and "=" forms have no status at all: outside the range they simply stop sending.
"""

from firmware_sim.indication import Condition, Indication, Unit

STX, ETX = 0x02, 0x03
CRLF = b"\r\n"


def encode_a9(shown: Indication) -> bytes:
    """A9 continuous, 12 bytes: STX, sign, six digits, decimals, XOR as two characters, ETX."""
    if not shown.weighable:
        return b""
    digits = shown.shown
    sign = "-" if digits.negative else "+"
    inner = f"{sign}{abs(digits.counts):06d}{digits.decimals}".encode("ascii")
    return bytes([STX]) + inner + xor_characters(inner) + bytes([ETX])


def encode_reversed(shown: Indication) -> bytes:
    """A26 format 1: `=` and eight characters backwards, the sign last: 3.000 → `=000.3000`."""
    if not shown.weighable:
        return b""
    return b"=" + shown.shown.signed(8)[::-1].encode("ascii")


def encode_a12e(shown: Indication) -> bytes:
    """A12E, 17 bytes with its line end: `WG004.139kg3D`; out of range nine spaces and OL or LO."""
    if not shown.weighable:
        text = b"OL" if shown.condition is Condition.OVERLOAD else b"LO"
        inner = b" " * 9 + text
    else:
        head = "WG" if shown.tare_g is None else "WN"
        inner = f"{head}{shown.shown.signed(7)}{shown.unit.value.rjust(2)}".encode("ascii")
    return inner + xor_characters(inner) + CRLF


def encode_a12e_clone(shown: Indication) -> bytes:
    """The copies: `ww0003.17kg`, lower case, one character more, no checksum, no stability."""
    if not shown.weighable:
        return b""
    head = "ww" if shown.tare_g is None else "wn"
    unit = shown.unit if shown.unit is not Unit.G else Unit.KG
    return f"{head}{shown.shown.signed(7)}{unit.value}".encode("ascii") + CRLF


def xor_characters(inner: bytes) -> bytes:
    """XOR of all bytes as two characters: a nibble up to 9 plus 0x30, else plus 0x37."""
    total = 0
    for byte in inner:
        total ^= byte
    return bytes(nibble + (0x30 if nibble <= 9 else 0x37) for nibble in (total >> 4, total & 0x0F))
