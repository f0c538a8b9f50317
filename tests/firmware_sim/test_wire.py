"""The port behaves like a UART behind a stable name."""

import asyncio
import os
import termios
import time
from pathlib import Path

import pytest

from firmware_sim.errors import LinkError, ProfileError
from firmware_sim.wire import MAX_PENDING_FRAMES, Wire, WireFault

from .support import Client, eventually


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "port"


async def test_bytes_arrive_whole_and_in_order(link: Path) -> None:
    async with Wire(link, 115_200, seed=1) as wire:
        with Client(link, termios.B115200) as client:
            await eventually(lambda: wire.counters.attached == 1)
            for number in range(20):
                wire.send(b"frame %02d\r\n" % number)
                await eventually(lambda: wire.idle)
            got = await client.bytes(200)
    assert got == b"".join(b"frame %02d\r\n" % number for number in range(20))


@pytest.mark.parametrize("baud", [1200, 9600])
async def test_bytes_come_no_faster_than_the_line_carries_them(link: Path, baud: int) -> None:
    constant = {1200: termios.B1200, 9600: termios.B9600}[baud]
    count = baud // 20  # half a second on the line
    async with Wire(link, baud, seed=1) as wire:
        with Client(link, constant) as client:
            await eventually(lambda: wire.counters.attached == 1)
            start_s = time.monotonic()
            wire.send(b"x" * count)
            while len(client.poll()) < count:
                elapsed_s = time.monotonic() - start_s
                assert len(client.received) <= elapsed_s * baud / 10 + 1
                assert elapsed_s < 5
                await asyncio.sleep(0.003)
    assert time.monotonic() - start_s >= 0.49


async def test_a_frame_arrives_in_pieces_at_a_slow_speed(link: Path) -> None:
    async with Wire(link, 600, seed=1) as wire:
        with Client(link, termios.B600) as client:
            await eventually(lambda: wire.counters.attached == 1)
            wire.send(b"0123456789")
            await eventually(lambda: 0 < len(client.poll()) < 10)
            assert await client.bytes(10) == b"0123456789"


async def test_the_link_keeps_its_name_over_unplug_and_replug(link: Path) -> None:
    async with Wire(link, 9600, seed=1) as wire:
        with Client(link) as client:
            wire.unplug()
            assert not link.is_symlink()
            await eventually(client.gone)
        wire.plug()
        assert Path(os.readlink(link)).exists()
        with Client(link) as client:
            await eventually(lambda: wire.counters.attached == 1)
            wire.send(b"back")
            assert await client.until(b"back") == b"back"
    assert not link.is_symlink()


async def test_what_is_sent_while_nobody_listens_is_lost_as_on_a_real_adapter(link: Path) -> None:
    async with Wire(link, 115_200, seed=1) as wire:
        wire.send(b"unheard")
        await eventually(lambda: wire.counters.frames_sent == 1)
        assert wire.counters.bytes_unheard == 7
        with Client(link, termios.B115200) as client:
            await eventually(lambda: wire.counters.attached == 1)
            wire.send(b"heard")
            assert await client.bytes(5) == b"heard"


async def test_a_client_can_come_and_go_and_come_again(link: Path) -> None:
    heard: list[bytes] = []

    async def visit(wire: Wire, word: bytes) -> None:
        with Client(link, termios.B115200) as client:
            await eventually(lambda: wire.attached)
            client.write(word)
            await eventually(lambda: heard[-1:] == [word])
        await eventually(lambda: not wire.attached)

    async with Wire(link, 115_200, seed=1, on_bytes=heard.append) as wire:
        for word in (b"one", b"two", b"three"):
            await visit(wire, word)
        assert wire.counters.attached == 3
    assert heard == [b"one", b"two", b"three"]


async def test_a_client_that_does_not_read_costs_frames_not_memory(link: Path) -> None:
    async with Wire(link, 115_200, seed=1) as wire:
        with Client(link, termios.B115200) as client:
            await eventually(lambda: wire.counters.attached == 1)
            # About 20 kB fit into the terminal; at 11.5 kB/s that takes two seconds.
            end_s = time.monotonic() + 8
            while wire.counters.frames_dropped < 5 and time.monotonic() < end_s:
                wire.send(b"z" * 2_000)
                assert wire.pending <= MAX_PENDING_FRAMES
                await asyncio.sleep(0.1)
            assert wire.counters.frames_dropped >= 5
            assert len(client.poll()) <= 21_000


async def test_the_queue_drops_the_oldest_frame(link: Path) -> None:
    async with Wire(link, 9600, seed=1) as wire:
        with Client(link) as client:
            await eventually(lambda: wire.counters.attached == 1)
            for number in range(MAX_PENDING_FRAMES + 10):
                wire.send(b"%02d" % number)
            assert wire.pending == MAX_PENDING_FRAMES
            got = await client.bytes(2 * MAX_PENDING_FRAMES)
        assert wire.counters.frames_dropped == 10
    assert got.startswith(b"10")
    assert got.endswith(b"%02d" % (MAX_PENDING_FRAMES + 9))


async def test_a_client_at_another_speed_gets_garbage_and_is_not_understood(link: Path) -> None:
    heard: list[bytes] = []
    async with Wire(link, 9600, seed=1, on_bytes=heard.append) as wire:
        with Client(link, termios.B4800) as client:
            await eventually(lambda: wire.counters.attached == 1)
            client.write(b"SI\r\n")
            for _ in range(5):
                wire.send(b"ST,GS,000013.5kg\r\n")
            await eventually(lambda: len(heard) == 1 and len(client.poll()) > 10)
            assert heard != [b"SI\r\n"]
            assert b"ST,GS" not in client.received
            assert not wire.client_baud_matches()
            attributes = termios.tcgetattr(client.fd)
            attributes[4] = attributes[5] = termios.B9600
            termios.tcsetattr(client.fd, termios.TCSANOW, attributes)
            await eventually(lambda: wire.idle)
            wire.send(b"ST,GS,000013.5kg\r\n")
            await client.until(b"ST,GS,000013.5kg\r\n")


async def test_half_frames_garbage_and_a_frozen_port(link: Path) -> None:
    async with Wire(link, 115_200, seed=2) as wire:
        with Client(link, termios.B115200) as client:
            await eventually(lambda: wire.counters.attached == 1)
            wire.faults.add(WireFault.HALF_FRAME)
            for _ in range(30):
                wire.send(b"<0123456789>")
                await eventually(lambda: wire.idle)
            wire.faults = {WireFault.GARBAGE}
            await eventually(lambda: b"<" in client.poll())
            halves = client.poll()
            assert 0 < halves.count(b"<0123456789>") < 30
            assert halves.count(b"<") == 30
            for _ in range(10):
                wire.send(b"<0123456789>")
                await eventually(lambda: wire.idle)
            noisy = client.poll()[len(halves) :]
            assert noisy.count(b"<0123456789>") == 10
            assert len(noisy) > 120
            wire.faults = {WireFault.FREEZE_PORT}
            wire.send(b"never")
            assert wire.pending == 0


async def test_a_link_never_overwrites_a_file(link: Path) -> None:
    link.write_text("precious")
    with pytest.raises(LinkError, match="no symlink"):
        async with Wire(link, 9600, seed=1):
            pass
    assert link.read_text() == "precious"


def test_an_unknown_speed_is_refused(link: Path) -> None:
    with pytest.raises(ProfileError, match="77 is not one of"):
        Wire(link, 77, seed=1)
