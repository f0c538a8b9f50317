"""Every golden frame parses to the right typed reading, whole, byte by byte and glued."""

import pytest

from edge.devices.readings import FrameFault, Reading, Status
from edge.devices.scales.dialects import DIALECTS, Setup, dialect
from edge.devices.scales.mt_sics.frames import MtSicsParser
from edge.devices.scales.toledo.frames import ToledoParser
from edge.devices.scales.yaohua.frames import A9ReplyParser, a9_request
from tests.edge.devices.golden import GOLDEN, Golden

GOLDEN_IDS = [f"{golden.dialect}-{golden.frame!r}" for golden in GOLDEN]


def readings(name: str, *chunks: bytes) -> list[Reading]:
    parser = dialect(name).parser(Setup())
    items = [item for chunk in chunks for item in parser.feed(chunk)]
    return [item for item in items if isinstance(item, Reading)]


def assert_means(reading: Reading, golden: Golden) -> None:
    meaning = (
        reading.status,
        reading.gross_g,
        reading.net_g,
        reading.tare_g,
        reading.stable,
        reading.unit,
        reading.division_g,
    )
    assert meaning == (
        golden.status,
        golden.gross_g,
        golden.net_g,
        golden.tare_g,
        golden.stable,
        golden.unit,
        golden.division_g,
    )


@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_a_golden_frame_means_what_its_maker_says(golden: Golden) -> None:
    reading = readings(golden.dialect, golden.lead, golden.frame)[-1]
    assert_means(reading, golden)
    if not golden.lead:
        assert reading.raw == golden.frame


@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_a_frame_that_dribbles_in_byte_by_byte_is_read_once(golden: Golden) -> None:
    stream = golden.lead + golden.frame
    expected = len(readings(golden.dialect, stream))
    dribbled = readings(golden.dialect, *(stream[i : i + 1] for i in range(len(stream))))
    assert len(dribbled) == expected
    assert_means(dribbled[-1], golden)


@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_glued_frames_in_one_chunk_are_all_read(golden: Golden) -> None:
    before = len(readings(golden.dialect, golden.lead))
    assert len(readings(golden.dialect, golden.lead + golden.frame * 3)) == before + 3


@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_half_a_frame_at_attach_is_a_fault_and_the_next_frame_is_read(golden: Golden) -> None:
    half = golden.frame[len(golden.frame) // 2 :]
    parser = dialect(golden.dialect).parser(Setup())
    items = parser.feed(half + (golden.lead or b"") + golden.frame * 6)
    assert [i for i in items if isinstance(i, Reading)]
    for item in items:
        if isinstance(item, Reading):
            assert_means(item, golden)


def test_every_dialect_has_golden_frames() -> None:
    assert {golden.dialect for golden in GOLDEN} == set(DIALECTS)


def test_nothing_but_stable_and_motion_carries_a_mass() -> None:
    for golden in GOLDEN:
        reading = readings(golden.dialect, golden.lead, golden.frame)[-1]
        if reading.status not in (Status.STABLE, Status.MOTION):
            assert (reading.gross_g, reading.net_g, reading.tare_g) == (None, None, None)


def test_the_other_answers_of_mt_sics_are_no_readings() -> None:
    parser = MtSicsParser()
    lines = b'I4 A "1234567"\r\nI2 A "ICS469 OU 60.18 kg"\r\nZ A\r\nZI S\r\nT S     100.00 g\r\nZ +\r\n'
    assert parser.feed(lines) == []
    answers = [(a.command, a.status, a.text) for a in parser.take_answers()]
    assert answers[:3] == [("I4", "A", "1234567"), ("I2", "A", "ICS469 OU 60.18 kg"), ("Z", "A", "")]
    assert len(answers) == 6


def test_requests_of_the_a9_are_the_manuals() -> None:
    assert a9_request("A", "A") == bytes.fromhex("02 41 41 30 30 03")
    assert a9_request("A", "B") == bytes.fromhex("02 41 42 30 33 03")
    assert a9_request("A", "C") == bytes.fromhex("02 41 43 30 32 03")
    assert a9_request("A", "D") == bytes.fromhex("02 41 44 30 35 03")


def test_the_handshake_of_the_a9_is_no_reading() -> None:
    parser = A9ReplyParser("kg")
    assert parser.feed(bytes.fromhex("02 41 41 30 30 03")) == []
    assert parser.handshakes == 1


@pytest.mark.parametrize(
    ("name", "frame", "code"),
    [
        ("mt-sics", b"S S     100.00 pcs\r\n", "frame.unit"),
        ("mt-sics", b"S S    100.00 g\r\n", "frame.garbage"),
        ("and", b"ST,+0001.234 PC\r\n", "frame.unit"),
        ("a12e", b"WG004.139kg3E\r\n", "frame.checksum"),
        ("a9", b"\x02+003290014\x03", "frame.checksum"),
        ("toledo", bytes.fromhex("02 2c 30 20 20 20 31 32 33 35 20 20 20 20 20 30 0d 1b"), "frame.checksum"),
        ("toledo", bytes.fromhex("02 28 30 20 20 20 31 32 33 34 20 20 20 20 20 30 0d 1f"), "frame.format"),
        ("yaohua-reversed", b"=0003.000=", "frame.format"),
    ],
)
def test_what_is_nearly_a_frame_is_a_typed_fault(name: str, frame: bytes, code: str) -> None:
    items = dialect(name).parser(Setup()).feed(frame)
    assert [item.code for item in items if isinstance(item, FrameFault)] == [code]
    assert not [item for item in items if isinstance(item, Reading)]


@pytest.mark.parametrize(
    ("word_b", "status"), [(0x34, Status.OVERLOAD), (0x36, Status.UNDERLOAD), (0x70, Status.ERROR)]
)
def test_toledo_out_of_range_and_not_zeroed_are_typed(word_b: int, status: Status) -> None:
    body = bytes((0x02, 0x2C, word_b, 0x20)) + b"  1234     0\r"
    frame = body + bytes((-sum(body) & 0x7F,))
    (reading,) = readings("toledo", frame)
    assert (reading.status, reading.gross_g) == (status, None)


def test_decimals_and_unit_may_change_from_frame_to_frame() -> None:
    stream = b"S S     12.340 kg\r\nS S      12.34 kg\r\nS S      27.21 lb\r\nS S      12340 g\r\n"
    assert [(r.gross_g, r.unit, r.division_g) for r in readings("mt-sics", stream)] == [
        (12_340, "kg", 1),
        (12_340, "kg", 10),
        (12_342, "lb", 5),
        (12_340, "g", 1),
    ]


GOLDEN_TOLEDO = next(golden.frame for golden in GOLDEN if golden.dialect == "toledo")
BARE = bytes.fromhex("02 2c 30 20 20 20 31 32 33 34 20 20 20 20 20 30 0d")


def test_a_toledo_scale_without_checksum_is_read_when_set_up_so() -> None:
    items = ToledoParser(checksum=False).feed(BARE * 3)
    assert [item.gross_g for item in items if isinstance(item, Reading)] == [12_340] * 3


def test_a_toledo_scale_without_checksum_is_found_out_after_a_run_of_frames() -> None:
    items = ToledoParser().feed(BARE * 20 + b"\x02")
    assert [type(item) for item in items] == [FrameFault] + [Reading] * 13


def test_a_toledo_scale_with_checksum_is_held_to_it() -> None:
    whole = GOLDEN_TOLEDO
    damaged = whole[:-1] + b"\x7f"
    items = ToledoParser().feed(whole + damaged * 50 + whole)
    assert [item.gross_g for item in items if isinstance(item, Reading)] == [12_340] * 2
    assert not [item for item in ToledoParser(checksum=True).feed(BARE * 50) if isinstance(item, Reading)]
