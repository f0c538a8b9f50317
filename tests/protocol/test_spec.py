"""The prose specification and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec

from protocol import acks, cards, codes, courier, documents, frames, records, status
from protocol.bodies import BODIES
from protocol.cose import Purpose
from protocol.topics import Lane
from tests.protocol.make_vectors import path_of

FOLDER = Path(frames.__file__).parent
SPEC = (FOLDER / "SPEC.md").read_text(encoding="utf-8")


def written_fields(kind: type[msgspec.Struct]) -> str:
    """Fields as the table of kinds writes them."""
    fields = []
    for field in msgspec.structs.fields(kind):
        optional = "?" if type(None) in get_args(field.type) else ""
        default = "" if field.required else f"={str(field.default).lower()}"
        fields.append(f"{field.encode_name}{optional}{default}")
    return ", ".join(fields)


def test_the_table_of_kinds_is_the_codes_kinds() -> None:
    rows = {}
    for numbers, names, fields in re.findall(
        r"^\| ([\d, ]+) \| (`[a-z_.`, ]+`) \| (.+) \|$", SPEC, re.MULTILINE
    ):
        for number, name in zip(numbers.split(", "), names.split(", "), strict=True):
            rows[int(number)] = (name.strip("`"), fields)
    assert rows == {code: (body.kind, written_fields(body)) for code, body in BODIES.items()}


def test_every_code_that_can_be_raised_is_listed() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    raised = set(re.findall(r'code ?= ?"([a-z]+\.[a-z_]+)"', sources)) - {
        body.kind for body in BODIES.values()
    }
    listed = set(re.findall(r"`([a-z]+\.[a-z_]+)`", SPEC.partition("## 10. Codes")[2].partition("## 11.")[0]))
    assert raised <= listed
    assert listed - raised == {f"{one}.version" for one in ("ack", "document", "enrolment", "frame")}


def test_every_purpose_lane_and_limit_is_written() -> None:
    for word in (*(purpose.value.decode() for purpose in Purpose), *(f"{lane}`" for lane in Lane)):
        assert word in SPEC
    for number in (
        records.RECORD_BYTES_MAX,
        frames.FRAME_BYTES_MAX,
        frames.FRAME_BYTES_MIN,
        frames.FRAME_EXPANDED_BYTES_MAX,
        frames.FRAME_RECORDS_MAX,
        acks.ACK_BYTES_MAX,
        documents.PART_BYTES_MAX,
        status.STATUS_BYTES_MAX,
    ):
        assert f"{number:,}" in SPEC, number
    assert f"1..{documents.PARTS_MAX}," in SPEC
    assert f"{acks.QUARANTINED_MAX} quarantined entries" in SPEC
    assert f"{cards.TEXT_LENGTH_MAX} characters" in SPEC
    assert courier.ITEM_BYTES_MAX == 5 * 1024 * 1024
    assert codes.CLAIM_HASH_LENGTH == 16


def test_the_worked_example_is_the_vector() -> None:
    example = SPEC.partition("read byte by byte:")[2].partition("```")[2].partition("```")[0]
    shown = "".join(re.split(" {3,}", line.strip())[0] for line in example.splitlines())
    pattern = re.escape(shown.replace(" ", "")).replace("…", "[0-9a-f]*")
    vector = path_of("record").read_text(encoding="utf-8")
    assert re.search(f'"bytes": "{pattern}"', vector)
