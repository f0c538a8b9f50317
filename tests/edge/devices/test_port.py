"""The serial port itself: what it throws away, what it keeps to itself, and that it leaks nothing."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.devices.link import Line
from edge.devices.port import PortError, PortLostError, SerialPort
from edge.errors import ConfigError
from tests.edge.devices.pty_device import PtyDevice, until


@pytest.fixture
def device(tmp_path: Path) -> Iterator[PtyDevice]:
    plugged = PtyDevice(tmp_path / "port")
    plugged.plug()
    yield plugged
    plugged.unplug()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def open_port(device: PtyDevice, framing: str = "8N1") -> SerialPort:
    return await SerialPort.open(str(device.link), baud=9600, framing=framing)


async def test_what_waited_from_before_is_thrown_away_and_what_comes_is_read(device: PtyDevice) -> None:
    device.send(b"old")
    port = await open_port(device)
    device.send(b"new")
    assert await port.read(2.0) == b"new"
    port.close()


async def test_a_read_gives_up_after_its_time(device: PtyDevice) -> None:
    clock = SystemClock()
    port = await open_port(device)
    began_s = clock.monotonic()
    assert await port.read(0.05) == b""
    assert clock.monotonic() - began_s >= 0.04
    port.close()


async def test_bytes_that_came_while_the_loop_was_held_up_are_read_not_timed_out(device: PtyDevice) -> None:
    port = await open_port(device)
    device.send(b"late")
    assert await port.read(0.0) == b"late"
    port.close()


async def test_a_port_has_one_owner(device: PtyDevice) -> None:
    port = await open_port(device)
    with pytest.raises(PortError, match="another program") as caught:
        await open_port(device)
    assert caught.value.code == "device.port.busy"
    port.close()
    (await open_port(device)).close()


@pytest.mark.parametrize(
    ("framing", "sent"), [("8N1", b"SI\r\n"), ("7E1", b"S\xc9\x8d\x0a"), ("7O1", b"\xd3I\x0d\x8a")]
)
async def test_a_request_gets_the_parity_bit_its_line_wants(
    device: PtyDevice, framing: str, sent: bytes
) -> None:
    port = await open_port(device, framing)
    port.write(b"SI\r\n")
    heard = bytearray()
    await until(lambda: len(heard) == 4, 2, lambda: heard.extend(device.receive()))
    assert bytes(heard) == sent
    port.close()


async def test_a_port_that_takes_nothing_more_is_lost_not_waited_for(device: PtyDevice) -> None:
    def write_on(port: SerialPort) -> None:
        for _ in range(10_000):
            port.write(b"x" * 64)

    port = await open_port(device)
    with pytest.raises(PortLostError):
        write_on(port)
    port.close()


async def test_unplugging_ends_a_read_and_a_write(device: PtyDevice) -> None:
    port = await open_port(device)
    reading = asyncio.create_task(port.read(5.0))
    await asyncio.sleep(0)
    device.unplug()
    with pytest.raises(PortLostError):
        await asyncio.wait_for(reading, 2)
    with pytest.raises(PortLostError):
        port.write(b"SI\r\n")
    port.close()
    port.close()


async def test_opening_failing_and_cancelling_leak_no_descriptor(device: PtyDevice, tmp_path: Path) -> None:
    (await open_port(device)).close()  # whatever is made once, such as the thread, is made now
    before = descriptors()
    for _ in range(20):
        (await open_port(device)).close()
        with pytest.raises(PortError):
            await SerialPort.open(str(tmp_path / "nothing"), baud=9600)
    for _ in range(20):
        opening = asyncio.create_task(open_port(device))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    (await open_when_free(device)).close()
    await until(lambda: descriptors() == before, 2)


async def open_when_free(device: PtyDevice) -> SerialPort:
    """Cancelled openings finish in their threads and give the port back a little later."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await open_port(device)
            except PortError:
                await asyncio.sleep(0.01)


def test_an_unknown_framing_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="7E1"):
        Line("scale", "/dev/null", 9600, "9X9")
