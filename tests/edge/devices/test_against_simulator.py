"""The real drivers against the simulated scales and scanners, over real pseudo-terminals.

The two share no code: each was written from the makers' layouts, so they agree only where both are right.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import get_args

import pytest

from edge.clock import SystemClock
from edge.config import Dialect, ScaleSettings, ScannerSettings
from edge.devices.events import DeviceEvent, Scan
from edge.devices.readings import ScaleView, Status
from edge.devices.scales.driver import ScaleDriver
from edge.devices.scanners.driver import ScannerDriver
from edge.devices.scanners.line.frames import Terminator
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from tests.edge.devices.pty_device import until

CLOCK = SystemClock()
DIVISION_G = 10
LOAD_G = 12_340
_DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
NO_UNIT: frozenset[Dialect] = frozenset({"a9", "yaohua-reversed", "cas10", "a12e"})
"""Forms that name no unit, or know only kilograms."""
NO_OVERLOAD_FRAME: frozenset[Dialect] = frozenset({"a9", "yaohua-reversed", "a12e-clone", "cas10"})
"""Forms without a status: their indicators fall silent, or go on with what the display shows."""


class Bench:
    def __init__(self, scale: SimulatedScale, driver: ScaleDriver) -> None:
        self.scale = scale
        self.driver = driver

    def view(self) -> ScaleView:
        return self.driver.view(CLOCK.monotonic())

    async def shows(self, mass_g: int, within_s: float = 10.0) -> float:
        return await until(lambda: self.near(mass_g), within_s)

    def near(self, mass_g: int, tolerance_g: int = DIVISION_G) -> bool:
        stable_g = self.view().stable_g
        return stable_g is not None and abs(stable_g - mass_g) <= tolerance_g

    async def health(self, health: str, within_s: float = 5.0) -> float:
        return await until(lambda: self.view().health == health, within_s)


@contextlib.asynccontextmanager
async def bench_for(dialect: Dialect) -> AsyncIterator[Bench]:
    async with SimulatedScale(dialect, seed=7) as scale:
        settings = ScaleSettings(dialect=dialect, port=scale.port, division_g=DIVISION_G)
        driver = ScaleDriver(settings, CLOCK, lambda event: None)
        task = asyncio.create_task(driver.run())
        try:
            yield Bench(scale, driver)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def for_every_dialect(
    story: Callable[[Dialect, Bench], Awaitable[None]], but: frozenset[Dialect] = frozenset()
) -> None:
    """Tell the same story on all dialects at once, and name those it went wrong on."""

    async def told(dialect: Dialect) -> None:
        async with bench_for(dialect) as bench:
            await story(dialect, bench)

    names = [name for name in _DIALECTS if name not in but]
    results = await asyncio.gather(*(told(name) for name in names), return_exceptions=True)
    wrong = {name: result for name, result in zip(names, results, strict=True) if result is not None}
    assert not wrong


async def test_every_dialect_weighs_what_lies_on_the_plate() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        await until(lambda: bench.view().zero, 10)
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        bench.scale.add(5_000)
        await bench.shows(LOAD_G + 5_000)
        bench.scale.clear()
        await until(lambda: bench.view().zero, 10)

    await for_every_dialect(story)


async def test_unplug_and_replug_recovers_within_three_seconds_in_every_dialect() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        bench.scale.fault("unplug")
        await bench.health("absent", 1)
        assert bench.view().stable_g is None
        bench.scale.fault("replug")
        assert await bench.health("ok", 3) < 3
        assert await bench.shows(LOAD_G, 3) < 3

    await for_every_dialect(story)


async def test_a_frozen_port_is_stale_within_two_seconds_in_every_dialect() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        bench.scale.fault("freeze_port")
        assert await bench.health("stale") < 2
        assert bench.view().stable_g is None
        bench.scale.fault("freeze_port", on=False)
        await bench.shows(LOAD_G)

    await for_every_dialect(story)


async def test_overload_is_never_a_weight_in_any_dialect() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        await until(lambda: bench.view().zero, 10)
        bench.scale.fault("overload")
        await until(lambda: _refused(bench) or bench.view().health == "stale", 5)
        if dialect not in NO_OVERLOAD_FRAME:
            assert _refused(bench)
        assert bench.view().stable_g is None
        assert not bench.view().zero

    await for_every_dialect(story)


async def test_noise_and_cut_frames_never_make_another_weight_in_any_dialect() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        for fault in ("garbage", "half_frame"):
            bench.scale.fault(fault)
            ends_s = CLOCK.monotonic() + 2.0

            def look(ends_s: float = ends_s) -> bool:
                assert bench.view().stable_g is None or bench.near(LOAD_G)
                return CLOCK.monotonic() > ends_s

            await until(look, 3)
            bench.scale.fault(fault, on=False)
        await bench.shows(LOAD_G)

    await for_every_dialect(story)


async def test_another_speed_is_a_fault_or_silence_and_never_a_weight() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        bench.scale.fault("wrong_baud")
        await until(lambda: bench.view().health in ("fault", "stale"), 5)
        assert bench.view().stable_g is None
        bench.scale.fault("wrong_baud", on=False)
        await bench.shows(LOAD_G)

    await for_every_dialect(story)


async def test_pounds_are_seen_and_become_the_same_grams() -> None:
    async def story(dialect: Dialect, bench: Bench) -> None:
        bench.scale.place(LOAD_G)
        await bench.shows(LOAD_G)
        bench.scale.fault("lb")
        await until(lambda: _unit(bench) == "lb", 3)
        await until(lambda: bench.near(LOAD_G, 2 * DIVISION_G), 5)
        bench.scale.fault("lb", on=False)
        await until(lambda: _unit(bench) == "kg", 3)
        await bench.shows(LOAD_G)

    await for_every_dialect(story, but=NO_UNIT)


async def test_a_commanded_scale_tells_its_serial_number() -> None:
    async with bench_for("mt-sics") as bench:
        await until(lambda: bench.driver.identity.serial != "", 5)


@pytest.mark.parametrize("terminator", ["cr", "lf", "crlf", "tab", "gap"])
async def test_simulated_scanners_are_read_with_every_terminator(terminator: Terminator) -> None:
    events: list[DeviceEvent] = []
    async with SimulatedScanner(terminator=terminator, aim=True, seed=3) as scanner:
        settings = ScannerSettings(port=scanner.port, terminator=terminator)
        driver = ScannerDriver(settings, CLOCK, events.append)
        task = asyncio.create_task(driver.run())
        await until(lambda: scanner.wire.attached, 3)
        scanner.scan("RLB1:BIN-7")
        scanner.scan("RL1:" + "ABC$%*+-./: 0123456789" * 12)
        await until(lambda: len(_scans(events)) == 2, 5)
        task.cancel()
    assert [(scan.kind, scan.aim) for scan in _scans(events)] == [("bin", "]Q0"), ("card", "]Q0")]
    assert _scans(events)[1].text == "RL1:" + "ABC$%*+-./: 0123456789" * 12


async def test_a_simulated_tag_is_one_scan_per_visit() -> None:
    events: list[DeviceEvent] = []
    async with SimulatedScanner(seed=3) as scanner:
        driver = ScannerDriver(ScannerSettings(port=scanner.port, kind="rdm6300"), CLOCK, events.append)
        task = asyncio.create_task(driver.run())
        await until(lambda: scanner.wire.attached, 3)
        scanner.tag("010063E9AE", 0.6)
        await until(lambda: len(_scans(events)) == 1, 3)
        scanner.tag("06008E6D5D", 0.3)
        await until(lambda: len(_scans(events)) == 2, 3)
        task.cancel()
    assert [scan.text for scan in _scans(events)] == ["010063E9AE", "06008E6D5D"]


def _refused(bench: Bench) -> bool:
    reading = bench.view().reading
    return reading is not None and reading.status in (Status.OVERLOAD, Status.ERROR)


def _unit(bench: Bench) -> str:
    reading = bench.view().reading
    return reading.unit if reading is not None else ""


def _scans(events: list[DeviceEvent]) -> list[Scan]:
    return [event for event in events if isinstance(event, Scan)]
