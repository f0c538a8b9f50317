"""RDM6300 tags: both forms, checksums, and one scan per visit to the field."""

import random

import pytest

from edge.devices.events import Scan, ScanFault
from edge.devices.scanners.rdm6300.frames import Rdm6300Reader

TEXT = b"\x02010063E9AE25\x03"
BINARY = bytes.fromhex("02 0A 02 06 00 8E 6D 5D B0 03")


def tags(items: list[Scan | ScanFault]) -> list[str]:
    return [item.text for item in items if isinstance(item, Scan)]


@pytest.mark.parametrize(("frame", "tag"), [(TEXT, "010063E9AE"), (BINARY, "06008E6D5D")])
def test_golden_frames_give_ten_upper_case_hex_digits(frame: bytes, tag: str) -> None:
    (scan,) = Rdm6300Reader().feed(frame, 0.0)
    assert scan == Scan("tag", tag, frame)


def test_a_tag_that_stays_in_the_field_is_scanned_once_per_visit() -> None:
    reader = Rdm6300Reader()
    seen = [tag for tick in range(100) for tag in tags(reader.feed(TEXT, tick * 0.05))]
    assert seen == ["010063E9AE"]
    assert tags(reader.feed(TEXT, 4.95 + 0.6)) == ["010063E9AE"]


def test_another_tag_is_scanned_at_once() -> None:
    reader = Rdm6300Reader()
    assert tags(reader.feed(TEXT + BINARY + TEXT, 0.0)) == ["010063E9AE", "06008E6D5D", "010063E9AE"]


def test_a_wrong_checksum_is_a_typed_fault_and_no_tag() -> None:
    (fault,) = Rdm6300Reader().feed(b"\x02010063E9AE26\x03", 0.0)
    assert isinstance(fault, ScanFault)
    assert fault.code == "scan.checksum"


def test_no_single_flipped_bit_gives_another_tag() -> None:
    for frame in (TEXT, BINARY):
        for bit in range(len(frame) * 8):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << bit % 8
            assert tags(Rdm6300Reader().feed(bytes(damaged) + TEXT, 0.0)) in ([], ["010063E9AE"])


def test_a_million_bytes_of_noise_give_only_tags_that_were_there() -> None:
    rng = random.Random(6300)
    reader = Rdm6300Reader()
    stream, sent = bytearray(), set()
    while len(stream) < 1_000_000:
        tag = rng.randbytes(5)
        checksum = 0
        for byte in tag:
            checksum ^= byte
        frame = b"\x02" + tag.hex().upper().encode() + b"%02X" % checksum + b"\x03"
        match rng.randrange(3):
            case 0:
                sent.add(tag.hex().upper())
                stream += frame
            case 1:
                stream += frame[: rng.randrange(len(frame) - 3)]  # noise must not happen to complete it
            case _:
                stream += rng.randbytes(rng.randrange(30))
    seen = tags(reader.feed(bytes(stream), 0.0))
    assert set(seen) <= sent
    assert len(seen) > 0.9 * len(sent)
