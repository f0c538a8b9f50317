"""Weigh-to-saved while a backlog drains, from POST /api/press confirm to the answer that says saved.

Beside it, the most memory the agent took meanwhile.

A bag lies on a simulated scale; it is confirmed, voided and confirmed again, so every press goes the whole
way from a stable reading to a journal commit. The peer is a bare commit on the same disk between two presses.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.stack import Stack
from tests.bench.append import bare_journal
from tests.bench.figures import Figure, against_limit, at_most
from tests.bench.kiosk import Person, simulated_devices
from tests.bench.site import add_citizens, backlogged
from tests.bench.visits import fill

if TYPE_CHECKING:
    import apsw

    from deploy.local.stack import Site
    from tests.bench.setup import Setup

_WEIGHINGS = 200
_BACKLOG_VISITS = 60_000
_MASS_G = 2_350
_SAVED_MS_MAX = 50
_RSS_MB_MAX = 110


@dataclass(slots=True)
class Round:
    """Seconds of each weighing and of the bare commit after it; how many fell into the drain."""

    pressed_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    draining: int = 0
    rss_mb_max: float = 0.0


def measure(setup: Setup) -> list[Figure]:
    """Each round begins with a full outbox and takes 200 weighings."""
    folder = setup.fresh_folder("latency")
    rounds: list[Round] = []
    with simulated_devices(setup.fresh_folder("devices")) as devices, Stack(folder) as stack:
        add_citizens(stack)
        site = backlogged(stack, "bench-latency", 0, devices)
        for _ in setup.rounds("latency"):
            fill(site.config, _BACKLOG_VISITS)
            rounds.append(_round(site, setup.fresh_folder("bare")))
    setup.facts["latency_weighings"] = sum(len(each.pressed_s) for each in rounds)
    setup.facts["latency_weighings_while_draining"] = sum(each.draining for each in rounds)
    peak = [each.rss_mb_max for each in rounds]
    return [
        _figure("weigh-to-saved p50", rounds, 50),
        _figure("weigh-to-saved p99", rounds, 99, _SAVED_MS_MAX),
        against_limit("agent RSS, draining", "MB", peak, _RSS_MB_MAX),
    ]


def _figure(name: str, rounds: list[Round], percent: int, most_ms: float | None = None) -> Figure:
    ours = [_percentile_ms(each.pressed_s, percent) for each in rounds]
    bare = [_percentile_ms(each.bare_s, percent) for each in rounds]
    aims = () if most_ms is None else (at_most(most_ms),)
    return Figure(name, "ms", ours, "bare fsync commit", bare, aims)


def _percentile_ms(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def _round(site: Site, folder: Path) -> Round:
    connection, result = bare_journal(folder / "bare.db"), Round()
    site.start()
    try:
        with Person.at(site) as person:
            _begin(person)
            for number in range(_WEIGHINGS):
                result.pressed_s.append(person.weigh())
                result.bare_s.append(_commit(connection, number))
                result.draining += site.status()["backlog"] > 2 * _WEIGHINGS
                _again(person)
            result.rss_mb_max = _rss_mb_max(site.agent.pid)
            person.put(0)
            person.press("cancel")
    finally:
        site.agent.stop()
        connection.close()
    return result


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
    """Seconds of one bare commit of a row as large as a weighing's."""
    begun = time.perf_counter()
    connection.execute("INSERT INTO records VALUES (?, ?, ?)", (number, bytes(160), bytes(32)))
    return time.perf_counter() - begun


def _rss_mb_max(pid: int) -> float:
    """The most resident memory a process ever had, as the kernel kept it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6
