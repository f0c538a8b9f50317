"""When a load counts as being at rest: the scale's flag confirmed, or a whole window of samples."""

from collections.abc import Sequence

import pytest

from edge.devices.readings import Reading, Status, gross, net, refused, shown, tare_only
from edge.devices.stability import STALE_AFTER_S, ScaleTracker, StabilityWindow


def sample(mass_g: int, *, stable: bool | None = None) -> Reading:
    return gross(shown(f"{mass_g / 1000:.3f}", "kg"), stable=stable, raw=b"")


def window(samples: Sequence[tuple[float, int]], division_g: int = 5) -> list[bool]:
    stability = StabilityWindow()
    return [stability.push(mass_g, at_s, division_g) for at_s, mass_g in samples]


def tracker_after(readings: Sequence[tuple[float, Reading]]) -> ScaleTracker:
    tracker = ScaleTracker(5, opened_s=0.0)
    for at_s, reading in readings:
        tracker.take(reading, at_s)
    return tracker


def every(period_s: float, count: int, mass_g: int = 1_000, start_s: float = 0.0) -> list[tuple[float, int]]:
    return [(start_s + index * period_s, mass_g) for index in range(count)]


def test_a_window_needs_a_second() -> None:
    assert window(every(0.1, 12)) == [False] * 10 + [True] * 2


def test_a_window_needs_five_samples() -> None:
    assert window(every(0.5, 6)) == [False] * 4 + [True] * 2
    assert window(every(0.1, 20))[-1]


@pytest.mark.parametrize(("spread_g", "at_rest"), [(5, True), (6, False)])
def test_a_window_spans_at_most_one_division(spread_g: int, at_rest: bool) -> None:
    samples = [(index * 0.1, 1_000 + (spread_g if index % 2 else 0)) for index in range(12)]
    assert window(samples)[-1] is at_rest


def test_a_slow_drift_is_not_at_rest() -> None:
    assert not any(window([(index * 0.1, 1_000 + index) for index in range(50)]))


def test_a_gap_begins_a_new_window() -> None:
    samples = every(0.1, 12) + every(0.1, 9, start_s=1.5)
    assert window(samples)[12:] == [False] * 9


def test_samples_that_come_glued_do_not_make_a_second() -> None:
    assert not any(window([(0.0, 1_000)] * 50))
    assert not any(window([(0.0, 1_000)] * 50 + [(0.9, 1_000)] * 50))


def test_the_scales_flag_counts_once_the_next_frame_confirms_it() -> None:
    readings = [(0.0, sample(1_000, stable=True))]
    assert tracker_after(readings).view(0.0).stable_g is None
    view = tracker_after([*readings, (0.1, sample(1_000, stable=True))]).view(0.1)
    assert (view.stable_g, view.evidence) == (1_000, "flag")


def test_a_stale_first_value_is_not_confirmed_by_the_next() -> None:
    tracker = tracker_after([(0.0, sample(9_000, stable=True)), (0.1, sample(1_000, stable=True))])
    assert tracker.view(0.1).stable_g is None


def test_without_a_flag_the_window_decides() -> None:
    view = tracker_after([(at_s, sample(mass_g)) for at_s, mass_g in every(0.1, 12)]).view(1.1)
    assert (view.stable_g, view.evidence) == (1_000, "window")


@pytest.mark.parametrize(
    "interruption",
    [
        sample(1_000, stable=False),
        refused(Status.OVERLOAD, unit="kg", raw=b""),
        refused(Status.UNDERLOAD, unit="kg", raw=b""),
        refused(Status.ERROR, unit="kg", raw=b""),
        gross(shown("2.205", "lb"), stable=True, raw=b""),
        net(shown("1.000", "kg"), None, stable=True, raw=b""),
    ],
)
def test_motion_errors_units_and_net_take_the_weight_away_until_it_is_shown_again(
    interruption: Reading,
) -> None:
    at_rest = sample(1_000, stable=True)
    tracker = tracker_after([(0.0, at_rest), (0.1, at_rest), (0.2, interruption)])
    assert (tracker.view(0.2).stable_g, tracker.view(0.2).zero) == (None, False)
    tracker.take(at_rest, 0.3)
    assert tracker.view(0.3).stable_g is None
    tracker.take(at_rest, 0.4)
    assert tracker.view(0.4).stable_g == 1_000


def test_a_frame_that_tells_only_the_tare_changes_nothing() -> None:
    at_rest = sample(1_000, stable=True)
    tracker = tracker_after([(0.0, at_rest), (0.1, at_rest), (0.2, tare_only(shown("0.500", "kg"), raw=b""))])
    assert tracker.view(0.2).stable_g == 1_000
    assert tracker.view(0.2).reading == at_rest


@pytest.mark.parametrize(("mass_g", "zero"), [(0, True), (2, True), (-2, True), (3, False), (-3, False)])
def test_zero_is_a_stable_display_within_half_a_division(mass_g: int, zero: bool) -> None:
    at_rest = sample(mass_g, stable=True)
    assert tracker_after([(0.0, at_rest), (0.1, at_rest)]).view(0.1).zero is zero
    assert tracker_after([(0.0, sample(mass_g, stable=False))]).view(0.0).zero is False


def test_a_reading_goes_stale_and_takes_its_weight_with_it() -> None:
    at_rest = sample(1_000, stable=True)
    tracker = tracker_after([(0.0, at_rest), (0.1, at_rest)])
    fresh, old = tracker.view(0.1 + STALE_AFTER_S - 0.01), tracker.view(0.1 + STALE_AFTER_S + 0.01)
    assert (fresh.health, fresh.stable_g) == ("ok", 1_000)
    assert (old.health, old.stable_g, old.zero) == ("stale", None, False)
    assert old.age_s == pytest.approx(STALE_AFTER_S + 0.01)


def test_what_was_known_before_a_silence_confirms_nothing_after_it() -> None:
    at_rest = sample(1_000, stable=True)
    tracker = tracker_after([(0.0, at_rest), (0.1, at_rest), (5.0, at_rest)])
    assert tracker.view(5.0).stable_g is None


def test_an_error_of_the_scale_is_a_fault_with_its_words() -> None:
    tracker = tracker_after([(0.0, refused(Status.ERROR, unit="", raw=b"", detail="ERR03"))])
    assert (tracker.view(0.1).health, tracker.view(0.1).detail) == ("fault", "ERR03")


def test_net_without_its_tare_says_what_to_do() -> None:
    tracker = tracker_after([(0.0, net(shown("1.000", "kg"), None, stable=True, raw=b""))])
    assert "clear its tare" in tracker.view(0.1).detail
