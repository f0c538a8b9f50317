"""Decimal digits and a unit to integer grams, exactly. No floats, no guesses about unknown units."""

from typing import Final

_GRAMS: Final[dict[str, tuple[int, int]]] = {
    "g": (1, 1),
    "kg": (1000, 1),
    "t": (1_000_000, 1),
    "mg": (1, 1000),
    "lb": (45_359_237, 100_000),  # the international pound, 0.45359237 kg by definition
    "oz": (45_359_237, 1_600_000),  # a sixteenth of it
}
"""Grams per unit as a ratio."""


def is_unit(unit: str) -> bool:
    """Whether `unit` (as a scale sends it, lower case, no blanks) is a mass we can convert exactly."""
    return unit in _GRAMS


def to_grams(digits: int, decimals: int, unit: str) -> int:
    """Grams in `digits`·10^-`decimals` of `unit`, rounded half to even. KeyError for an unknown unit."""
    grams, per = _GRAMS[unit]
    return _divide_half_even(digits * grams, per * 10**decimals)


def step_grams(count: int, decimals: int, unit: str) -> int:
    """Grams of `count` display steps, rounded up to a whole gram so that a step is never nothing."""
    grams, per = _GRAMS[unit]
    denominator: int = per * 10**decimals
    return -(-count * grams // denominator)


def split_decimal(text: str) -> tuple[int, int]:
    """`"-12.50"` to (-1250, 2). The caller's grammar has already made sure that it is a number."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction), len(fraction)


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    double = remainder * 2
    if double > denominator or (double == denominator and quotient % 2):
        return quotient + 1
    return quotient
