"""Toledo standard continuous output: STX, three status bytes, weight, tare, CR, optional checksum."""

from dataclasses import dataclass

from firmware_sim.indication import Condition, Digits, Indication, Unit, pound_step_hundredths

STX, CR = 0x02, 0x0D
# SWA bits 2..0 by decimals behind the point: XXXXXX is 010, XXXXX.X 011 and so on.
_POINT_AT_ZERO_DECIMALS = 0b010
_STEP_BITS = {1: 0b01, 2: 0b10, 5: 0b11}
_ALWAYS = 0x20
_NET, _NEGATIVE, _OUT_OF_RANGE, _MOTION, _KILOGRAM, _NOT_ZEROED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40
_GRAM = 0x01


@dataclass(frozen=True, slots=True)
class ToledoEncoder:
    """Encodes one frame: 17 bytes, or 18 with the checksum."""

    checksum: bool = True

    def __call__(self, shown: Indication) -> bytes:
        """The frame for an indication; out of range shows blank digits, as the display does."""
        weight, tare = shown.shown, shown.tare
        body = bytes([STX, _point_and_step(shown, weight), _status(shown), _unit(shown)])
        digits = _six(weight) if shown.weighable else b" " * 6
        frame = body + digits + _six(tare) + bytes([CR])
        return frame + bytes([checksum(frame)]) if self.checksum else frame


def checksum(frame: bytes) -> int:
    """Two's complement of the sum of the low seven bits, itself seven bits."""
    return -sum(byte & 0x7F for byte in frame) & 0x7F


def _point_and_step(shown: Indication, weight: Digits) -> int:
    in_pounds = shown.unit is Unit.LB
    division = pound_step_hundredths(shown.division_g) if in_pounds else shown.division_g
    step = int(str(division)[0])
    return _ALWAYS | _STEP_BITS[step] << 3 | (_POINT_AT_ZERO_DECIMALS + weight.decimals)


def _status(shown: Indication) -> int:
    outside = shown.condition in (Condition.OVERLOAD, Condition.UNDERLOAD)
    flags = (
        (shown.tare_g is not None, _NET),
        (shown.weighable and shown.shown.negative, _NEGATIVE),
        (shown.condition is Condition.UNDERLOAD, _NEGATIVE),
        (outside, _OUT_OF_RANGE),
        (shown.condition is Condition.MOTION, _MOTION),
        (shown.unit is not Unit.LB, _KILOGRAM),
        (not shown.zeroed, _NOT_ZEROED),
    )
    status = _ALWAYS
    for holds, bit in flags:
        if holds:
            status |= bit
    return status


def _unit(shown: Indication) -> int:
    return _ALWAYS | (_GRAM if shown.unit is Unit.G else 0)


def _six(digits: Digits) -> bytes:
    """Six digits without sign or point, leading zeros as spaces."""
    return str(abs(digits.counts)).rjust(6)[-6:].encode("ascii")
