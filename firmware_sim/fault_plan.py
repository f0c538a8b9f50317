"""A fault plan: rules of a scenario and a seed become a timeline of faults going on and off. Pure."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from firmware_sim.faults import Fault

MAX_EVENTS = 10_000


class Device(StrEnum):
    """Which device of the drop point a fault befalls."""

    SCALE = "scale"
    SCANNER = "scanner"


@dataclass(frozen=True, slots=True)
class FaultRule:
    """A fault once at `at_s`, or again and again about `every_s` apart, for `for_s` seconds each."""

    device: Device
    fault: Fault
    for_s: float
    at_s: float | None = None
    every_s: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class FaultEvent:
    """At `at_s` after the start a fault goes on or off."""

    at_s: float
    device: Device
    fault: Fault
    on: bool


def timeline(rules: Iterable[FaultRule], seed: int, duration_s: float) -> list[FaultEvent]:
    """Every event up to `duration_s`, in order, and what is on then goes off at the end; at most 10,000."""
    events: list[FaultEvent] = []
    for number, rule in enumerate(rules):
        generator = random.Random(f"{seed}/{number}/{rule.device}/{rule.fault}")
        for start_s in _starts(rule, generator, duration_s):
            end_s = round(min(start_s + rule.for_s, duration_s), 3)
            events.append(FaultEvent(start_s, rule.device, rule.fault, on=True))
            events.append(FaultEvent(end_s, rule.device, rule.fault, on=False))
            if len(events) >= MAX_EVENTS:
                break
    return sorted(events)[:MAX_EVENTS]


def _starts(rule: FaultRule, generator: random.Random, duration_s: float) -> Iterable[float]:
    if rule.at_s is not None and rule.at_s < duration_s:
        yield rule.at_s
    if rule.every_s is None:
        return
    start_s = generator.expovariate(1 / rule.every_s)
    while start_s < duration_s:
        yield round(start_s, 3)
        start_s += rule.for_s + generator.expovariate(1 / rule.every_s)
