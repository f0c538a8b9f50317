"""The scale driver on real pseudo-terminals: missing at start, unplugged, silent, garbled, asked."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.config import Dialect, ScaleSettings
from edge.devices.events import Attached, Detached, DeviceEvent, HealthChanged, Identified
from edge.devices.readings import ScaleView, Status
from edge.devices.scales import driver as driver_module
from edge.devices.scales.driver import ScaleDriver
from edge.errors import ConfigError
from tests.edge.devices.pty_device import PtyDevice, running, until

CLOCK = SystemClock()
FRAME_12_340_G = bytes.fromhex("02 2c 30 20 20 20 31 32 33 34 20 20 20 20 20 30 0d 1b")
FRAME_OVER = bytes.fromhex("02 2c 34 20 20 20 20 20 20 30 20 20 20 20 20 30 0d")
FRAME_OVER += bytes((-sum(FRAME_OVER) & 0x7F,))


class Bench:
    """A driver under test with its device, its events and a way to look at it."""

    def __init__(self, link: Path, dialect: Dialect = "toledo", division_g: int = 5) -> None:
        self.device = PtyDevice(link)
        self.events: list[DeviceEvent] = []
        settings = ScaleSettings(dialect=dialect, port=str(link), division_g=division_g)
        self.driver = ScaleDriver(settings, CLOCK, self.events.append)

    def view(self) -> ScaleView:
        return self.driver.view(CLOCK.monotonic())

    def health_is(self, health: str) -> Callable[[], bool]:
        return lambda: self.view().health == health

    def sends(self, frame: bytes) -> Callable[[], None]:
        return lambda: self.device.send(frame)


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "scale"


async def test_a_scale_missing_at_start_is_a_visible_state_and_is_found_later(link: Path) -> None:
    async with running(Bench(link)) as bench:
        await until(lambda: "plug the device in" in bench.view().detail, 2)
        assert bench.view().health == "absent"
        assert bench.view().stable_g is None
        bench.device.plug()
        took_s = await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))
        assert took_s < 3
        assert bench.view().evidence == "flag"


async def test_unplug_is_seen_at_once_and_replug_recovers_within_three_seconds(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    async with running(bench):
        for _ in range(3):
            await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))
            bench.device.unplug()
            assert await until(bench.health_is("absent"), 2) < 0.5
            assert bench.view().reading is None
            bench.device.plug()
            assert await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G)) < 3
    kinds = [type(event) for event in bench.events]
    assert kinds.count(Attached) == 4
    assert kinds.count(Detached) == 3


async def test_a_frozen_stream_is_stale_within_two_seconds_and_its_weight_is_gone(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    async with running(bench):
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))
        took_s = await until(bench.health_is("stale"), 3)
        assert 1.0 < took_s < 2.0
        assert (bench.view().stable_g, bench.view().zero) == (None, False)
        await until(lambda: _last_told(bench) == "stale", 0.5)
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))


async def test_what_waited_in_the_port_before_it_was_opened_is_never_a_reading(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    bench.device.send(FRAME_12_340_G * 50)
    async with running(bench):
        await until(lambda: any(isinstance(event, Attached) for event in bench.events), 2)
        await until(bench.health_is("stale"), 2)
        with contextlib.suppress(AssertionError):
            await until(lambda: bench.view().reading is not None, 0.3)
        assert bench.view().reading is None


async def test_overload_is_shown_and_is_no_weight(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    async with running(bench):
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))
        await until(lambda: _status(bench) is Status.OVERLOAD, 2, bench.sends(FRAME_OVER))
        assert (bench.view().stable_g, bench.view().zero) == (None, False)


async def test_bytes_that_make_no_sense_are_a_fault_not_silence(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    async with running(bench):
        await until(lambda: any(isinstance(event, Attached) for event in bench.events), 2)
        await until(bench.health_is("fault"), 3, bench.sends(b"\xf8\x00\x80\xf8"))
        assert "baud rate" in bench.view().detail


async def test_parity_bits_of_a_seven_bit_line_are_masked(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    with_parity = bytes(byte | byte.bit_count() % 2 << 7 for byte in FRAME_12_340_G)
    assert with_parity != FRAME_12_340_G
    async with running(bench):
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(with_parity))


async def test_a_commanded_scale_is_asked_who_it_is_and_then_what_it_weighs(link: Path) -> None:
    bench = Bench(link, "mt-sics")
    bench.device.plug()
    answers = {
        b"SI\r\n": b"S S      1.500 kg\r\n",
        b"I4\r\n": b'I4 A "B123"\r\n',
        b"I2\r\n": b'I2 A "ICS469 OU 60.18 kg"\r\n',
    }
    asked: list[bytes] = []

    def answer() -> None:
        for line in bench.device.receive().splitlines(keepends=True):
            asked.append(line)
            bench.device.send(answers[line])

    async with running(bench):
        await until(lambda: bench.view().stable_g == 1_500, 5, answer)
    assert asked[:3] == [b"I4\r\n", b"I2\r\n", b"SI\r\n"]
    assert bench.driver.identity.serial == "B123"
    assert Identified("scale", "B123", "ICS469 OU 60.18 kg") in bench.events


async def test_a_commanded_scale_that_stops_answering_is_asked_again_and_is_stale(link: Path) -> None:
    bench = Bench(link, "mt-sics")
    bench.device.plug()
    heard: list[bytes] = []
    async with running(bench):
        await until(lambda: len(heard) >= 4, 5, lambda: heard.extend(bench.device.receive().splitlines()))
        assert bench.view().health == "stale"
        assert heard[3] == b"SI"


async def test_a_port_used_by_another_program_is_a_fault_that_says_so(link: Path) -> None:
    first, second = Bench(link), Bench(link)
    first.device.plug()
    async with running(first):
        await until(lambda: any(isinstance(event, Attached) for event in first.events), 2)
        task = asyncio.create_task(second.driver.run())
        await until(lambda: second.view().health == "fault", 2)
        assert "another program" in second.view().detail
        task.cancel()


async def test_a_file_that_is_no_serial_port_is_a_fault_that_says_so(link: Path) -> None:
    link.write_bytes(b"")
    bench = Bench(link)
    task = asyncio.create_task(bench.driver.run())
    await until(lambda: bench.view().health == "fault", 2)
    assert "no serial port" in bench.view().detail
    task.cancel()


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "REOPEN_AFTER_S", 0.5)


@pytest.mark.usefixtures("short_silence")
async def test_a_port_that_stays_silent_is_opened_anew(link: Path) -> None:
    bench = Bench(link)
    bench.device.plug()
    async with running(bench):
        await until(lambda: bench.driver.opened >= 3, 5)
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))


async def test_a_failing_driver_is_a_fault_and_is_started_again(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(link)
    bench.device.plug()

    def explode(data: bytes, *_: object) -> None:
        raise ZeroDivisionError(f"{len(data)} bytes")

    monkeypatch.setattr(bench.driver, "_hear", explode)
    async with running(bench):
        await until(bench.health_is("fault"), 3, bench.sends(FRAME_12_340_G))
        assert "ZeroDivisionError" in bench.view().detail
        monkeypatch.undo()
        await until(lambda: bench.view().stable_g == 12_340, 3, bench.sends(FRAME_12_340_G))


def test_an_unknown_dialect_stops_the_start_and_names_those_there_are() -> None:
    settings = ScaleSettings(dialect="8217", port="/dev/null")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mt-sics, toledo"):
        ScaleDriver(settings, CLOCK, lambda event: None)


def _status(bench: Bench) -> Status | None:
    reading = bench.view().reading
    return reading.status if reading else None


def _last_told(bench: Bench) -> str | None:
    told = [event.after for event in bench.events if isinstance(event, HealthChanged)]
    return told[-1] if told else None
