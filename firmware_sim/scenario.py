"""Scenarios: named situations in YAML, checked strictly before anything starts.

Owns the file's keys and limits; `site` runs them. Shipped ones are found by name.
"""

from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from firmware_sim.dialects import DIALECTS
from firmware_sim.errors import ProfileError, ScenarioError
from firmware_sim.fault_plan import Device, FaultRule
from firmware_sim.faults import SCANNER_FAULTS, Fault
from firmware_sim.people import PeoplePlan, Who
from firmware_sim.physics import ScaleProfile
from firmware_sim.scanner_frames import Terminator
from firmware_sim.wire import BAUD_CONSTANTS
from firmware_sim.yaml_reader import Section, read_yaml

MAX_DURATION_S = 86_400.0


@dataclass(frozen=True, slots=True)
class ScaleSetup:
    """The scale of a scenario."""

    dialect: str = "mt-sics"
    baud: int = 9600
    checksum: bool = True
    profile: ScaleProfile = field(default_factory=ScaleProfile)


@dataclass(frozen=True, slots=True)
class ScannerSetup:
    """The scanner of a scenario."""

    terminator: str = "cr"
    aim: bool = False
    baud: int = 9600


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything a simulated drop point needs to know."""

    name: str
    seed: int
    duration_s: float
    scale: ScaleSetup
    scanner: ScannerSetup
    people: PeoplePlan
    faults: tuple[FaultRule, ...]


def load_scenario(name_or_path: str) -> Scenario:
    """A shipped scenario by name, or a file by path. ScenarioError names file, line and key."""
    top = read_yaml(_find(name_or_path))
    scenario = Scenario(
        name=top.text("name", None),
        seed=top.integer("seed", 1, 0, 2**63 - 1),
        duration_s=top.number("duration_s", None, 1, MAX_DURATION_S),
        scale=_scale(top.section("scale")),
        scanner=_scanner(top.section("scanner")),
        people=_people(top.section("people")),
        faults=tuple(_fault(each) for each in top.sections("faults")),
    )
    top.text("about", "")
    top.finish()
    return scenario


def shipped_scenarios() -> list[str]:
    """The names of the scenarios that come with the simulator."""
    folder = resources.files("firmware_sim") / "scenarios"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def _find(name_or_path: str) -> Path:
    if name_or_path in shipped_scenarios():
        return Path(str(resources.files("firmware_sim"))) / "scenarios" / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if not path.exists():
        known = ", ".join(shipped_scenarios())
        raise ScenarioError("scenario.unreadable", f"no file {path}; shipped scenarios are: {known}")
    return path


def _baud(section: Section) -> int:
    baud = section.integer("baud", 9600, 1, 10_000_000)
    if baud not in BAUD_CONSTANTS:
        known = ", ".join(map(str, BAUD_CONSTANTS))
        raise section.at("baud").error("unknown_value", f"no {baud} baud; choose one of: {known}")
    return baud


def _scale(section: Section | None) -> ScaleSetup:
    if section is None:
        return ScaleSetup()
    setup = ScaleSetup(
        dialect=section.choice("dialect", "mt-sics", tuple(DIALECTS)),
        baud=_baud(section),
        checksum=section.flag("checksum", True),
        profile=_profile(section),
    )
    section.finish()
    return setup


def _profile(section: Section) -> ScaleProfile:
    plain = ScaleProfile()
    try:
        return replace(
            plain,
            max_g=section.integer("max_g", plain.max_g, 1, 600_000),
            division_g=section.integer("division_g", plain.division_g, 1, 1000),
            noise_g=section.number("noise_g", plain.noise_g, 0, 60_000),
            drift_g_per_h=section.number("drift_g_per_h", plain.drift_g_per_h, -100_000, 100_000),
            creep_ppm=section.number("creep_ppm", plain.creep_ppm, 0, 100_000),
            zero_tracking=section.flag("zero_tracking", plain.zero_tracking),
        )
    except ProfileError as error:
        raise section.place.error("out_of_range", str(error)) from error


def _scanner(section: Section | None) -> ScannerSetup:
    if section is None:
        return ScannerSetup()
    setup = ScannerSetup(
        terminator=section.choice("terminator", "cr", tuple(Terminator)),
        aim=section.flag("aim", False),
        baud=_baud(section),
    )
    section.finish()
    return setup


def _people(section: Section | None) -> PeoplePlan:
    plain = PeoplePlan()
    if section is None:
        return plain
    plan = PeoplePlan(
        visits_per_h=section.number("visits_per_h", plain.visits_per_h, 0.1, 100_000),
        shares=_shares(section.section("shares"), plain.shares),
        bags_max=section.integer("bags_max", plain.bags_max, 1, 20),
        mass_min_g=section.integer("mass_min_g", plain.mass_min_g, 1, 600_000),
        mass_typical_g=section.integer("mass_typical_g", plain.mass_typical_g, 1, 600_000),
        mass_max_g=section.integer("mass_max_g", plain.mass_max_g, 1, 600_000),
        pace_s=section.number("pace_s", plain.pace_s, 0.05, 60),
        hesitate_percent=section.integer("hesitate_percent", plain.hesitate_percent, 0, 100),
        cancel_percent=section.integer("cancel_percent", plain.cancel_percent, 0, 100),
        void_percent=section.integer("void_percent", plain.void_percent, 0, 100),
        stack_percent=section.integer("stack_percent", plain.stack_percent, 0, 100),
        forget_tare_percent=section.integer("forget_tare_percent", plain.forget_tare_percent, 0, 100),
        estimate_percent=section.integer("estimate_percent", plain.estimate_percent, 0, 100),
        cards=section.texts("cards", ()),
        collectors=section.texts("collectors", ()),
        tags=section.texts("tags", ()),
        bins=section.texts("bins", ()),
        materials=section.texts("materials", ()),
    )
    section.finish()
    if not plan.mass_min_g <= plan.mass_typical_g <= plan.mass_max_g:
        message = "mass_min_g, mass_typical_g and mass_max_g must rise in this order"
        given = [key for key in ("mass_typical_g", "mass_min_g", "mass_max_g") if section.has(key)]
        raise section.at(given[0]).error("out_of_range", message)
    return plan


def _shares(section: Section | None, plain: tuple[tuple[Who, int], ...]) -> tuple[tuple[Who, int], ...]:
    if section is None:
        return plain
    shares = tuple((who, section.integer(who.value, 0, 0, 1000)) for who in Who)
    section.finish()
    if not any(share for _, share in shares):
        raise section.place.error("out_of_range", "at least one kind of person must come")
    return shares


def _fault(section: Section) -> FaultRule:
    device = Device(section.choice("device", "scale", tuple(Device)))
    allowed = tuple(Fault) if device is Device.SCALE else tuple(sorted(SCANNER_FAULTS))
    rule = FaultRule(
        device=device,
        fault=Fault(section.choice("fault", None, allowed)),
        for_s=section.number("for_s", 5.0, 0, MAX_DURATION_S),
        at_s=section.number("at_s", None, 0, MAX_DURATION_S) if section.has("at_s") else None,
        every_s=section.number("every_s", None, 1, MAX_DURATION_S) if section.has("every_s") else None,
    )
    section.finish()
    if rule.at_s is None and rule.every_s is None:
        raise section.place.error("missing_key", "say when: at_s, every_s or both")
    return rule
