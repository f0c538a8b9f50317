"""Simulated people at a real gateway: real drivers, real station, real journal, real kiosk over HTTP.

What people read off the screen as saved is compared with the journal, and with what they had in their bags.
"""

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge.clock import SystemClock
from edge.config import JournalSettings, ScaleSettings, ScannerSettings, StationSettings
from edge.devices.scales.driver import ScaleDriver
from edge.devices.scanners.driver import ScannerDriver
from edge.directory import Directory
from edge.journal import AsyncJournal, Journal
from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from edge.station.ports import Surroundings
from edge.station.station import Station
from firmware_sim.kiosk import HttpKiosk
from firmware_sim.scenario import Scenario, load_scenario
from firmware_sim.site import SimulatedSite
from protocol.bodies import WeighingRecorded, WeighingVoided
from protocol.cards import Role
from tests.edge.station.bench import ROOT_KEY, card_text, published

from .support import eventually

DIVISION_G = 10


@dataclass
class Gateway:
    """The real parts of one gateway, running."""

    url: str
    journal: AsyncJournal


@contextlib.asynccontextmanager
async def gateway(folder: Path, scenario: Scenario, port: int) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    scale_settings = ScaleSettings(
        dialect=scenario.scale.dialect,  # type: ignore[arg-type]
        port=str(folder / "site/scale"),
        division_g=DIVISION_G,
    )
    terminator = scenario.scanner.terminator
    scanners = (
        ScannerSettings(port=str(folder / "site/scanner"), terminator=terminator),  # type: ignore[arg-type]
        ScannerSettings(port=str(folder / "site/tags"), kind="rdm6300"),
    )
    core = Journal.open(folder / "journal", "ktm-drop-01", clock, secrets.token_bytes, JournalSettings())
    journal = AsyncJournal(core)
    directory = Directory.open(folder / "directory.db", ROOT_KEY.public, clock, "ktm-drop-01")
    published(directory, 1)
    scale = ScaleDriver(scale_settings, clock, lambda event: station.take(event))  # noqa: PLW0108 - the station comes later
    station = Station(
        journal=journal,
        directory=directory,
        scale=lambda: scale.view(clock.monotonic()),
        clock=clock,
        random=secrets.token_bytes,
        settings=StationSettings(),
        scale_settings=scale_settings,
        intake=lambda: None,
        surroundings=Surroundings,
    )
    readers = [ScannerDriver(each, clock, station.take) for each in scanners]
    kiosk = KioskServer(create_kiosk(station), "127.0.0.1", port)
    works = [scale.run(), *(each.run() for each in readers), station.run(), kiosk.run()]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield Gateway(f"http://127.0.0.1:{port}", journal)
    finally:
        kiosk.stop()
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peopled(scenario: Scenario, **changes: object) -> Scenario:
    """The scenario in a hurry, with cards, tags and bins in people's hands."""
    people = replace(
        scenario.people,
        visits_per_h=36_000,
        pace_s=0.1,
        hesitate_percent=0,
        cards=tuple(card_text(f"m{number}") for number in range(5)),
        collectors=tuple(card_text(f"c{number}", Role.COLLECTOR) for number in range(3)),
        tags=("010063E9AE", "0A00112233"),
        bins=("RLB1:BIN-1", "RLB1:BIN-2", "RLB1:BIN-3"),
        **changes,  # type: ignore[arg-type]
    )
    return replace(scenario, people=people)


async def run(folder: Path, scenario: Scenario, visits: int) -> tuple[list[dict[str, object]], list[object]]:
    """Let people come until so many visits are over; the diary and the journal's bodies by seq."""
    port = free_port()
    site = SimulatedSite(scenario, HttpKiosk(f"http://127.0.0.1:{port}"), folder / "site", patience_s=8.0)
    async with site, gateway(folder, scenario, port) as parts:
        stop = asyncio.Event()
        running = asyncio.create_task(site.run(stop))
        await eventually(lambda: site.counts["visits"] >= visits or running.done(), deadline_s=150)
        stop.set()
        await running
        entries = await parts.journal.entries(1, parts.journal.head)
    diary = [json.loads(line) for line in (folder / "site/visits.jsonl").read_text().splitlines()]
    return diary, [entry.record.body for entry in entries]


def assert_saved_is_saved(diary: list[dict[str, object]], bodies: list[object]) -> int:
    """Every line anybody saw as saved is a record of the same mass, and such a mass was in a bag."""
    lines = 0
    for visit in diary:
        placed_g = visit["placed_g"]
        assert isinstance(placed_g, list)
        for line in visit["saved"]:  # type: ignore[attr-defined]
            body = bodies[line["seq"] - 1]
            assert isinstance(body, WeighingRecorded), (visit, body)
            assert (body.net_g, body.material) == (line["net_g"], line["material"])
            nearest_g = min(abs(line["net_g"] - mass_g) for mass_g in placed_g)
            assert nearest_g <= 2 * DIVISION_G, (visit, line)
            lines += 1
    recorded = sum(isinstance(body, WeighingRecorded) for body in bodies)
    assert lines == recorded, "with a kiosk that does not die, everything recorded was seen"
    return lines


async def test_everybody_comes_and_what_they_saw_saved_is_what_they_brought(tmp_path: Path) -> None:
    scenario = peopled(load_scenario("rush_hour"), bags_max=2, void_percent=20, cancel_percent=10)
    diary, bodies = await run(tmp_path, scenario, visits=6)
    assert assert_saved_is_saved(diary, bodies) > 0
    assert {visit["ending"] for visit in diary} <= {"finished", "cancelled"}, diary
    voided = sum(isinstance(body, WeighingVoided) for body in bodies)
    assert voided == sum(visit["voids"] for visit in diary)  # type: ignore[misc]
