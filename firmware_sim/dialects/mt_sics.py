"""MT-SICS: an indicator that answers commands, one line each way, CR LF ended.

Pure: commands in, lines and key presses out. `S`, `Z` and `T` wait for stability up to a limit,
and later commands wait behind them, as on the real one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware_sim.dialects.base import NOTHING, Turn
from firmware_sim.indication import Condition, Digits, Indication, Unit, in_unit
from firmware_sim.physics import Key, PresetTare

CRLF = b"\r\n"
# The longest legal line is far shorter; more without CR LF is noise.
MAX_LINE_BYTES = 64
MAX_WAITING_COMMANDS = 16
STABILITY_TIMEOUT_S = 4.0
REPEAT_PERIOD_S = 0.1
_LEVELS = {
    "I0": 0, "I1": 0, "I2": 0, "I3": 0, "I4": 0, "S": 0, "SI": 0, "SIR": 0, "Z": 0, "ZI": 0, "@": 0,
    "T": 1, "TI": 1, "TA": 1, "TAC": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScaleIdentity:
    """What I1 to I4 answer."""

    model: str = "ICS469 OU"
    serial: str = "1234567"
    software: str = "2.10 10.28.0.493.142"


@dataclass(frozen=True, slots=True)
class _Waiting:
    command: str
    deadline_s: float


class MtSics:
    """One conversation. The oldest command is answered first; at most sixteen wait."""

    def __init__(self, identity: ScaleIdentity) -> None:
        self._identity = identity
        self._buffer = bytearray()
        self._commands: deque[str] = deque(maxlen=MAX_WAITING_COMMANDS)
        self._waiting: _Waiting | None = None
        self._next_repeat_s: float | None = None
        self._handlers: dict[str, Callable[[str, Indication, float], Turn]] = {
            "S": self._wait_for_stability,
            "Z": self._wait_for_stability,
            "T": self._wait_for_stability,
            "SI": lambda _text, shown, _now: _line(_immediate("S", shown)),
            "SIR": self._start_repeat,
            "ZI": lambda _text, shown, _now: _zero("ZI", shown, "S", "D"),
            "TI": lambda _text, shown, _now: _tare("TI", shown),
            "TA": lambda text, shown, _now: _preset(text, shown),
            "TAC": lambda _text, _shown, _now: Turn((b"TAC A" + CRLF,), (Key.CLEAR_TARE,)),
            "I0": lambda _text, _shown, _now: Turn(_command_list()),
            "I1": lambda _text, _shown, _now: _line('I1 A "01" "2.20" "2.20" "" ""'),
            "I2": self._model,
            "I3": lambda _text, _shown, _now: _line(f'I3 A "{identity.software}"'),
            "I4": lambda _text, _shown, _now: _line(f'I4 A "{identity.serial}"'),
        }

    def receive(self, data: bytes, shown: Indication, now_s: float) -> Turn:
        """Collect lines; each is answered in turn, an overlong one by `ES`."""
        self._buffer += data
        turn = NOTHING
        while (end := self._buffer.find(CRLF)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            turn = _joined(turn, self._accept(line, shown, now_s))
        if len(self._buffer) > MAX_LINE_BYTES:
            self._buffer.clear()
            turn = _joined(turn, _line("ES"))
        return turn

    def tick(self, shown: Indication, now_s: float) -> Turn:
        """Answer what waited for stability, then what queued behind it, then repeat for SIR."""
        turn = self._settle(shown, now_s)
        if self._next_repeat_s is not None and self._waiting is None and now_s >= self._next_repeat_s:
            self._next_repeat_s = max(self._next_repeat_s + REPEAT_PERIOD_S, now_s)
            turn = _joined(turn, _line(_immediate("S", shown)))
        return turn

    def _accept(self, line: bytes, shown: Indication, now_s: float) -> Turn:
        if line == b"@":
            return self._reset()
        if len(line) > MAX_LINE_BYTES or not line.isascii() or not line.decode("ascii").isprintable():
            return _line("ES")
        if self._waiting is not None or self._commands:
            self._commands.append(line.decode("ascii"))
            return NOTHING
        return self._execute(line.decode("ascii"), shown, now_s)

    def _execute(self, text: str, shown: Indication, now_s: float) -> Turn:
        """Run one command: unknown or malformed is `ES`, understood but wrong parameters `EL`."""
        command, _, parameters = text.partition(" ")
        handler = self._handlers.get(command)
        if handler is None:
            return _line("ES")
        if command in ("S", "SI"):
            self._next_repeat_s = None
        if parameters and command != "TA":
            return _line("EL")
        return handler(text, shown, now_s)

    def _reset(self) -> Turn:
        self._commands.clear()
        self._waiting = None
        self._next_repeat_s = None
        return Turn((f'I4 A "{self._identity.serial}"'.encode("ascii") + CRLF,), (Key.CLEAR_TARE,))

    def _start_repeat(self, _text: str, shown: Indication, now_s: float) -> Turn:
        self._next_repeat_s = now_s + REPEAT_PERIOD_S
        return _line(_immediate("S", shown))

    def _model(self, _text: str, shown: Indication, _now_s: float) -> Turn:
        capacity = in_unit(shown.max_g, shown.division_g, Unit.KG).text()
        return _line(f'I2 A "{self._identity.model} {capacity} kg"')

    def _wait_for_stability(self, text: str, shown: Indication, now_s: float) -> Turn:
        waiting = _Waiting(text, now_s + STABILITY_TIMEOUT_S)
        answer = _answer(waiting, shown, now_s)
        if answer is None:
            self._waiting = waiting
        return answer or NOTHING

    def _settle(self, shown: Indication, now_s: float) -> Turn:
        """Answer the waiting command once its answer is known, and run those behind it.

        After a key was pressed the display is no longer the one at hand: the rest waits for the next beat.
        """
        turn = NOTHING
        while not turn.presses:
            if self._waiting is not None:
                answer = _answer(self._waiting, shown, now_s)
                if answer is None:
                    break
                self._waiting = None
                turn = _joined(turn, answer)
            elif self._commands:
                turn = _joined(turn, self._execute(self._commands.popleft(), shown, now_s))
            else:
                break
        return turn


def _answer(waiting: _Waiting, shown: Indication, now_s: float) -> Turn | None:
    """The answer to S, Z or T; None while the plate still moves and time is left."""
    command = waiting.command
    if shown.condition is Condition.MOTION:
        return _line(f"{command} I") if now_s >= waiting.deadline_s else None
    if command == "S":
        return _line(_immediate("S", shown))
    if command == "Z":
        return _zero("Z", shown, "A", "A")
    return _tare("T", shown)


def _immediate(command: str, shown: Indication) -> str:
    match shown.condition:
        case Condition.OVERLOAD:
            return f"{command} +"
        case Condition.UNDERLOAD:
            return f"{command} -"
        case Condition.STABLE:
            return f"{command} S {_weight(shown.shown, shown.unit)}"
        case Condition.MOTION:
            return f"{command} D {_weight(shown.shown, shown.unit)}"


def _zero(command: str, shown: Indication, stable: str, moving: str) -> Turn:
    if shown.zero_reach:
        return _line(f"{command} {'+' if shown.zero_reach > 0 else '-'}")
    if shown.condition is Condition.MOTION and command == "ZI":
        return _line("ZI I")
    letter = stable if shown.condition is Condition.STABLE else moving
    return Turn((f"{command} {letter}".encode("ascii") + CRLF,), (Key.ZERO,))


def _tare(command: str, shown: Indication) -> Turn:
    if shown.condition is Condition.OVERLOAD:
        return _line(f"{command} +")
    if shown.condition is Condition.UNDERLOAD or shown.gross_g < 0:
        return _line(f"{command} -")
    if shown.condition is Condition.MOTION:
        return _line(f"{command} I")
    answer = f"{command} S {_weight(shown.gross, shown.unit)}".encode("ascii") + CRLF
    return Turn((answer,), (Key.TARE,))


def _preset(text: str, shown: Indication) -> Turn:
    """`TA` asks, `TA 2.50 kg` sets a preset tare in the display's unit."""
    fields = text.split(" ")
    if len(fields) == 1:
        return _line(f"TA A {_weight(shown.tare, shown.unit)}")
    mass_g = _grams(fields[1:], shown)
    if mass_g is None or not 0 <= mass_g <= shown.max_g:
        return _line("EL")
    rounded_g = (mass_g + shown.division_g // 2) // shown.division_g * shown.division_g
    digits = in_unit(rounded_g, shown.division_g, shown.unit)
    return Turn((f"TA A {_weight(digits, shown.unit)}".encode("ascii") + CRLF,), (PresetTare(rounded_g),))


def _grams(fields: list[str], shown: Indication) -> int | None:
    """Value and unit as whole grams, or None if they make no sense for this display."""
    if len(fields) != 2 or fields[1] != shown.unit.value or shown.unit is Unit.LB:
        return None
    whole, point, behind = fields[0].partition(".")
    places = 3 if shown.unit is Unit.KG else 0
    if not whole.isdecimal() or (point and not behind.isdecimal()) or len(behind) > places:
        return None
    return int(whole + behind.ljust(places, "0"))


def _weight(digits: Digits, unit: Unit) -> str:
    return f"{digits.signed().rjust(10)} {unit.value}"


def _command_list() -> tuple[bytes, ...]:
    names = list(_LEVELS.items())
    lines = [f'I0 B {level} "{name}"' for name, level in names[:-1]]
    name, level = names[-1]
    return tuple(line.encode("ascii") + CRLF for line in [*lines, f'I0 A {level} "{name}"'])


def _line(text: str) -> Turn:
    return Turn((text.encode("ascii") + CRLF,))


def _joined(first: Turn, second: Turn) -> Turn:
    return Turn(first.frames + second.frames, first.presses + second.presses)
