"""Toledo continuous frames, pure: 17 bytes, or 18 with the checksum.

    STX SWA SWB SWC W6 T6 CR [CHK]        sum of the low 7 bits of all 18 bytes = 0 modulo 128

The display's six digits have no sign and no point; both are in the status words. Bit 5 of a status word is
not looked at, since makers differ about it. Parity has been masked off before bytes come here.
"""

from typing import Final

from edge.devices.framing import NO_FRAME, WAIT, Decoded, MarkedFrames, not_a_frame
from edge.devices.readings import Display, FrameFault, Reading, Status, gross, net, refused

FRAME_BYTES: Final = 17
BARE_RUN: Final = 8
"""Frames in a row with the next one's STX in place of a checksum until the scale is taken to send none."""
_STX, _CR = 0x02, 0x0D

_DECIMALS: Final = {2: 0, 3: 1, 4: 2, 5: 3, 6: 4, 7: 5}
"""By bits 2-0 of SWA. 0 and 1 stand for fixed zeros, which makers put in or behind the digits: refused."""
_STEPS: Final = {1: 1, 2: 2, 3: 5}
"""By bits 4-3 of SWA."""
_NET, _NEGATIVE, _OUT_OF_RANGE, _MOTION, _KILOGRAMS, _NOT_ZEROED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40
_GRAMS, _EXPANDED = 0x01, 0x10


class ToledoParser:
    """`checksum` tells whether this scale sends the 18th byte; None finds out.

    It does only after a run of frames without: a damaged checksum is never excused.
    """

    def __init__(self, *, checksum: bool | None = None) -> None:
        self._checksum = checksum
        self._bare_in_a_row = 0
        self._frames = MarkedFrames[Reading](bytes((_STX,)), self._decode)

    def feed(self, data: bytes) -> list[Reading | FrameFault]:
        """The readings and faults that became complete with `data`."""
        return self._frames.feed(data)

    def _decode(self, buffer: bytes, start: int) -> Decoded[Reading]:
        end = start + FRAME_BYTES
        if len(buffer) >= end and buffer[end - 1] != _CR:
            return NO_FRAME
        if len(buffer) < end + (self._checksum is not False):
            return WAIT
        size = self._size(buffer, start)
        frame = buffer[start : start + (size or FRAME_BYTES)]
        if not size or not frame.isascii():
            return not_a_frame("frame.checksum", frame)
        reading = _judge(frame)
        return (size, reading) if isinstance(reading, Reading) else (-1, reading)

    def _size(self, buffer: bytes, start: int) -> int:
        """How long the frame at `start` is, 0 if its checksum is wrong."""
        end = start + FRAME_BYTES
        if self._checksum is False:
            return FRAME_BYTES
        if not sum(buffer[start : end + 1]) & 0x7F:
            self._bare_in_a_row = 0
            return FRAME_BYTES + 1
        bare = self._checksum is None and buffer[end] == _STX
        self._bare_in_a_row = self._bare_in_a_row + 1 if bare else 0
        return FRAME_BYTES if self._bare_in_a_row >= BARE_RUN else 0


def _judge(frame: bytes) -> Reading | FrameFault:
    unit = _unit(frame[2], frame[3])
    if not unit:
        return FrameFault("frame.unit", frame, f"unit code {frame[3] & 7} is none this gateway converts")
    if reading := _refusal(frame, unit):
        return reading
    weight, tare = _digits(frame[4:10]), _digits(frame[10:16])
    if weight is None or tare is None or frame[1] & 7 not in _DECIMALS or frame[1] >> 3 & 3 not in _STEPS:
        return FrameFault("frame.format", frame, "digits or status word A are none of the dialect")
    return _reading(frame, weight, tare, unit)


def _refusal(frame: bytes, unit: str) -> Reading | None:
    if frame[2] & _OUT_OF_RANGE:
        status = Status.UNDERLOAD if frame[2] & _NEGATIVE else Status.OVERLOAD
        return refused(status, unit=unit, raw=frame)
    if frame[2] & _NOT_ZEROED:
        return refused(Status.ERROR, unit=unit, raw=frame, detail="not zeroed since power-up: zero the scale")
    if frame[3] & _EXPANDED:
        return refused(Status.ERROR, unit=unit, raw=frame, detail="expanded display: switch it off")
    return None


def _reading(frame: bytes, weight: int, tare: int, unit: str) -> Reading:
    decimals, step = _DECIMALS[frame[1] & 7], _STEPS[frame[1] >> 3 & 3]
    display = Display(-weight if frame[2] & _NEGATIVE else weight, decimals, unit, step)
    stable = not frame[2] & _MOTION
    if frame[2] & _NET:
        return net(display, Display(tare, decimals, unit, step), stable=stable, raw=frame)
    return gross(display, stable=stable, raw=frame)


def _unit(word_b: int, word_c: int) -> str:
    match word_c & 0x07:
        case 0:
            return "kg" if word_b & _KILOGRAMS else "lb"
        case 1:
            return "g"
        case _:
            return ""


def _digits(field: bytes) -> int | None:
    """Six digits, leading zeros possibly blank; None if it is anything else."""
    text = field.lstrip(b" ")
    return int(text) if text.isdigit() else None
