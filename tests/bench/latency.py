"""Weigh-to-saved: from POST /api/press confirm to the answer that says saved, while a backlog drains.

A bag lies on a simulated scale; it is confirmed, voided and confirmed again, so every press goes the whole
way from a stable reading to a journal commit. The peer is a bare commit on the same disk between two presses.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import apsw

from deploy.local.stack import Site, Stack
from tests.bench.append import bare_journal
from tests.bench.figures import Figure, at_most
from tests.bench.kiosk import Person, simulated_devices
from tests.bench.site import add_citizens, backlogged
from tests.bench.visits import fill

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.setup import Setup

_WEIGHINGS = 200
_BACKLOG_VISITS = 60_000
_MASS_G = 2_350
_SAVED_MS_MAX = 50


def measure(setup: Setup) -> list[Figure]:
    """Each round begins with a full outbox and goes on for 200 weighings."""
    folder = setup.fresh_folder("latency")
    pressed: list[list[float]] = []
    bare: list[list[float]] = []
    draining = 0
    with simulated_devices(setup.fresh_folder("devices")) as devices, Stack(folder) as stack:
        add_citizens(stack)
        site = backlogged(stack, "bench-latency", 0, devices)
        for _ in setup.rounds("latency"):
            fill(site.config, _BACKLOG_VISITS)
            ours, theirs, count = _round(site, setup.fresh_folder("bare"))
            pressed.append(ours)
            bare.append(theirs)
            draining += count
    setup.facts["latency_weighings"] = sum(map(len, pressed))
    setup.facts["latency_weighings_while_draining"] = draining
    return [
        _figure("weigh-to-saved p50", pressed, bare, 50),
        _figure("weigh-to-saved p99", pressed, bare, 99, _SAVED_MS_MAX),
    ]


def _figure(
    name: str, pressed: list[list[float]], bare: list[list[float]], percent: int, most: float | None = None
) -> Figure:
    aims = () if most is None else (at_most(most),)
    ours = [_percentile_ms(each, percent) for each in pressed]
    return Figure(
        name, "ms", ours, "bare fsync commit", [_percentile_ms(each, percent) for each in bare], aims
    )


def _percentile_ms(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def _round(site: Site, folder: Path) -> tuple[list[float], list[float], int]:
    """Seconds of every weighing and of the bare commit after it; how many fell into the drain."""
    connection = bare_journal(folder / "bare.db")
    pressed: list[float] = []
    bare: list[float] = []
    draining = 0
    site.start()
    try:
        with Person.at(site) as person:
            _begin(person)
            while len(pressed) < _WEIGHINGS:
                pressed.append(person.weigh())
                draining += site.status()["backlog"] > _WEIGHINGS
                bare.append(_commit(connection, len(pressed)))
                _again(person)
            person.press("cancel")
            person.put(0)
    finally:
        site.agent.stop()
        connection.close()
    return pressed, bare, draining


def _begin(person: Person) -> None:
    """A guest presses the last receipt away, waits for the empty scale to arm, and puts a bag on it."""
    person.put(0)
    person.press("done")
    person.await_button("guest")
    screen = person.press("guest")
    person.press("material", screen["tiles"][0]["code"])
    person.await_screen(lambda screen: bool(screen["weight"] and screen["weight"]["armed"]))
    person.put(_MASS_G)


def _again(person: Person) -> None:
    """Take the weighing back, so that the same bag may be weighed once more."""
    screen = person.press("void")
    person.press("material", screen["tiles"][0]["code"])


def _commit(connection: apsw.Connection, number: int) -> float:
    begun = time.perf_counter()
    connection.execute("INSERT INTO records VALUES (?, ?, ?)", (number, bytes(160), bytes(32)))
    return time.perf_counter() - begun
