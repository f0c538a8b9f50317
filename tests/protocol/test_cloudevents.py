"""Every record is a valid CloudEvent 1.0 once expanded."""

from __future__ import annotations

import json
import re
from datetime import datetime

import msgspec
import pytest

from protocol.cloudevents import to_cloudevent
from protocol.records import Record
from tests.protocol.samples import EPOCH, GATEWAY_ID, sample_records

DIGEST = bytes(range(32))


@pytest.mark.parametrize("record", sample_records(), ids=lambda record: record.kind)
def test_a_record_keeps_the_rules_of_the_json_format(record: Record) -> None:
    event = json.loads(json.dumps(to_cloudevent(GATEWAY_ID, EPOCH, record, DIGEST)))
    assert event["specversion"] == "1.0"
    assert all(event[name] for name in ("id", "source", "type"))
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in event)
    assert datetime.fromisoformat(event["time"]).utcoffset() is not None
    assert set(event["data"]) == set(type(record.body).__struct_fields__)
    context = {name: value for name, value in event.items() if name != "data"}
    for value in context.values():
        assert isinstance(value, str) or (type(value) is int and abs(value) < 2**31)


def test_numbers_that_a_double_would_change_are_text() -> None:
    carried = to_cloudevent(GATEWAY_ID, EPOCH, sample_records()[23], DIGEST)["data"]
    assert carried["epoch"] == str(0x0102030405060708)
    assert carried["seq"] == 41


def test_a_time_beyond_the_calendar_is_left_out() -> None:
    record = msgspec.structs.replace(sample_records()[0], wall_ms=2**60)
    assert "time" not in to_cloudevent(GATEWAY_ID, EPOCH, record, DIGEST)
