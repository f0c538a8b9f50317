"""Drop points with simulated devices and people: opened, disturbed, emptied and verified.

Owns what a demo does with them. Does not own how it is shown, nor for how long it runs.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.people import make_people
from deploy.local.processes import Process, program, wait_until
from deploy.local.sockets import ask
from deploy.local.stack import CommandError, Devices, Site, Stack
from deploy.local.verify import Comparison, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.people import PeopleFiles

_LOGGER = logging.getLogger("reloop.demo")
_DIALECTS = ("mt-sics", "cas22", "a9", "toledo", "and", "a12e", "kern", "cas18")
_CITIZENS = 24
_DRAIN_S = 90.0
_SCENARIO = Path(__file__).parent / "demo.yaml"


@dataclass(slots=True)
class DropPoint:
    """A site and the simulated people and devices at it."""

    site: Site
    people: Process
    dialect: str
    cut: bool = False
    unplugged: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The last line a headless run prints."""

    recorded: int
    acked: int
    credited: int
    quarantined: int
    lost: int
    duplicated: int
    chain_ok: bool
    ledger_ok: bool
    drain_seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that was saved is credited exactly once and provably so."""
        credited = self.recorded == self.credited + self.quarantined
        return credited and not (self.lost or self.duplicated) and self.chain_ok and self.ledger_ok


class DropPoints:
    """All of a demo's. `seed` repeats the people and their accidents."""

    def __init__(self, stack: Stack, drop_points: int, seed: int) -> None:
        self.stack = stack
        self._files = _people_of(stack)
        self.points = [self._open(number, seed) for number in range(1, drop_points + 1)]

    def _open(self, number: int, seed: int) -> DropPoint:
        name = f"drop-point-{number:02}"
        dialect = _DIALECTS[(number - 1) % len(_DIALECTS)]
        folder = self.stack.folder / name / "devices"
        site = self.stack.add_site(name, Devices(dialect, folder / "scale", folder / "scanner"))
        people = Process(f"people {name}", self._people(site, folder, dialect, seed + number), folder / "log")
        self.stack.claim(site)
        people.start()
        people.await_ready(lambda: (folder / "scale").exists() and (folder / "scanner").exists())
        site.start()
        return DropPoint(site, people, dialect)

    def _people(self, site: Site, folder: Path, dialect: str, seed: int) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        scenario = folder / "scenario.yaml"
        scenario.write_text(_SCENARIO.read_text().replace("DIALECT", dialect))
        return [
            program("reloop-sim"),
            "site",
            *("--scenario", str(scenario)),
            *("--kiosk", site.kiosk_url),
            *("--data", str(folder)),
            *("--seed", str(seed)),
            *("--seconds", "86400"),
            *self._files.arguments(),
        ]

    def toggle_link(self, point: DropPoint) -> None:
        """Cut the drop point's link, or restore it."""
        point.cut = not point.cut
        (self.stack.cut if point.cut else self.stack.restore)(point.site)

    def toggle_scale(self, point: DropPoint) -> None:
        """Unplug the drop point's scale, or plug it in again."""
        point.unplugged = not point.unplugged
        ask(
            point.site.folder / "devices" / "scale.sock",
            {"cmd": "fault", "name": "unplug", "on": point.unplugged},
        )

    def kill_agent(self, point: DropPoint) -> None:
        """Kill the agent as a power cut would, and start it again as systemd would."""
        point.site.agent.kill()
        point.site.start()

    def stop_intake(self) -> None:
        """Let the people go home; whoever is weighing finishes first."""
        for point in self.points:
            point.people.terminate()
        for point in self.points:
            point.people.stop()

    def drain(self) -> float:
        """Wait until every outbox is empty; seconds it took. Raises TimeoutError."""
        begun = time.monotonic()
        for point in self.points:
            if point.cut:
                self.toggle_link(point)
            wait_until(partial(_drained, point.site), _DRAIN_S, f"{point.site.name} did not drain")
        return time.monotonic() - begun

    def verify(self, drain_s: float) -> Result:
        """Stop the agents, export both sides, compare, walk every chain."""
        acked = sum(point.site.status()["acked"] for point in self.points)
        for point in self.points:
            point.site.agent.stop()
        comparison = self._compare()
        return Result(
            acked=acked,
            recorded=comparison.recorded,
            credited=comparison.credited,
            quarantined=comparison.quarantined,
            lost=comparison.lost,
            duplicated=comparison.duplicated + comparison.differing,
            chain_ok=all(_succeeds(point.site.edge, "journal", "verify") for point in self.points),
            ledger_ok=_succeeds(self.stack.cloud.run, "ledger", "verify"),
            drain_seconds=round(drain_s, 2),
        )

    def _compare(self) -> Comparison:
        journals = [line for point in self.points for line in point.site.records()]
        exported = _lines(self.stack.cloud.run("export", "weighings", "--jsonl"))
        held = _lines(self.stack.cloud.run("quarantine", "list", "--json"))
        return compare(journals, exported, [line["id"] for line in held])


def _drained(site: Site) -> bool:
    return bool(site.status()["backlog"] == 0)


def _people_of(stack: Stack) -> PeopleFiles:
    """Register the demo's people in the stack's cloud."""
    with stack.cloud.api() as api:
        return make_people(api, stack.folder / "people", _CITIZENS)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _succeeds(run: Callable[..., str], *arguments: str) -> bool:
    try:
        run(*arguments)
    except CommandError as error:
        _LOGGER.warning("%s", error)
        return False
    return True
