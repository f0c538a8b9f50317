"""Every dialect's frames, byte for byte, as the makers' manuals and captured logs give them."""

import pytest

from firmware_sim.dialects.st_gs import encode_and, encode_cas10, encode_cas18, encode_cas22, encode_kern
from firmware_sim.dialects.toledo import ToledoEncoder, checksum
from firmware_sim.dialects.yaohua import encode_a9, encode_a12e, encode_a12e_clone, encode_reversed
from firmware_sim.indication import Condition, Indication, Unit
from firmware_sim.scanner_frames import Symbology, Terminator, scan_frame, tag_frame


def indication(
    gross_g: int,
    *,
    division_g: int = 10,
    tare_g: int | None = None,
    condition: Condition = Condition.STABLE,
    unit: Unit = Unit.KG,
    at_zero: bool = False,
    zeroed: bool = True,
) -> Indication:
    return Indication(
        condition=condition,
        gross_g=gross_g,
        division_g=division_g,
        max_g=60_000,
        tare_g=tare_g,
        at_zero=at_zero,
        zeroed=zeroed,
        unit=unit,
    )


MOTION = Condition.MOTION
OVER = Condition.OVERLOAD
UNDER = Condition.UNDERLOAD


@pytest.mark.parametrize(
    ("shown", "frame"),
    [
        (indication(12_340), "02 2c 30 20 20 20 31 32 33 34 20 20 20 20 20 30 0d 1b"),
        (indication(14_840, tare_g=2_500), "02 2c 31 20 20 20 31 32 33 34 20 20 20 32 35 30 0d 73"),
        (
            indication(12_500, division_g=50, condition=MOTION),
            "02 3c 38 20 20 20 31 32 35 30 20 20 20 20 20 30 0d 05",
        ),
        (indication(-200), "02 2c 32 20 20 20 20 20 32 30 20 20 20 20 20 30 0d 41"),
    ],
)
def test_toledo_frames_equal_the_golden_ones(shown: Indication, frame: str) -> None:
    assert ToledoEncoder()(shown) == bytes.fromhex(frame)
    assert ToledoEncoder(checksum=False)(shown) == bytes.fromhex(frame)[:-1]


def test_a_toledo_frame_with_its_checksum_sums_to_zero_in_seven_bits() -> None:
    frame = ToledoEncoder()(indication(7_770, tare_g=120))
    assert sum(frame) & 0x7F == 0
    assert checksum(frame[:-1]) == frame[-1]


def test_toledo_says_out_of_range_with_a_flag_and_no_digits() -> None:
    frame = ToledoEncoder()(indication(60_200, condition=OVER))
    assert frame[2] & 0x04
    assert frame[4:10] == b"      "
    assert ToledoEncoder()(indication(-900, condition=UNDER))[2] & 0x06 == 0x06


def test_toledo_flags_pounds_and_a_scale_that_was_never_zeroed() -> None:
    assert not ToledoEncoder()(indication(4_540, unit=Unit.LB))[2] & 0x10
    assert ToledoEncoder()(indication(4_540, zeroed=False))[2] & 0x40


@pytest.mark.parametrize(
    ("shown", "frame"),
    [
        (indication(1_234, division_g=1), b"ST,+0001.234 kg\r\n"),
        (indication(-1_234, division_g=1), b"ST,-0001.234 kg\r\n"),
        (indication(0, division_g=1, condition=MOTION), b"US,+0000.000 kg\r\n"),
        (indication(0, condition=OVER), b"OL,+9999999E+19\r\n"),
        (indication(0, condition=UNDER), b"OL,-9999999E+19\r\n"),
        (indication(1_234, division_g=1, unit=Unit.G), b"ST,+00001234  g\r\n"),
    ],
)
def test_and_frames_equal_the_golden_ones(shown: Indication, frame: bytes) -> None:
    assert encode_and(shown) == frame
    assert len(frame) == 17


@pytest.mark.parametrize(
    ("shown", "frame"),
    [
        (indication(13_500, division_g=100), b"ST,GS,1\xe4,000013.5 kg\r\n"),
        (indication(13_500, division_g=100, condition=MOTION), b"US,GS,1\xa4,000013.5 kg\r\n"),
        (indication(13_500, division_g=100, tare_g=500), b"ST,NT,1\xe2,000013.0 kg\r\n"),
        (indication(0, division_g=100, at_zero=True), b"ST,GS,1\xe5,000000.0 kg\r\n"),
        (indication(-13_500, division_g=100), b"ST,GS,1\xe4,-00013.5 kg\r\n"),
        (indication(0, condition=OVER), b"OL,GS,1\xa4,         kg\r\n"),
    ],
)
def test_cas22_frames_carry_the_lamp_byte(shown: Indication, frame: bytes) -> None:
    assert encode_cas22(shown) == frame
    assert len(frame) == 22


def test_cas18_and_cas10_are_the_shorter_forms_of_the_same_digits() -> None:
    assert encode_cas18(indication(13_500, division_g=100)) == b"ST,GS,000013.5kg\r\n"
    assert encode_cas18(indication(13_500, division_g=100, condition=OVER)) == b"OL,GS,        kg\r\n"
    assert encode_cas10(indication(13_500, division_g=100)) == b"000013.5\r\n"
    assert encode_cas10(indication(13_500, division_g=100, condition=OVER)) == b""


def test_kern_frames_have_sign_eight_characters_and_a_wide_unit() -> None:
    assert encode_kern(indication(12_340)) == b"ST,GS,+00012.34  kg\r\n"
    assert encode_kern(indication(12_340, tare_g=12_340)) == b"ST,NT,+00000.00  kg\r\n"
    assert encode_kern(indication(0, condition=OVER)) == b"OL,GS,+          kg\r\n"
    assert encode_kern(indication(45_359, unit=Unit.LB)) == b"ST,GS,+00100.00  lb\r\n"


def test_a9_frames_end_in_the_xor_of_the_captured_log() -> None:
    assert encode_a9(indication(3_290_000, division_g=1000)) == b"\x02+003290013\x03"
    assert encode_a9(indication(-20, division_g=10)) == b"\x02-0000022" + b"1D" + b"\x03"
    assert encode_a9(indication(0, condition=OVER)) == b""


def test_reversed_frames_put_the_sign_last() -> None:
    assert encode_reversed(indication(3_000, division_g=1)) == b"=000.3000"
    assert encode_reversed(indication(-1_000)) == b"=00.1000-"


def test_a12e_frames_equal_the_manual() -> None:
    assert encode_a12e(indication(4_139, division_g=1)) == b"WG004.139kg3D\r\n"
    assert encode_a12e(indication(0, condition=OVER)) == b"         OL23\r\n"
    assert encode_a12e(indication(0, condition=UNDER)) == b"         LO23\r\n"


def test_a12e_clones_write_lower_case_without_checksum() -> None:
    assert encode_a12e_clone(indication(3_170)) == b"ww0003.17kg\r\n"
    assert encode_a12e_clone(indication(0, tare_g=3_170)) == b"wn-003.17kg\r\n"
    assert encode_a12e_clone(indication(3_170, unit=Unit.LB)) == b"ww0007.00lb\r\n"


def test_a_tag_frame_equals_the_captured_one() -> None:
    assert tag_frame("010063E9AE") == b"\x02010063E9AE25\x03"


def test_scanners_end_and_prefix_codes_as_set_up() -> None:
    endings = {each: scan_frame("RLB1:A", each) for each in Terminator}
    assert [endings[each] for each in Terminator] == [
        b"RLB1:A\r", b"RLB1:A\n", b"RLB1:A\r\n", b"RLB1:A\t", b"RLB1:A",
    ]  # fmt: skip
    assert scan_frame("RL1:X", Terminator.CR, Symbology.QR) == b"]Q0RL1:X\r"
