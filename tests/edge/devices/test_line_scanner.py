"""Codes from line scanners: every terminator, prefixes, partial and overlong codes."""

import pytest

from edge.devices.events import Scan, ScanFault
from edge.devices.scanners.line.frames import CODE_BYTES_MAX, LineReader, Terminator, read_code

ENDS: list[tuple[Terminator, bytes]] = [("cr", b"\r"), ("lf", b"\n"), ("crlf", b"\r\n"), ("tab", b"\t")]


def dribble(reader: LineReader, data: bytes, start_s: float = 0.0) -> list[Scan | ScanFault]:
    items = []
    for index in range(len(data)):
        now = start_s + index * 0.001
        items += reader.feed(data[index : index + 1], now)
    return items


@pytest.mark.parametrize(("terminator", "end"), ENDS)
def test_a_code_ends_with_its_terminator_whole_or_dribbling(terminator: Terminator, end: bytes) -> None:
    expected = Scan("bin", "RLB1:BIN-7", b"RLB1:BIN-7")
    assert LineReader(terminator).feed(b"RLB1:BIN-7" + end, 0.0) == [expected]
    assert dribble(LineReader(terminator), b"RLB1:BIN-7" + end) == [expected]


@pytest.mark.parametrize(("terminator", "end"), ENDS)
def test_two_codes_in_one_chunk_are_two_scans(terminator: Terminator, end: bytes) -> None:
    scans = LineReader(terminator).feed(b"AB" + end + b"CD" + end, 0.0)
    assert [item.text for item in scans if isinstance(item, Scan)] == ["AB", "CD"]


def test_a_gap_ends_a_code_when_nothing_else_does() -> None:
    reader = LineReader("gap")
    assert dribble(reader, b"RLB1:BIN-7") == []
    assert reader.idle(0.05) == []
    (scan,) = reader.idle(0.2)
    assert isinstance(scan, Scan)
    assert (scan.kind, scan.text) == ("bin", "RLB1:BIN-7")
    assert reader.wait_s(0.3) is None


@pytest.mark.parametrize(("terminator", "end"), ENDS)
def test_a_partial_code_is_dropped_visibly_and_never_glued(terminator: Terminator, end: bytes) -> None:
    reader = LineReader(terminator)
    reader.feed(b"RLB1:BIN", 0.0)
    (fault,) = reader.idle(0.11)
    assert isinstance(fault, ScanFault)
    assert (fault.code, fault.raw) == ("scan.partial", b"RLB1:BIN")
    (scan,) = reader.feed(b"RLB1:BIN-8" + end, 0.2)
    assert isinstance(scan, Scan)
    assert scan.text == "RLB1:BIN-8"


@pytest.mark.parametrize(("terminator", "end"), [*ENDS, ("gap", b"")])
def test_bytes_we_came_late_for_do_not_cut_a_code(terminator: Terminator, end: bytes) -> None:
    reader = LineReader(terminator)
    reader.feed(b"RLB1:BIN-", 0.0)
    items = reader.feed(b"12" + end, 0.5) + reader.idle(0.7)
    assert [item.text for item in items if isinstance(item, Scan)] == ["RLB1:BIN-12"]
    assert not [item for item in items if isinstance(item, ScanFault)]


def test_a_scanner_set_to_cr_lf_works_where_cr_is_configured() -> None:
    reader = LineReader("cr")
    items = reader.feed(b"AB\r\n", 0.0) + reader.idle(0.2) + reader.feed(b"CD\r\n", 1.0) + reader.idle(1.2)
    assert [item.text for item in items if isinstance(item, Scan)] == ["AB", "CD"]
    assert not [item for item in items if isinstance(item, ScanFault)]


def test_an_overlong_code_is_one_fault_and_the_next_code_is_read() -> None:
    reader = LineReader("cr")
    items = dribble(reader, b"X" * (CODE_BYTES_MAX * 3)) + reader.feed(b"X\r", 1.801)
    assert [item.code for item in items if isinstance(item, ScanFault)] == ["scan.too_long"]
    (scan,) = reader.feed(b"AB\r", 1.802)
    assert isinstance(scan, Scan)


def test_a_whole_overlong_code_in_one_chunk_is_a_fault_too() -> None:
    (fault,) = LineReader("cr").feed(b"X" * (CODE_BYTES_MAX + 1) + b"\r", 0.0)
    assert isinstance(fault, ScanFault)
    assert fault.code == "scan.too_long"
    assert len(fault.raw) <= 64


@pytest.mark.parametrize(
    ("raw", "kind", "text", "aim"),
    [
        (b"]Q1RL1:NCFOXN*TS0BI", "card", "RL1:NCFOXN*TS0BI", "]Q1"),
        (b"RL1: $%*+-./:", "card", "RL1: $%*+-./:", None),
        (b"]d2RLB1:BIN-7", "bin", "RLB1:BIN-7", "]d2"),
        (b"rlb1:bin-7", "bin", "RLB1:BIN-7", None),
        (b"]C1010426\x1d21", "unknown", "010426\x1d21", "]C1"),
        (b"4006381333931", "unknown", "4006381333931", None),
    ],
)
def test_what_a_code_is(raw: bytes, kind: str, text: str, aim: str | None) -> None:
    scan = read_code(raw)
    assert isinstance(scan, Scan)
    assert (scan.kind, scan.text, scan.aim, scan.raw) == (kind, text, aim, raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\xff\xfe\x80", "scan.bytes"),
        (b"RLB1:b\xc3\xbc", "scan.bytes"),
        (b"RLB1:?", "scan.bin"),
        (b"]Q1", "scan.bytes"),
    ],
)
def test_what_is_no_code_is_a_typed_fault(raw: bytes, code: str) -> None:
    fault = read_code(raw)
    assert isinstance(fault, ScanFault)
    assert fault.code == code
