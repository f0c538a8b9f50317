"""Simulated scales and scanners over their real ports and control sockets."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from firmware_sim.dialects import DIALECTS
from firmware_sim.errors import CommandError, LinkError, ProfileError, UnknownDialectError
from firmware_sim.physics import Key, ScaleProfile
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner

from .support import Client, eventually

# A plate that comes to rest quickly, so that the tests do too.
QUICK = ScaleProfile(oscillation_hz=9.0, damping=0.6, stable_window_s=0.25)
EXPECTED_AT_2500_G = {
    "toledo": b"\x02,0    250     0\r",
    "and": b"ST,+00002.50 kg\r\n",
    "cas22": b"ST,GS,1\xe4,00002.50 kg\r\n",
    "cas18": b"ST,GS,00002.50kg\r\n",
    "cas10": b"00002.50\r\n",
    "kern": b"ST,GS,+00002.50  kg\r\n",
    "a9": b"\x02+0002502",
    "yaohua-reversed": b"=05.20000",
    "a12e": b"WG0002.50kg",
    "a12e-clone": b"ww0002.50kg\r\n",
}


async def ask(path: Path, *commands: object) -> list[dict[str, object]]:
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for command in commands:
        line = command if isinstance(command, bytes) else json.dumps(command).encode()
        writer.write(line + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


async def shows(dialect: str, expected: bytes) -> None:
    async with SimulatedScale(dialect, profile=QUICK) as scale:
        with Client(scale.port) as client:
            scale.place(2_500)
            await scale.settled()
            await client.until(expected)


async def test_every_continuous_dialect_shows_the_bag_on_the_plate() -> None:
    await asyncio.gather(*(shows(dialect, expected) for dialect, expected in EXPECTED_AT_2500_G.items()))


async def test_every_named_dialect_is_covered_here() -> None:
    assert set(DIALECTS) == {*EXPECTED_AT_2500_G, "mt-sics"}


async def test_mt_sics_answers_over_the_port_and_zeroes_on_command() -> None:
    async with SimulatedScale("mt-sics", profile=QUICK) as scale:
        with Client(scale.port) as client:
            await eventually(lambda: scale.wire.counters.attached == 1)
            scale.place(120)
            await asyncio.sleep(0.06)
            client.write(b"S\r\n")
            await client.until(b"S S       0.12 kg\r\n")
            client.write(b"Z\r\nSI\r\n")
            await client.until(b"Z A\r\nS S       0.00 kg\r\n")


async def test_a_moving_plate_is_sent_as_moving_until_it_rests() -> None:
    async with SimulatedScale("cas18", profile=QUICK) as scale:
        with Client(scale.port) as client:
            await scale.settled()
            scale.place(8_000)
            await client.until(b"ST,GS,00008.00kg\r\n")
    frames = re.findall(rb"(ST|US),GS,([ 0-9.-]{8})kg", client.received)
    assert b"US" in {head for head, _ in frames}
    for head, value in frames:
        assert head == b"US" or abs(float(value)) < 0.02 or abs(float(value) - 8) < 0.02


async def test_the_overload_fault_is_an_overload_on_the_wire_and_passes() -> None:
    async with SimulatedScale("a12e", profile=QUICK) as scale:
        with Client(scale.port) as client:
            scale.fault("overload")
            await client.until(b"         OL23\r\n")
            scale.fault("overload", on=False)
            await scale.settled()
            await client.until(b"WG0000.00kg")
    assert scale.load_g == 0


async def test_a_frozen_value_stays_while_frames_go_on() -> None:
    async with SimulatedScale("and", profile=QUICK) as scale:
        await scale.settled()
        with Client(scale.port) as client:
            scale.fault("freeze_value")
            scale.place(5_000)
            await client.bytes(17 * 30)
            assert b"5.00" not in client.received
            scale.fault("freeze_value", on=False)
            await client.until(b"ST,+00005.00 kg")


async def test_the_first_value_after_a_pause_can_be_the_last_weighing() -> None:
    async with SimulatedScale("and", profile=QUICK) as scale:
        scale.place(3_000)
        await scale.settled()
        scale.clear()
        await scale.settled()
        scale.fault("stale_first_value")
        with Client(scale.port) as client:
            scale.place(7_000)
            await client.until(b"ST,+00007.00 kg")
    assert b"ST,+00003.00 kg" in client.received


async def test_the_unit_key_switches_to_pounds_and_back() -> None:
    async with SimulatedScale("kern", profile=QUICK) as scale:
        with Client(scale.port) as client:
            scale.place(4_536)
            scale.fault("lb")
            await client.until(b"ST,GS,+00010.00  lb\r\n")
            scale.fault("lb", on=False)
            await client.until(b"ST,GS,+00004.54  kg\r\n")


async def test_a_second_bag_adds_and_goes_again() -> None:
    async with SimulatedScale("and", profile=QUICK) as scale:
        scale.place(1_000)
        scale.fault("second_bag", mass_g=2_000)
        assert (await scale.settled()).gross_g == 3_000
        scale.fault("second_bag", on=False)
        assert (await scale.settled()).gross_g == 1_000


async def test_a_power_cut_silences_the_scale_and_forgets_its_tare() -> None:
    async with SimulatedScale("mt-sics", profile=QUICK) as scale:
        scale.place(1_000)
        await scale.settled()
        scale.press(Key.TARE)
        scale.fault("power_cut")
        cut = scale.indication
        assert cut is None
        with Client(scale.port) as client:
            await eventually(lambda: scale.wire.counters.attached == 1)
            client.write(b"SI\r\n")
            scale.fault("power_cut", on=False)
            await asyncio.sleep(1.1)
            client.write(b"TA\r\n")
            answer = await client.until(b"kg\r\n")
    assert answer == b"TA A       0.00 kg\r\n"
    assert scale.indication is not None
    assert scale.indication.gross_g == 0, "what stood there at power-up was taken as zero"


async def test_unplug_and_replug_through_the_fault_names() -> None:
    async with SimulatedScale("toledo", profile=QUICK) as scale:
        with Client(scale.port) as client:
            scale.fault("unplug")
            await eventually(client.gone)
            assert not scale.link.is_symlink()
        scale.fault("unplug", on=False)
        with Client(scale.port) as client:
            await client.until(b"\x02,0      0     0\r")
            scale.fault("replug")
            await eventually(client.gone)
        assert scale.link.exists()
        assert scale.faults == frozenset()


async def test_two_scales_with_one_seed_send_the_same_values_from_the_same_moves() -> None:
    now_s = [0.0]
    histories = []
    for seed in (5, 5, 6):
        now_s[0] = 0.0
        scale = SimulatedScale("and", profile=ScaleProfile(division_g=1), seed=seed, now=lambda: now_s[0])
        history = []
        for step in range(100):
            now_s[0] += 0.05
            if step == 20:
                scale.place(4_321)
            shown = scale.indication
            assert shown is not None
            history.append((shown.gross_g, shown.condition))
        histories.append(history)
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


async def test_settled_gives_up_on_a_scale_that_never_rests(tmp_path: Path) -> None:
    async with SimulatedScale("and", profile=QUICK, link=tmp_path / "scale") as scale:
        scale.fault("power_cut")
        with pytest.raises(TimeoutError):
            await scale.settled(deadline_s=0.3)


async def test_the_control_socket_moves_bags_and_faults(tmp_path: Path) -> None:
    control = tmp_path / "scale.sock"
    async with SimulatedScale("and", profile=QUICK, link=tmp_path / "scale", control=control) as scale:
        answers = await ask(
            control,
            {"cmd": "place", "mass_g": 1_200},
            {"cmd": "add", "mass_g": 300},
            {"cmd": "fault", "name": "freeze_port", "on": True},
            {"cmd": "press", "key": "tare"},
            {"cmd": "state"},
        )
        assert [answer["ok"] for answer in answers] == [True] * 5
        assert answers[4]["load_g"] == 1_500
        assert answers[4]["faults"] == ["freeze_port"]
        assert scale.load_g == 1_500
        assert await ask(control, {"cmd": "clear"}) == [{"ok": True}]
        assert scale.load_g == 0
    assert not control.exists()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", "control.not_json"),
        (b"[1]", "control.not_an_object"),
        (b'{"cmd":"dance"}', "sim.bad_command"),
        (b'{"mass_g":1}', "sim.bad_command"),
        (b'{"cmd":"place","mass_g":"1"}', "sim.bad_command"),
        (b'{"cmd":"place","mass_g":-1}', "sim.bad_command"),
        (b'{"cmd":"place","mass_g":true}', "sim.bad_command"),
        (b'{"cmd":"add","mass_g":-5}', "sim.bad_command"),
        (b'{"cmd":"fault","name":"fire"}', "sim.bad_command"),
        (b'{"cmd":"fault","name":"unplug","on":1}', "sim.bad_command"),
        (b'{"cmd":"press","key":"any"}', "sim.bad_command"),
        (b"x" * 5000, "control.line_too_long"),
    ],
)
async def test_a_wrong_command_is_answered_with_a_code_and_changes_nothing(
    tmp_path: Path, line: bytes, code: str
) -> None:
    control = tmp_path / "scale.sock"
    async with SimulatedScale("and", profile=QUICK, link=tmp_path / "scale", control=control) as scale:
        answer = (await ask(control, line))[0]
        assert (answer["ok"], answer["code"]) == (False, code)
        assert scale.load_g == 0
        assert scale.faults == frozenset()
        assert await ask(control, {"cmd": "place", "mass_g": 10}) == [{"ok": True}]


async def test_the_control_socket_serves_a_bounded_number_of_clients(tmp_path: Path) -> None:
    control = tmp_path / "scale.sock"
    async with SimulatedScale("and", profile=QUICK, link=tmp_path / "scale", control=control):
        pairs = [await asyncio.open_unix_connection(control) for _ in range(8)]
        reader, writer = await asyncio.open_unix_connection(control)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        for _, each in [*pairs, (reader, writer)]:
            each.close()
            await each.wait_closed()


async def test_devices_that_cannot_be_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UnknownDialectError, match="mt-sics, toledo"):
        SimulatedScale("esperanto")
    with pytest.raises(ProfileError):
        SimulatedScale("and", profile=QUICK, baud=9_601)
    with pytest.raises(CommandError, match="cr, lf"):
        SimulatedScanner(terminator="bell")
    with pytest.raises(LinkError, match="folder"):
        async with SimulatedScale("and", profile=QUICK, link=tmp_path / "missing" / "scale"):
            pass
    with pytest.raises(LinkError, match="107 bytes"):
        async with SimulatedScale("and", profile=QUICK, link=tmp_path / "s", control=tmp_path / ("c" * 120)):
            pass


@pytest.mark.parametrize(
    ("terminator", "ending"), [("cr", b"\r"), ("lf", b"\n"), ("crlf", b"\r\n"), ("tab", b"\t"), ("gap", b"")]
)
async def test_scanned_codes_end_as_the_scanner_is_set_up(terminator: str, ending: bytes) -> None:
    async with SimulatedScanner(terminator=terminator) as scanner:
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            scanner.scan("RLB1:AB12")
            scanner.scan("RL1:XYZ")
            await client.until(b"RL1:XYZ" + ending)
    assert client.received == b"RLB1:AB12" + ending + b"RL1:XYZ" + ending


async def test_codes_without_terminator_are_kept_apart_by_a_pause() -> None:
    async with SimulatedScanner(terminator="gap") as scanner:
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            scanner.scan("FIRST")
            scanner.scan("SECOND")
            await client.until(b"FIRST")
            first_s = time.monotonic()
            await client.until(b"SECOND")
            assert time.monotonic() - first_s > 0.15


async def test_an_aim_prefix_stands_before_the_code() -> None:
    async with SimulatedScanner(aim=True) as scanner:
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            scanner.scan("RL1:A")
            assert await client.until(b"\r") == b"]Q0RL1:A\r"


async def test_a_tag_repeats_every_fifty_milliseconds_while_it_is_held() -> None:
    async with SimulatedScanner() as scanner:
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            scanner.tag("010063E9AE", hold_s=0.5)
            await eventually(lambda: client.poll().count(b"\x02010063E9AE25\x03") >= 5)
            await eventually(lambda: scanner.wire.idle)
            await asyncio.sleep(0.6)
            repeats = client.poll().count(b"\x02010063E9AE25\x03")
            assert 5 <= repeats <= 11
            assert len(client.received) == 14 * repeats


async def test_the_scanner_listens_to_its_control_socket(tmp_path: Path) -> None:
    control = tmp_path / "scanner.sock"
    async with SimulatedScanner(link=tmp_path / "scanner", control=control) as scanner:
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            assert await ask(control, {"cmd": "scan", "text": "RL1:A"}) == [{"ok": True}]
            await client.until(b"RL1:A\r")
            assert await ask(control, {"cmd": "tag", "id": "010063E9AE"}) == [{"ok": True}]
            await client.until(b"\x02010063E9AE25\x03")
            wrong = await ask(control, {"cmd": "tag", "id": "XYZ"}, {"cmd": "fault", "name": "lb"})
            assert [answer["code"] for answer in wrong] == ["sim.bad_command"] * 2


async def test_a_scanner_can_be_unplugged_and_dead() -> None:
    async with SimulatedScanner() as scanner:
        scanner.fault("unplug")
        assert not scanner.wire.plugged
        scanner.fault("unplug", on=False)
        with Client(scanner.port) as client:
            await eventually(lambda: scanner.wire.counters.attached == 1)
            scanner.fault("power_cut")
            scanner.scan("LOST")
            await asyncio.sleep(0.3)
            scanner.fault("power_cut", on=False)
            scanner.scan("FOUND")
            assert await client.until(b"\r") == b"FOUND\r"


async def test_codes_do_not_pile_up_without_bound() -> None:
    async with SimulatedScanner() as scanner:
        for _ in range(16):
            scanner.scan("A")
        with pytest.raises(CommandError, match="waiting"):
            scanner.scan("A")


async def test_a_device_whose_control_socket_cannot_be_made_leaves_no_port_behind(tmp_path: Path) -> None:
    taken = tmp_path / "control"
    taken.write_text("something else")
    link = tmp_path / "scale"
    with pytest.raises(LinkError):
        async with SimulatedScale("toledo", link=link, control=taken):
            pass
    assert not link.is_symlink()
    assert taken.read_text() == "something else"
