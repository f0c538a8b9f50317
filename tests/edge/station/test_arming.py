"""The plate's memory: each row of the table in `edge.station.arming` as a sentence."""

from __future__ import annotations

import pytest

from edge.config import ScaleSettings, StationSettings
from edge.devices.readings import ScaleView, Status
from edge.station.arming import (
    NO_TARE,
    Capture,
    Plate,
    Tare,
    captured,
    observed,
    preset,
    released,
    rules_for,
    tared,
    voided,
    weigh,
)
from edge.station.screen import Message
from protocol.bodies import Stability, TareKind
from tests.edge.station.bench import ZERO, moving, refused, stable, unwell

RULES = rules_for(StationSettings(), ScaleSettings(dialect="mt-sics", port="/dev/null", max_g=30_000))
ARMED = Plate(armed=True)
SAVED_1000 = captured(1000)


def on_saved(tare_g: int) -> Plate:
    return Plate(armed=True, saved_g=1000, tare=Tare(TareKind.WEIGHED, tare_g))


def test_only_a_stable_zero_of_a_healthy_scale_arms() -> None:
    assert observed(Plate(), ZERO).armed
    for view in (stable(5), moving(0), refused(Status.ERROR), unwell("stale", 0), unwell("absent", 0)):
        assert observed(Plate(), view) == Plate()


def test_a_mass_below_zero_disarms_because_the_zero_was_taken_under_a_load() -> None:
    for view in (stable(-4741), refused(Status.UNDERLOAD)):
        assert observed(observed(ARMED, view), moving(-10)) == ARMED
        lifted = ARMED
        for _ in range(10):
            assert lifted.armed
            lifted = observed(lifted, view)
        assert not lifted.armed
        assert weigh(lifted, stable(70), RULES) is Message.NOT_ARMED
        assert observed(lifted, ZERO).armed
    assert observed(ARMED, stable(-10)) == ARMED


def test_a_zero_forgets_the_saved_load_and_the_tare_against_it_but_keeps_a_container() -> None:
    assert observed(on_saved(1000), ZERO) == ARMED
    container = Plate(armed=True, tare=Tare(TareKind.WEIGHED, 300))
    assert observed(container, ZERO) == container


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (moving(1000), Message.NOT_STABLE),
        (refused(Status.OVERLOAD), Message.OVERLOAD),
        (refused(Status.UNDERLOAD), Message.SCALE_NOT_READY),
        (refused(Status.ERROR), Message.SCALE_NOT_READY),
        (unwell("stale", 1000), Message.SCALE_NOT_READY),
        (unwell("absent", 1000), Message.SCALE_NOT_READY),
        (unwell("fault", 1000), Message.SCALE_NOT_READY),
        (ScaleView("ok", None, None, False, 0.1, "flag"), Message.SCALE_NOT_READY),
        (stable(30_005), Message.OVERLOAD),
        (stable(15), Message.TOO_LIGHT),
        (stable(-500), Message.TOO_LIGHT),
    ],
)
def test_what_is_no_stable_mass_within_the_range_is_refused_with_its_reason(
    view: ScaleView, message: Message
) -> None:
    assert weigh(ARMED, view, RULES) is message


def test_a_stable_load_on_an_armed_plate_is_captured_with_its_evidence() -> None:
    plate = Plate(armed=True, tare=Tare(TareKind.PRESET, 240))
    assert weigh(plate, stable(1240), RULES) == Capture(
        1240, plate.tare, 1000, "kg", 5, Stability.FLAG, b"stable 1240"
    )


def test_the_same_load_is_not_captured_twice_nor_a_second_one_on_top_of_it() -> None:
    assert weigh(SAVED_1000, stable(1000), RULES) is Message.NOT_ARMED
    assert weigh(SAVED_1000, stable(2500), RULES) is Message.NOT_ARMED


def test_a_tare_equal_to_the_saved_load_arms_and_only_what_comes_on_top_counts() -> None:
    plate = tared(SAVED_1000, stable(1000), RULES)
    assert plate == on_saved(1000)
    capture = weigh(on_saved(1000), stable(2500), RULES)
    assert isinstance(capture, Capture)
    assert (capture.gross_g, capture.tare.mass_g, capture.net_g) == (2500, 1000, 1500)


@pytest.mark.parametrize("mass_g", [300, 994, 1006, 2500])
def test_any_other_tare_over_a_saved_load_is_refused(mass_g: int) -> None:
    assert tared(SAVED_1000, stable(mass_g), RULES) is Message.NOT_ARMED


def test_drift_of_a_division_below_the_saved_load_does_not_count_those_grams_again() -> None:
    assert tared(SAVED_1000, stable(995), RULES) == on_saved(1000)
    assert tared(SAVED_1000, stable(1005), RULES) == on_saved(1005)


def test_a_container_may_be_tared_on_top_of_the_saved_load_but_never_less_than_it() -> None:
    assert tared(on_saved(1000), stable(1300), RULES) == on_saved(1300)
    assert tared(on_saved(1000), stable(300), RULES) is Message.NOT_ARMED


def test_a_preset_tare_never_replaces_the_tare_against_a_saved_load() -> None:
    for plate in (SAVED_1000, on_saved(1000)):
        for mass_g in (0, 500):
            assert preset(plate, mass_g) is Message.NOT_ARMED


def test_a_preset_tare_is_told_apart_from_a_weighed_one_and_zero_takes_it_away() -> None:
    plate = preset(ARMED, 500)
    assert plate == Plate(armed=True, tare=Tare(TareKind.PRESET, 500))
    assert isinstance(plate, Plate)
    assert preset(plate, 0) == ARMED
    assert preset(Plate(), 500) == Plate(armed=False, tare=Tare(TareKind.PRESET, 500))


def test_a_container_is_tared_on_an_armed_plate_only_and_never_below_zero() -> None:
    assert tared(ARMED, stable(300), RULES) == Plate(armed=True, tare=Tare(TareKind.WEIGHED, 300))
    assert tared(Plate(), stable(300), RULES) is Message.NOT_ARMED
    assert tared(ARMED, stable(-200), RULES) is Message.TOO_LIGHT
    assert tared(ARMED, moving(300), RULES) is Message.NOT_STABLE


def test_taring_the_empty_plate_takes_the_tare_away() -> None:
    plate = Plate(armed=True, tare=Tare(TareKind.WEIGHED, 300))
    assert tared(plate, ZERO, RULES) == ARMED


def test_what_was_not_committed_leaves_the_plate_as_before_unless_it_was_emptied_since() -> None:
    before = Plate(armed=True, tare=Tare(TareKind.WEIGHED, 300))
    assert released(captured(1300), before) == before
    assert released(observed(captured(1300), ZERO), before) == before
    assert released(observed(captured(2500), ZERO), on_saved(1000)) == Plate(armed=True, tare=NO_TARE)
    assert released(on_saved(1000), SAVED_1000) == SAVED_1000


def test_a_voided_load_may_be_captured_again_where_it_lies() -> None:
    assert voided(captured(2500), on_saved(1000)) == on_saved(1000)
    assert voided(ARMED, on_saved(1000)) == ARMED


def test_a_station_without_a_scale_weighs_nothing() -> None:
    rules = rules_for(StationSettings(), None)
    assert weigh(ARMED, stable(1000), rules) is Message.OVERLOAD
