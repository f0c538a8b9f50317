"""People at a kiosk: a small kiosk of our own answers over real HTTP, the devices are the simulated ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_sim.errors import KioskError
from firmware_sim.fault_plan import Device, FaultRule
from firmware_sim.faults import Fault
from firmware_sim.indication import Condition
from firmware_sim.kiosk import HttpKiosk, SavedLine, parse_screen
from firmware_sim.people import (
    AwaitScreen,
    AwaitWeight,
    Choose,
    PeoplePlan,
    Press,
    Put,
    ShowCard,
    Step,
    Visit,
    Who,
)
from firmware_sim.physics import ScaleProfile
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from firmware_sim.scenario import ScaleSetup, ScannerSetup, Scenario
from firmware_sim.site import SimulatedSite
from firmware_sim.visitor import Ending, Visitor

from .support import Client, eventually

QUICK = ScaleProfile(oscillation_hz=9.0, damping=0.6, stable_window_s=0.25)


class TinyKiosk:
    """Enough of a kiosk to be pressed: a page flow, a weight that must be armed by an empty plate."""

    def __init__(self) -> None:
        self.name = "idle"
        self.lines: list[dict[str, object]] = []
        self.saved: list[int] = []
        self.chosen: list[str] = []
        self.armed = True
        self.scale: SimulatedScale | None = None
        self.closed_visits = 0
        self.deaf = False

    def state(self) -> dict[str, object]:
        shown = self.scale.indication if self.scale else None
        stable = shown is not None and shown.condition is Condition.STABLE
        return {
            "version": 1,
            "name": self.name,
            "buttons": [] if self.deaf else self.buttons(),
            "weight": {
                "health": "ok",
                "stable": stable,
                "armed": self.armed,
                "net_g": shown.net_g if shown else None,
            },
            "lines": self.lines,
            "tiles": [{"code": "pet"}, {"code": "glass"}],
            "receipt": {"id": "r1", "claim_code": "ABC"} if self.name == "receipt" else None,
        }

    async def observe(self) -> None:
        while True:
            shown = self.scale.indication if self.scale else None
            if shown is not None and shown.condition is Condition.STABLE and shown.at_zero:
                self.armed = True
            await asyncio.sleep(0.02)

    def buttons(self) -> list[str]:
        return {
            "idle": ["guest"],
            "choose": ["material", "cancel", "finish"] if self.lines else ["material", "cancel"],
            "weigh": ["confirm", "cancel"],
            "saved": ["material", "finish", "cancel", "void"],
            "receipt": ["done"],
        }[self.name]

    def press(self, button: str, value: str | None) -> None:
        assert button in self.buttons(), f"{button} is not on screen {self.name}"
        if button == "guest":
            self.name = "choose"
        elif button == "material":
            assert value in ("pet", "glass")
            self.chosen.append(value)
            self.name = "weigh"
        elif button == "confirm":
            self.confirm()
        elif button == "void":
            self.lines.pop()
            self.name = "choose"
        elif button == "finish":
            self.name = "receipt"
        else:
            self.name, self.lines = "idle", []
            self.closed_visits += 1

    def confirm(self) -> None:
        shown = self.scale.indication if self.scale else None
        assert shown is not None
        assert self.armed
        self.saved.append(shown.net_g)
        self.lines.append({"seq": len(self.saved), "material": "pet", "net_g": shown.net_g, "points": 1})
        self.name, self.armed = "saved", False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
        body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
        status = "200 OK"
        if head.startswith("POST /api/press"):
            sent = json.loads(body)
            try:
                self.press(sent["button"], sent.get("value"))
            except AssertionError:
                status = "409 Conflict"
        data = json.dumps(self.state()).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def tiny_kiosk() -> AsyncIterator[tuple[TinyKiosk, HttpKiosk]]:
    kiosk = TinyKiosk()
    server = await asyncio.start_server(kiosk.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    observer = asyncio.create_task(kiosk.observe())
    try:
        yield kiosk, HttpKiosk(f"http://127.0.0.1:{port}")
    finally:
        observer.cancel()
        server.close()
        await server.wait_closed()


def steps(*actions: object) -> tuple[Step, ...]:
    return tuple(Step(0.01, action) for action in actions)  # type: ignore[arg-type]


GUEST_BAG = (
    Press("guest"),
    AwaitScreen(("choose",)),
    Choose("glass", 0),
    Put(2_340),
    AwaitWeight(),
    Press("confirm"),
    AwaitScreen(("saved",)),
)
LEAVE = (Press("finish"), AwaitScreen(("receipt",)), Press("done"))


async def perform(kiosk: TinyKiosk, port: HttpKiosk, *actions: object, patience_s: float = 5.0) -> object:
    async with SimulatedScale("and", profile=QUICK) as scale, SimulatedScanner() as scanner:
        kiosk.scale = scale
        visitor = Visitor(port, scale, scanner, scanner, patience_s=patience_s)
        outcome = await visitor.perform(Visit(1, Who.GUEST, 0.0, steps(*actions)))
        assert scale.load_g == 0, "people take their bags along"
        return outcome


async def test_a_guest_weighs_one_bag_and_leaves_with_a_receipt() -> None:
    async with tiny_kiosk() as (kiosk, port):
        outcome = await perform(kiosk, port, *GUEST_BAG, *LEAVE)
        assert getattr(outcome, "ending", None) is Ending.FINISHED, outcome
        assert getattr(outcome, "saved", None) == {1: SavedLine(1, "pet", 2_340, 1)}
        assert getattr(outcome, "claim_code", None) == "ABC"
        assert (kiosk.saved, kiosk.chosen, kiosk.closed_visits) == ([2_340], ["glass"], 1)


async def test_a_bag_put_on_the_first_is_lifted_and_counted_alone() -> None:
    async with tiny_kiosk() as (kiosk, port):
        second = (Choose(None, 0), Put(1_000), AwaitWeight(), Press("confirm"))
        await perform(kiosk, port, *GUEST_BAG, *second, *LEAVE, patience_s=12.0)
        assert kiosk.saved == [2_340, 1_000]


async def test_a_person_gives_up_on_a_dead_kiosk_page_and_says_why() -> None:
    async with tiny_kiosk() as (kiosk, port):
        kiosk.deaf = True
        outcome = await perform(kiosk, port, *GUEST_BAG, patience_s=0.5)
        assert getattr(outcome, "ending", None) is Ending.GAVE_UP
        assert "button guest" in getattr(outcome, "reason", "")


async def test_a_person_who_gives_up_in_the_middle_cancels() -> None:
    async with tiny_kiosk() as (kiosk, port):
        outcome = await perform(kiosk, port, Press("guest"), AwaitScreen(("moon",)), patience_s=0.5)
        assert getattr(outcome, "ending", None) is Ending.GAVE_UP
        assert kiosk.name == "idle"
        assert kiosk.closed_visits == 1


async def test_cards_are_held_before_the_scanner_not_sent_over_http() -> None:
    async with (
        tiny_kiosk() as (_, port),
        SimulatedScale("and", profile=QUICK) as scale,
        SimulatedScanner(terminator="lf") as scanner,
    ):
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.attached)
            visit = Visit(1, Who.MEMBER, 0.0, steps(ShowCard("RL1:ME")))
            await Visitor(port, scale, scanner, scanner).perform(visit)
            assert await client.until(b"\n") == b"RL1:ME\n"


def scenario(**changes: object) -> Scenario:
    people = PeoplePlan(
        visits_per_h=100_000, shares=((Who.GUEST, 1),), bags_max=2, pace_s=0.05, stack_percent=0
    )
    plain = Scenario("test", 5, 60.0, ScaleSetup(profile=QUICK), ScannerSetup(), people, ())
    return replace(plain, **changes)  # type: ignore[arg-type]


async def test_a_site_runs_people_until_told_to_stop_and_keeps_a_true_diary(tmp_path: Path) -> None:
    async with tiny_kiosk() as (kiosk, port):
        site = SimulatedSite(scenario(), port, tmp_path / "site", patience_s=10.0)
        kiosk.scale = site.scale
        stop = asyncio.Event()
        async with site:
            running = asyncio.create_task(site.run(stop))
            await eventually(lambda: site.counts["visits"] >= 2, deadline_s=60)
            stop.set()
            summary = await running
        diary = [json.loads(line) for line in (tmp_path / "site/visits.jsonl").read_text().splitlines()]
    assert len(diary) == summary["visits"]
    shown = [line["net_g"] for visit in diary for line in visit["saved"]]
    assert len(shown) == summary["saved"]
    # Every bag that stood on the plate when "confirm" was pressed is in the diary; a voided line may stay.
    assert sorted(shown) == sorted(kiosk.saved)
    placed = [mass_g for visit in diary for mass_g in visit["placed_g"]]
    assert all(any(abs(net_g - mass_g) <= 10 for mass_g in placed) for net_g in shown)
    assert summary["gave_up"] == 0, diary


async def test_faults_of_the_plan_befall_the_devices_and_are_healed_at_the_end(tmp_path: Path) -> None:
    rules = (
        FaultRule(Device.SCALE, Fault.UNPLUG, for_s=30, at_s=0.1),
        FaultRule(Device.SCANNER, Fault.UNPLUG, for_s=30, at_s=0.1),
    )
    people = replace(scenario().people, visits_per_h=0.1)
    async with (
        tiny_kiosk() as (_, port),
        SimulatedSite(scenario(faults=rules, people=people), port, tmp_path) as site,
    ):
        stop = asyncio.Event()
        running = asyncio.create_task(site.run(stop))
        await eventually(lambda: not site.scale.wire.plugged and not site.scanner.wire.plugged)
        stop.set()
        assert (await running)["faults"] == 2
        assert site.scale.wire.plugged
        assert site.scanner.wire.plugged


async def test_a_site_without_a_kiosk_says_so(tmp_path: Path) -> None:
    site = SimulatedSite(scenario(), HttpKiosk("http://127.0.0.1:9"), tmp_path, kiosk_deadline_s=0.1)
    async with site:
        with pytest.raises(KioskError, match=r"127\.0\.0\.1:9 does not answer"):
            await site.run()


def test_screens_are_read_in_both_shapes() -> None:
    nested = parse_screen(b'{"screen": {"name": "weigh", "weight": {"stable": true, "net_g": 5}}}')
    assert (nested.name, nested.ready) == ("weigh", True)
    flat = parse_screen(b'{"screen": "weighing", "weight": {"health": "stale", "stable": true, "net_g": 5}}')
    assert (flat.name, flat.ready) == ("weigh", False)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"screen": 1}', b"\xff"])
def test_what_is_no_screen_is_a_kiosk_error(answer: bytes) -> None:
    with pytest.raises(KioskError):
        parse_screen(answer)


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "https://x", "http://", "http://x:99999"])
def test_what_is_no_address_is_a_kiosk_error(url: str) -> None:
    with pytest.raises(KioskError):
        HttpKiosk(url)
