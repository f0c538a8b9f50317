"""The family whose frames begin with ST, US or OL: A&D, CAS in three lengths, KERN.

Each encoder is a plain function from an indication to one frame; b"" means silence.
"""

from firmware_sim.indication import Condition, Digits, Indication

CRLF = b"\r\n"
# CAS lamp byte: bit 7 always, then stable, always (CI-400), gross, tare, zero.
_LAMP, _LAMP_STABLE, _LAMP_CI400, _LAMP_GROSS, _LAMP_TARE, _LAMP_ZERO = 0x80, 0x40, 0x20, 0x04, 0x02, 0x01
CAS_DEVICE_ID = 1


def encode_and(shown: Indication) -> bytes:
    """A&D standard format, 17 bytes: `ST,+0001.234 kg`; out of range `OL,±9999999E+19`."""
    if not shown.weighable:
        sign = b"+" if shown.condition is Condition.OVERLOAD else b"-"
        return b"OL," + sign + b"9999999E+19" + CRLF
    digits = shown.shown
    unit = shown.unit.value.rjust(3)
    return f"{_head(shown)},{_sign(digits)}{digits.text(8)}{unit}".encode("ascii") + CRLF


def encode_cas22(shown: Indication) -> bytes:
    """CAS 22 bytes with device id and lamp byte; the lamp byte has its top bit set."""
    head = f"{_head(shown)},{_kind(shown)},".encode("ascii")
    middle = bytes([0x30 + CAS_DEVICE_ID, _lamp(shown)]) + b","
    return head + middle + _eight(shown) + b" " + _unit2(shown) + CRLF


def encode_cas18(shown: Indication) -> bytes:
    """CAS 18 bytes, the one its manuals call "AND": `ST,GS,000013.5kg`."""
    return f"{_head(shown)},{_kind(shown)},".encode("ascii") + _eight(shown) + _unit2(shown) + CRLF


def encode_cas10(shown: Indication) -> bytes:
    """CAS 10 bytes: eight characters of weight, nothing else; silent when there is no number."""
    return _eight(shown) + CRLF if shown.weighable else b""


def encode_kern(shown: Indication) -> bytes:
    """KERN: `ST,GS,+0012.340  kg`; out of range a sign and spaces instead of digits."""
    unit = shown.unit.value.rjust(4)
    if not shown.weighable:
        sign = "+" if shown.condition is Condition.OVERLOAD else "-"
        return f"OL,{_kind(shown)},{sign}{' ' * 8}{unit}".encode("ascii") + CRLF
    digits = shown.shown
    return f"{_head(shown)},{_kind(shown)},{_sign(digits)}{digits.text(8)}{unit}".encode("ascii") + CRLF


def _head(shown: Indication) -> str:
    if not shown.weighable:
        return "OL"
    return "ST" if shown.condition is Condition.STABLE else "US"


def _kind(shown: Indication) -> str:
    return "GS" if shown.tare_g is None else "NT"


def _sign(digits: Digits) -> str:
    """A sign always; zero is always plus."""
    return "-" if digits.negative else "+"


def _eight(shown: Indication) -> bytes:
    if not shown.weighable:
        return b" " * 8
    return shown.shown.signed(8).encode("ascii")


def _unit2(shown: Indication) -> bytes:
    return shown.unit.value.rjust(2).encode("ascii")


def _lamp(shown: Indication) -> int:
    flags = (
        (shown.condition is Condition.STABLE, _LAMP_STABLE),
        (shown.tare_g is None, _LAMP_GROSS),
        (shown.tare_g is not None, _LAMP_TARE),
        (shown.weighable and shown.at_zero, _LAMP_ZERO),
    )
    return _LAMP | _LAMP_CI400 | sum(bit for holds, bit in flags if holds)
