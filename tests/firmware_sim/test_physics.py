"""The plate behaves like a scale: it swings, settles, creeps, and never calls a moving load stable."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.errors import ProfileError
from firmware_sim.indication import Condition, Indication, Unit, in_unit, kilogram_decimals
from firmware_sim.physics import (
    SAMPLE_PERIOD_S,
    Key,
    PlateInputs,
    PlateState,
    PresetTare,
    ScaleProfile,
    power_on,
    round_to_division,
    update,
)

PROFILE = ScaleProfile()
QUIET = replace(PROFILE, noise_g=0.0, creep_ppm=0.0)


class Bench:
    """A scale on a bench whose time is moved by hand."""

    def __init__(self, profile: ScaleProfile = PROFILE, seed: int = 1, load_g: float = 0.0) -> None:
        self.profile, self.seed, self.load_g = profile, seed, load_g
        self.time_s = 100.0
        self.state: PlateState = power_on(profile, self.time_s, load_g)

    def wait(self, seconds: float, *presses: Key | PresetTare) -> Indication:
        self.time_s += seconds
        inputs = PlateInputs(self.load_g, presses)
        self.state, shown = update(self.profile, self.seed, self.state, self.time_s, inputs)
        return shown

    def settled(self, load_g: float) -> Indication:
        self.load_g = load_g
        self.wait(0.0)
        return self.wait(5.0)


loads = st.floats(min_value=50.0, max_value=59_000.0)
seeds = st.integers(min_value=0, max_value=2**32)


@settings(max_examples=150, deadline=None)
@given(load_g=loads, seed=seeds)
def test_a_load_settles_within_five_seconds_to_within_one_division(load_g: float, seed: int) -> None:
    shown = Bench(PROFILE, seed).settled(load_g)
    assert shown.condition is Condition.STABLE
    assert abs(shown.gross_g - load_g) <= PROFILE.division_g + load_g * PROFILE.creep_ppm / 1e6


@settings(max_examples=100, deadline=None)
@given(first_g=loads, second_g=loads, seed=seeds, phase=st.floats(min_value=0.0, max_value=0.05))
def test_the_stable_flag_is_never_up_while_the_shown_value_is_off(
    first_g: float, second_g: float, seed: int, phase: float
) -> None:
    bench = Bench(PROFILE, seed)
    bench.settled(first_g)
    bench.wait(phase)
    bench.load_g = second_g
    bench.wait(0.0)
    bench.wait(SAMPLE_PERIOD_S)  # the converter's next sample already sees the change
    tolerance_g = PROFILE.division_g + second_g * PROFILE.creep_ppm / 1e6
    for _ in range(200):
        shown = bench.wait(0.0201)
        if shown.condition is Condition.STABLE:
            assert abs(shown.gross_g - second_g) <= tolerance_g
    assert shown.condition is Condition.STABLE


def test_motion_is_flagged_from_the_first_sample_after_a_bag_lands() -> None:
    bench = Bench()
    bench.settled(0.0)
    bench.load_g = 2_000.0
    bench.wait(0.0)
    assert bench.wait(SAMPLE_PERIOD_S).condition is Condition.MOTION


def test_the_plate_overshoots_and_swings_back() -> None:
    bench = Bench(QUIET)
    bench.settled(0.0)
    bench.load_g = 10_000.0
    bench.wait(0.0)
    shown = [bench.wait(SAMPLE_PERIOD_S).gross_g for _ in range(40)]
    assert max(shown) > 11_000
    assert min(shown[shown.index(max(shown)) :]) < 10_000
    assert shown[-1] == 10_000


@settings(max_examples=100, deadline=None)
@given(seed=seeds, steps=st.lists(st.floats(min_value=0.001, max_value=0.7), min_size=1, max_size=40))
def test_how_often_one_looks_changes_nothing(seed: int, steps: list[float]) -> None:
    often, once = Bench(PROFILE, seed), Bench(PROFILE, seed)
    for bench in (often, once):
        bench.load_g = 7_777.0
        bench.wait(0.0)
    for step_s in steps:
        seen_often = often.wait(step_s)
    once.time_s = often.time_s
    assert once.wait(0.0) == seen_often
    assert math.isclose(once.state.offset_g, often.state.offset_g, abs_tol=1e-6)


def test_the_same_seed_gives_the_same_samples_and_another_seed_others() -> None:
    same = [Bench(PROFILE, seed=3), Bench(PROFILE, seed=3), Bench(PROFILE, seed=4)]
    for bench in same:
        bench.settled(5_000.0)
    assert same[0].state == same[1].state
    assert same[0].state.samples != same[2].state.samples


def test_no_indication_above_max_plus_nine_divisions() -> None:
    assert Bench(QUIET).settled(60_080.0).condition is Condition.STABLE
    assert Bench(QUIET).settled(60_100.0).condition is Condition.OVERLOAD


def test_taking_off_what_was_zeroed_shows_underload() -> None:
    bench = Bench(QUIET, load_g=5_000.0)
    assert bench.wait(3.0).gross_g == 0
    assert bench.settled(0.0).condition is Condition.UNDERLOAD


def test_a_load_above_a_fifth_of_max_at_power_up_is_not_taken_as_zero() -> None:
    shown = Bench(QUIET, load_g=20_000.0).wait(3.0)
    assert not shown.zeroed
    assert shown.gross_g == 20_000


def test_zero_tracking_follows_slow_drift_and_stops_at_half_a_division_a_second() -> None:
    slow = replace(QUIET, drift_g_per_h=3_600.0)  # 1 g/s, a tenth of a division
    bench = Bench(slow)
    for _ in range(120):
        shown = bench.wait(0.5)
    assert shown.gross_g == 0
    assert bench.state.zero_g > 50
    fast = Bench(replace(QUIET, drift_g_per_h=36_000.0))  # 10 g/s, a whole division
    for _ in range(20):
        shown = fast.wait(0.5)
    assert shown.gross_g > 0


def test_without_zero_tracking_drift_becomes_visible() -> None:
    bench = Bench(replace(QUIET, drift_g_per_h=3_600.0, zero_tracking=False))
    assert bench.wait(30.0).gross_g == pytest.approx(30, abs=10)


def test_zero_tracking_never_eats_a_real_load() -> None:
    bench = Bench(QUIET)
    bench.settled(10.0)
    assert bench.wait(600.0).gross_g == 10


def test_creep_shows_late_and_goes_back_after_unloading() -> None:
    bench = Bench(replace(QUIET, creep_ppm=2_000.0, creep_tau_s=60.0))
    assert bench.settled(50_000.0).gross_g < 50_050
    assert bench.wait(600.0).gross_g == 50_100
    assert bench.settled(0.0).gross_g > 50
    assert bench.wait(600.0).gross_g == 0


def test_the_tare_key_takes_what_stands_there_and_net_is_gross_minus_tare() -> None:
    bench = Bench(QUIET)
    bench.settled(1_500.0)
    tared = bench.wait(0.0, Key.TARE)
    assert (tared.gross_g, tared.tare_g, tared.net_g) == (1_500, 1_500, 0)
    assert bench.settled(4_000.0).net_g == 2_500
    assert bench.wait(0.0, Key.CLEAR_TARE).net_g == 4_000


def test_keys_do_nothing_while_the_plate_moves() -> None:
    bench = Bench(QUIET)
    bench.settled(0.0)
    bench.load_g = 1_000.0
    bench.wait(0.0)
    bench.wait(0.1)
    assert bench.wait(0.0, Key.TARE).tare_g is None


def test_the_zero_key_works_within_four_percent_of_max_only() -> None:
    bench = Bench(QUIET)
    assert bench.settled(2_000.0).zero_reach == 0
    assert bench.wait(0.0, Key.ZERO).gross_g == 0
    assert bench.settled(10_000.0).zero_reach == 1
    assert bench.wait(0.0, Key.ZERO).gross_g == 8_000


def test_a_preset_tare_is_rounded_and_marked() -> None:
    shown = Bench(QUIET).wait(1.0, PresetTare(1_234))
    assert (shown.tare_g, shown.tare_is_preset, shown.net_g) == (1_230, True, -1_230)


@given(
    mass_g=st.floats(min_value=-1e6, max_value=1e6),
    exponent=st.integers(0, 2),
    digit=st.sampled_from((1, 2, 5)),
)
def test_rounding_is_to_the_nearest_division(mass_g: float, exponent: int, digit: int) -> None:
    division_g = digit * 10**exponent
    rounded_g = round_to_division(mass_g, division_g)
    assert rounded_g % division_g == 0
    assert abs(rounded_g - mass_g) <= division_g / 2 + 1e-6


@given(
    gross_g=st.integers(-6_000, 6_000),
    tare_g=st.integers(0, 6_000),
    division_g=st.sampled_from((1, 2, 5, 10, 20, 50, 100)),
    unit=st.sampled_from(Unit),
)
def test_displayed_gross_tare_and_net_agree_to_the_last_digit(
    gross_g: int, tare_g: int, division_g: int, unit: Unit
) -> None:
    shown = Indication(
        Condition.STABLE, gross_g * division_g, division_g, 60_000, tare_g * division_g, unit=unit
    )
    assert shown.shown.counts == shown.gross.counts - shown.tare.counts
    assert shown.shown.decimals == shown.gross.decimals == shown.tare.decimals


def test_decimals_follow_the_division() -> None:
    assert [kilogram_decimals(d) for d in (1, 5, 10, 50, 100, 500, 1000)] == [3, 3, 2, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("mass_g", "text"), [(0, "0.00"), (454, "1.00"), (4_536, "10.00"), (1_000, "2.20"), (-1_000, "-2.20")]
)
def test_pounds_are_converted_exactly_and_rounded_to_their_own_division(mass_g: int, text: str) -> None:
    assert in_unit(mass_g, 10, Unit.LB).signed() == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"division_g": 3},
        {"division_g": 0},
        {"max_g": 500},
        {"noise_g": -1.0},
        {"damping": 1.0},
        {"stable_window_s": 0.2},
        {"creep_ppm": -1.0},
    ],
)
def test_a_scale_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ProfileError, match=next(iter(wrong))):
        replace(PROFILE, **wrong)  # type: ignore[arg-type]
