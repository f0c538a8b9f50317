"""The scanner driver on real pseudo-terminals: missing at start, unplugged, partial codes, tags."""

import asyncio
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.config import ScannerSettings
from edge.devices.events import Attached, DeviceEvent, HealthChanged, Scan, ScanFault
from edge.devices.scanners.driver import ScannerDriver
from edge.devices.scanners.line.frames import Terminator
from tests.edge.devices.pty_device import PtyDevice, running, until

CLOCK = SystemClock()


class Bench:
    def __init__(self, link: Path, settings: ScannerSettings) -> None:
        self.device = PtyDevice(link)
        self.events: list[DeviceEvent] = []
        self.driver = ScannerDriver(settings, CLOCK, self.events.append)

    @property
    def scans(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Scan)]

    @property
    def faults(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, ScanFault)]

    def health(self) -> str:
        return self.driver.view(CLOCK.monotonic()).health


def line_bench(tmp_path: Path, terminator: Terminator = "cr") -> Bench:
    link = tmp_path / "scanner"
    return Bench(link, ScannerSettings(port=str(link), terminator=terminator))


async def attached(bench: Bench) -> None:
    await until(lambda: any(isinstance(event, Attached) for event in bench.events), 2)


async def test_a_scanner_missing_at_start_is_visible_and_is_found_later(tmp_path: Path) -> None:
    async with running(line_bench(tmp_path)) as bench:
        await until(lambda: "plug the device in" in bench.driver.view(0).detail, 2)
        assert bench.health() == "absent"
        bench.device.plug()
        await until(lambda: bench.health() == "ok", 3)
        bench.device.send(b"RLB1:BIN-7\r")
        await until(lambda: bench.scans == ["RLB1:BIN-7"], 2)


async def test_unplug_and_replug_recovers_within_three_seconds(tmp_path: Path) -> None:
    bench = line_bench(tmp_path)
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        bench.device.unplug()
        await until(lambda: bench.health() == "absent", 1)
        bench.device.plug()
        assert await until(lambda: bench.health() == "ok", 3) < 3
        bench.device.send(b"AGAIN\r")
        await until(lambda: bench.scans == ["AGAIN"], 2)
    told = [event.after for event in bench.events if isinstance(event, HealthChanged)]
    assert told == ["ok", "absent", "ok"]


async def test_a_code_that_breaks_off_is_told_and_the_next_is_whole(tmp_path: Path) -> None:
    bench = line_bench(tmp_path)
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        bench.device.send(b"RL1:HALF")
        await until(lambda: bench.faults == ["scan.partial"], 2)
        bench.device.send(b"RL1:WHOLE\r")
        await until(lambda: bench.scans == ["RL1:WHOLE"], 2)


async def test_a_scanner_without_terminator_is_read_by_its_silence(tmp_path: Path) -> None:
    bench = line_bench(tmp_path, "gap")
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        for part in (b"RL1:", b"FIRST"):
            bench.device.send(part)
        assert await until(lambda: bench.scans == ["RL1:FIRST"], 2) < 0.5


async def test_a_tag_held_to_the_reader_is_one_scan(tmp_path: Path) -> None:
    link = tmp_path / "reader"
    bench = Bench(link, ScannerSettings(port=str(link), kind="rdm6300"))
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        for _ in range(10):
            bench.device.send(b"\x02010063E9AE25\x03")
            await asyncio.sleep(0.05)  # the module's own repeat, part of the stimulus
        bench.device.send(b"\x02" + b"0" * 12 + b"\x03")
        await until(lambda: len(bench.scans) == 2, 2)
    assert bench.scans == ["010063E9AE", "0000000000"]


async def test_noise_is_counted_in_full_but_told_once_a_second(tmp_path: Path) -> None:
    link = tmp_path / "reader"
    bench = Bench(link, ScannerSettings(port=str(link), kind="rdm6300"))
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        await until(
            lambda: bench.driver.faults.get("scan.garbage", 0) >= 10,
            2,
            lambda: bench.device.send(b"\xff\x00"),
        )
    assert len(bench.faults) <= 2


@pytest.mark.parametrize(("terminator", "end"), [("lf", b"\n"), ("crlf", b"\r\n"), ("tab", b"\t")])
async def test_other_terminators_work_over_a_line(tmp_path: Path, terminator: Terminator, end: bytes) -> None:
    bench = line_bench(tmp_path, terminator)
    bench.device.plug()
    async with running(bench):
        await attached(bench)
        bench.device.send(b"CODE" + end)
        await until(lambda: bench.scans == ["CODE"], 2)
