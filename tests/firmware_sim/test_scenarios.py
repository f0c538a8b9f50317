"""Scenario files are checked strictly, and a seed decides everything that follows from them."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.errors import ScenarioError
from firmware_sim.fault_plan import MAX_EVENTS, Device, FaultRule, timeline
from firmware_sim.faults import Fault
from firmware_sim.people import Choose, HoldTag, PeoplePlan, Press, Put, ShowCard, Visit, Who, visits
from firmware_sim.scenario import load_scenario, shipped_scenarios

PLAN = PeoplePlan(
    shares=tuple((who, 1) for who in Who),
    cards=("RL1:ONE", "RL1:TWO"),
    collectors=("RL1:C1", "RL1:C2", "RL1:C3"),
    tags=("010063E9AE",),
    bins=("RLB1:A", "RLB1:B"),
    materials=("pet", "glass"),
)


def test_every_shipped_scenario_loads_and_bears_its_file_name() -> None:
    assert {"quiet_day", "rush_hour", "faulty_scale"} <= set(shipped_scenarios())
    for name in shipped_scenarios():
        assert load_scenario(name).name == name


def test_the_faulty_scale_scenario_knows_every_fault_there_is() -> None:
    named = {rule.fault for rule in load_scenario("faulty_scale").faults if rule.device is Device.SCALE}
    assert named == set(Fault)


@pytest.mark.parametrize(
    ("text", "code", "where", "words"),
    [
        ("", "scenario.empty", ":1:", "empty"),
        ("- a\n", "scenario.wrong_type", ":1:", "mapping"),
        ("name: [x\n", "scenario.syntax", ":2:", "YAML"),
        ("name: a\n", "scenario.missing_key", ":1: duration_s:", "required"),
        ("name: a\nduration_s: soon\n", "scenario.wrong_type", ":2: duration_s:", "'soon'"),
        ("name: a\nduration_s: 0\n", "scenario.out_of_range", ":2: duration_s:", "1 to"),
        ("name: a\nduration_s: .nan\n", "scenario.out_of_range", ":2: duration_s:", "nan"),
        ("name: a\nduration_s: 9\nseed: 1.5\n", "scenario.wrong_type", ":3: seed:", "whole"),
        ("name: a\nduration_s: 9\ncolour: red\n", "scenario.unknown_key", ":3: colour:", "known here"),
        ("name: a\nname: b\n", "scenario.repeated_key", ":2: name:", "twice"),
        (
            "name: a\nduration_s: 9\nscale:\n  dialect: morse\n",
            "scenario.unknown_value",
            ":4: scale.dialect:",
            "mt-sics",
        ),
        (
            "name: a\nduration_s: 9\nscale:\n  division_g: 3\n",
            "scenario.out_of_range",
            ":3: scale:",
            "division_g",
        ),
        (
            "name: a\nduration_s: 9\nscale:\n  baud: 9601\n",
            "scenario.unknown_value",
            ":4: scale.baud:",
            "9600",
        ),
        (
            "name: a\nduration_s: 9\nscanner: {aim: maybe}\n",
            "scenario.wrong_type",
            ":3: scanner.aim:",
            "true or false",
        ),
        (
            "name: a\nduration_s: 9\npeople:\n  cards:\n    - ok\n    - 12\n",
            "scenario.wrong_type",
            ":6: people.cards[1]:",
            "quotes",
        ),
        (
            "name: a\nduration_s: 9\npeople:\n  mass_min_g: 9000\n",
            "scenario.out_of_range",
            ":4: people.mass_min_g:",
            "rise",
        ),
        (
            "name: a\nduration_s: 9\npeople:\n  shares: {member: 0}\n",
            "scenario.out_of_range",
            ":4: people.shares:",
            "at least one",
        ),
        (
            "name: a\nduration_s: 9\nfaults:\n  - {fault: fire, at_s: 1}\n",
            "scenario.unknown_value",
            ":4: faults[0].fault:",
            "unplug",
        ),
        (
            "name: a\nduration_s: 9\nfaults:\n  - {fault: unplug}\n",
            "scenario.missing_key",
            ":4: faults[0]:",
            "at_s",
        ),
        (
            "name: a\nduration_s: 9\nfaults:\n  - {device: scanner, fault: lb, at_s: 1}\n",
            "scenario.unknown_value",
            ":4: faults[0].fault:",
            "lb",
        ),
        ("name: &x a\nduration_s: {a: 1}\n", "scenario.wrong_type", ":2: duration_s:", "single"),
        ("name: !!python/object:os.system a\n", "scenario.syntax", ":1: name:", "cannot be read"),
        ("\x00", "scenario.syntax", ":1:", "YAML"),
    ],
)
def test_a_wrong_file_is_refused_naming_file_line_and_key(
    tmp_path: Path, text: str, code: str, where: str, words: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(str(path))
    assert caught.value.code == code
    assert f"{path}{where}" in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_missing_or_huge_or_a_folder_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    huge.write_text("# " + "x" * 300_000)
    for name, code in [("no_such", "unreadable"), (str(tmp_path), "unreadable"), (str(huge), "too_large")]:
        with pytest.raises(ScenarioError) as caught:
            load_scenario(name)
        assert caught.value.code == f"scenario.{code}"


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "noise.yaml"
    path.write_bytes(data)
    with pytest.raises(ScenarioError):
        load_scenario(str(path))


def first(plan: PeoplePlan, seed: int, count: int = 300) -> list[Visit]:
    return list(islice(visits(plan, seed), count))


@given(seed=st.integers(0, 2**32))
def test_the_same_seed_brings_the_same_people(seed: int) -> None:
    assert first(PLAN, seed, 20) == first(PLAN, seed, 20)
    assert first(PLAN, seed, 20) != first(PLAN, seed + 1, 20)


def test_all_kinds_of_people_come_about_as_often_as_their_shares_say() -> None:
    counted = {who: sum(visit.who is who for visit in first(PLAN, 1, 1000)) for who in Who}
    assert all(180 < count < 320 for count in counted.values()), counted


def test_who_has_no_card_comes_as_a_guest() -> None:
    bare = PeoplePlan(shares=PLAN.shares)
    assert {visit.who for visit in first(bare, 1)} == {Who.GUEST}


def test_people_identify_before_they_choose_and_choose_before_they_weigh() -> None:
    for visit in first(PLAN, 2):
        actions = [step.action for step in visit.steps]
        if visit.who is Who.COLLECTOR:
            shown = [action.text for action in actions if isinstance(action, ShowCard)]
            assert len(set(shown)) == 2, "a hand-over needs two different cards"
            continue
        assert isinstance(actions[0], ShowCard | HoldTag) or actions[0] == Press("guest")
        choices = [index for index, action in enumerate(actions) if isinstance(action, Choose)]
        puts = [index for index, action in enumerate(actions) if isinstance(action, Put)]
        assert len(choices) == len(puts) >= 1
        assert all(choose < put for choose, put in zip(choices, puts, strict=True))


def test_people_hesitate_cancel_void_and_stack() -> None:
    presses = [step.action for visit in first(PLAN, 3) for step in visit.steps]
    for button in ("cancel", "void", "tare", "finish", "confirm", "handover"):
        assert Press(button) in presses
    assert max(step.after_s for visit in first(PLAN, 3) for step in visit.steps) > 2


def test_bags_weigh_between_the_lightest_and_the_heaviest() -> None:
    plan = replace(PLAN, mass_min_g=500, mass_typical_g=900, mass_max_g=4_000)
    masses = [s.action.mass_g for v in first(plan, 4) for s in v.steps if isinstance(s.action, Put)]
    assert min(masses) >= 500
    assert max(masses) <= 4_000
    assert sum(masses) / len(masses) == pytest.approx(1_800, rel=0.1)


RULES = (
    FaultRule(Device.SCALE, Fault.UNPLUG, for_s=3, every_s=30),
    FaultRule(Device.SCANNER, Fault.GARBAGE, for_s=50, at_s=90),
)


@given(seed=st.integers(0, 2**32))
def test_a_timeline_is_ordered_repeatable_and_leaves_nothing_on(seed: int) -> None:
    events = timeline(RULES, seed, 100)
    assert events == timeline(RULES, seed, 100)
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    assert all(0 <= event.at_s <= 100 for event in events)
    assert sum(event.on for event in events) * 2 == len(events)


def test_a_timeline_is_bounded() -> None:
    rule = FaultRule(Device.SCALE, Fault.REPLUG, for_s=0, every_s=1)
    assert len(timeline([rule] * 3, 1, 86_400)) == MAX_EVENTS
