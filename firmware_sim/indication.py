"""What a scale's display shows at one moment, and the arithmetic of turning grams into digits.

Knows nothing of bytes; every dialect encodes an `Indication` in its own way.
"""

from dataclasses import dataclass
from enum import StrEnum

# The international pound, exactly 0.45359237 kg.
_POUND_IN_10_NANOGRAM = 45_359_237
_LB_STEPS_HUNDREDTHS = (1, 2, 5, 10, 20, 50, 100)


class Condition(StrEnum):
    """Whether the plate is at rest, moving, or outside what the scale may show."""

    STABLE = "stable"
    MOTION = "motion"
    OVERLOAD = "overload"
    UNDERLOAD = "underload"


class Unit(StrEnum):
    """The unit on the display."""

    KG = "kg"
    G = "g"
    LB = "lb"


@dataclass(frozen=True, slots=True)
class Digits:
    """A signed whole number of last digits, and how many of them stand behind the decimal point."""

    counts: int
    decimals: int

    @property
    def negative(self) -> bool:
        """Whether a minus stands before the number; zero never has one."""
        return self.counts < 0

    def text(self, minimum_width: int = 0) -> str:
        """Digits and point without sign, zero padded on the left to `minimum_width` characters."""
        padded = str(abs(self.counts)).zfill(self.decimals + 1)
        whole = padded[: len(padded) - self.decimals]
        shown = f"{whole}.{padded[len(padded) - self.decimals :]}" if self.decimals else whole
        return shown.zfill(minimum_width)

    def signed(self, minimum_width: int = 0) -> str:
        """Like `text`, with "-" directly before the first digit when below zero."""
        sign = "-" if self.negative else ""
        return sign + self.text(minimum_width - len(sign))


@dataclass(frozen=True, slots=True)
class Indication:
    """One moment of the display: masses are whole grams, already rounded to the division.

    `tare_g` is None while no tare is set. `zeroed` is False when the load at power-up was too
    large to be taken as zero. `zero_reach` says whether the zero key would be accepted: 0 yes,
    +1 too much on the plate, -1 too little.
    """

    condition: Condition
    gross_g: int
    division_g: int
    max_g: int
    tare_g: int | None = None
    tare_is_preset: bool = False
    at_zero: bool = False
    zeroed: bool = True
    zero_reach: int = 0
    unit: Unit = Unit.KG

    @property
    def net_g(self) -> int:
        """Gross minus tare, in grams."""
        return self.gross_g - (self.tare_g or 0)

    @property
    def weighable(self) -> bool:
        """Whether there is a number to show at all."""
        return self.condition in (Condition.STABLE, Condition.MOTION)

    @property
    def gross(self) -> Digits:
        """The gross mass as digits of the display's unit."""
        return in_unit(self.gross_g, self.division_g, self.unit)

    @property
    def tare(self) -> Digits:
        """The tare as digits of the display's unit, zero while none is set."""
        return in_unit(self.tare_g or 0, self.division_g, self.unit)

    @property
    def shown(self) -> Digits:
        """What the large digits say: net while a tare is set, else gross."""
        gross = self.gross
        return Digits(gross.counts - self.tare.counts, gross.decimals)


def in_unit(mass_g: int, division_g: int, unit: Unit) -> Digits:
    """Express whole grams in a unit, with the decimals that the division calls for."""
    if unit is Unit.G:
        return Digits(mass_g, 0)
    if unit is Unit.LB:
        return Digits(_pounds_hundredths(mass_g, division_g), 2)
    decimals = kilogram_decimals(division_g)
    return Digits(mass_g // 10 ** (3 - decimals), decimals)


def kilogram_decimals(division_g: int) -> int:
    """How many decimals a kilogram display needs for this division: 5 g → 3, 10 g → 2, 1000 g → 0."""
    decimals = 3
    while decimals and division_g % 10 == 0:
        division_g //= 10
        decimals -= 1
    return decimals


def pound_step_hundredths(division_g: int) -> int:
    """The division on a pound display, in 0.01 lb, that is nearest above the metric one."""
    for step in _LB_STEPS_HUNDREDTHS:
        if step * _POUND_IN_10_NANOGRAM >= division_g * 10_000_000:
            return step
    return _LB_STEPS_HUNDREDTHS[-1]


def _pounds_hundredths(mass_g: int, division_g: int) -> int:
    step = pound_step_hundredths(division_g)
    divisor = step * _POUND_IN_10_NANOGRAM
    steps = (abs(mass_g) * 10_000_000 + divisor // 2) // divisor
    return (steps if mass_g >= 0 else -steps) * step
