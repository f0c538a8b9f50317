"""Digits and units become integer grams exactly."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.devices.mass import is_unit, split_decimal, step_grams, to_grams

RATIOS = {
    "g": Fraction(1),
    "kg": Fraction(1000),
    "lb": Fraction("453.59237"),
    "oz": Fraction("453.59237") / 16,
    "t": Fraction(10**6),
    "mg": Fraction(1, 1000),
}


@given(st.integers(-(10**9), 10**9), st.integers(0, 6), st.sampled_from(sorted(RATIOS)))
def test_grams_are_the_exact_ratio_rounded_half_to_even(digits: int, decimals: int, unit: str) -> None:
    exact = Fraction(digits, 10**decimals) * RATIOS[unit]
    assert to_grams(digits, decimals, unit) == round(exact)  # round() of a Fraction is half to even


@pytest.mark.parametrize(
    ("digits", "decimals", "unit", "grams"),
    [(5, 1, "g", 0), (15, 1, "g", 2), (25, 1, "g", 2), (-5, 1, "g", 0), (-15, 1, "g", -2), (1, 0, "lb", 454)],
)
def test_halves_go_to_the_even_gram(digits: int, decimals: int, unit: str, grams: int) -> None:
    assert to_grams(digits, decimals, unit) == grams


def test_a_step_is_never_nothing() -> None:
    assert step_grams(1, 4, "kg") == 1
    assert step_grams(5, 2, "kg") == 50
    assert step_grams(1, 2, "lb") == 5


def test_pieces_are_no_mass() -> None:
    assert not is_unit("pcs")
    with pytest.raises(KeyError):
        to_grams(1, 0, "pcs")


def test_a_sign_counts_for_the_fraction_too() -> None:
    assert split_decimal("-0.25") == (-25, 2)
    assert split_decimal("+0001.234") == (1234, 3)
    assert split_decimal("12") == (12, 0)
