"""The MT-SICS conversation, answer by answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.dialects.mt_sics import STABILITY_TIMEOUT_S, MtSics, ScaleIdentity
from firmware_sim.indication import Condition, Indication, Unit
from firmware_sim.physics import Key, PresetTare

STABLE = Indication(Condition.STABLE, 12_340, 10, 60_000)
MOVING = replace(STABLE, condition=Condition.MOTION)
OVER = replace(STABLE, condition=Condition.OVERLOAD, zero_reach=1)
UNDER = replace(STABLE, condition=Condition.UNDERLOAD, gross_g=-900)


def scale() -> MtSics:
    return MtSics(ScaleIdentity())


@pytest.mark.parametrize(
    ("shown", "command", "answer"),
    [
        (Indication(Condition.STABLE, 100_000, 10, 150_000), b"S", b"S S     100.00 kg"),
        (Indication(Condition.STABLE, 100, 1, 600, unit=Unit.G), b"SI", b"S S        100 g"),
        (STABLE, b"SI", b"S S      12.34 kg"),
        (MOVING, b"SI", b"S D      12.34 kg"),
        (replace(STABLE, gross_g=-120), b"SI", b"S S      -0.12 kg"),
        (OVER, b"SI", b"S +"),
        (UNDER, b"SI", b"S -"),
        (OVER, b"S", b"S +"),
        (replace(STABLE, gross_g=0), b"Z", b"Z A"),
        (OVER, b"Z", b"Z +"),
        (replace(STABLE, zero_reach=-1), b"Z", b"Z -"),
        (STABLE, b"ZI", b"ZI S"),
        (MOVING, b"ZI", b"ZI I"),
        (STABLE, b"T", b"T S      12.34 kg"),
        (UNDER, b"T", b"T -"),
        (STABLE, b"TA", b"TA A       0.00 kg"),
        (STABLE, b"TA 2.50 kg", b"TA A       2.50 kg"),
        (STABLE, b"TAC", b"TAC A"),
        (STABLE, b"@", b'I4 A "1234567"'),
        (STABLE, b"I1", b'I1 A "01" "2.20" "2.20" "" ""'),
        (STABLE, b"I2", b'I2 A "ICS469 OU 60.00 kg"'),
        (STABLE, b"I4", b'I4 A "1234567"'),
        (STABLE, b"X", b"ES"),
        (STABLE, b"si", b"ES"),
        (STABLE, b"", b"ES"),
        (STABLE, b"\x80\x81", b"ES"),
        (STABLE, b"SI 1", b"EL"),
        (STABLE, b"TA 2.50 lb", b"EL"),
        (STABLE, b"TA -1 kg", b"EL"),
        (STABLE, b"TA 99999 kg", b"EL"),
        (STABLE, b"TA abc kg", b"EL"),
    ],
)
def test_each_command_gets_its_answer(shown: Indication, command: bytes, answer: bytes) -> None:
    assert scale().receive(command + b"\r\n", shown, 0.0).frames == (answer + b"\r\n",)


def test_the_command_list_ends_in_the_one_line_marked_last() -> None:
    frames = scale().receive(b"I0\r\n", STABLE, 0.0).frames
    assert {frame[:4] for frame in frames[:-1]} == {b"I0 B"}
    assert frames[-1].startswith(b"I0 A ")
    assert b'I0 B 0 "SIR"\r\n' in frames


def test_s_waits_for_stability_and_answers_once_it_comes() -> None:
    device = scale()
    assert device.receive(b"S\r\n", MOVING, 0.0).frames == ()
    assert device.tick(MOVING, 1.0).frames == ()
    assert device.tick(STABLE, 1.5).frames == (b"S S      12.34 kg\r\n",)
    assert device.tick(STABLE, 1.6).frames == ()


def test_s_that_never_gets_stable_answers_i_after_its_timeout() -> None:
    device = scale()
    device.receive(b"S\r\n", MOVING, 0.0)
    assert device.tick(MOVING, STABILITY_TIMEOUT_S).frames == (b"S I\r\n",)


def test_commands_wait_behind_a_blocking_one_and_keep_their_order() -> None:
    device = scale()
    assert device.receive(b"S\r\nI4\r\nSI\r\n", MOVING, 0.0).frames == ()
    frames = device.tick(STABLE, 0.5).frames
    assert [frame[:4] for frame in frames] == [b"S S ", b"I4 A", b"S S "]


def test_sir_repeats_until_si_or_reset() -> None:
    device = scale()
    assert len(device.receive(b"SIR\r\n", STABLE, 0.0).frames) == 1
    assert [len(device.tick(MOVING, at / 20 + 0.001).frames) for at in range(2, 10)] == [
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        0,
    ]
    device.receive(b"SI\r\n", STABLE, 0.5)
    assert device.tick(STABLE, 2.0).frames == ()
    device.receive(b"SIR\r\n", STABLE, 3.0)
    device.receive(b"@\r\n", STABLE, 3.1)
    assert device.tick(STABLE, 4.0).frames == ()


def test_keys_are_pressed_by_the_commands_that_mean_them() -> None:
    assert scale().receive(b"Z\r\n", replace(STABLE, gross_g=0), 0.0).presses == (Key.ZERO,)
    assert scale().receive(b"T\r\n", STABLE, 0.0).presses == (Key.TARE,)
    assert scale().receive(b"TAC\r\n", STABLE, 0.0).presses == (Key.CLEAR_TARE,)
    assert scale().receive(b"TA 2.5 kg\r\n", STABLE, 0.0).presses == (PresetTare(2_500),)
    assert scale().receive(b"Z\r\n", OVER, 0.0).presses == ()


@given(st.lists(st.binary(min_size=0, max_size=200), max_size=20))
def test_any_bytes_at_all_leave_the_next_command_answered(noise: list[bytes]) -> None:
    device = scale()
    for data in noise:
        device.receive(data, STABLE, 0.0)
    device.receive(b"\r\n@\r\n", STABLE, 1.0)
    assert device.receive(b"SI\r\n", STABLE, 1.0).frames == (b"S S      12.34 kg\r\n",)


def test_a_line_without_end_is_refused_and_forgotten() -> None:
    device = scale()
    answers = [device.receive(b"A" * 50, STABLE, 0.0).frames for _ in range(3)]
    assert answers == [(), (b"ES\r\n",), ()]
