"""A record as a CloudEvents 1.0 JSON object: a pure view for export, never the wire form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import msgspec

from protocol.records import ClockQuality, Record, record_id

_EXACT_MAX = 2**53 - 1  # RFC 7493 §2.2
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def source_of(gateway: str, epoch: int) -> str:
    """CloudEvents `source` of an epoch's records; unique together with `id`."""
    return f"/reloop/gateways/{gateway}/epochs/{epoch}"


def to_cloudevent(gateway: str, epoch: int, record: Record, digest: bytes) -> dict[str, Any]:
    """JSON-ready CloudEvent. Bytes in the data are lower-case hex, numbers beyond ±2⁵³
    decimal text, enumerations their names in lower case; `sequence` is zero-padded seq.

    `time` is absent when the wall time lies outside the years 1–9999.
    """
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(record_id(digest)),
        "source": source_of(gateway, epoch),
        "type": f"reloop.{record.kind}",
        "datacontenttype": "application/json",
        "sequence": f"{record.seq:020d}",
        "rlboot": record.boot,
        "rlmono": str(record.mono_ms),
        "rlclock": ClockQuality(record.clock).name.lower(),
        "rldigest": digest.hex(),
        "data": _readable(record),
    }
    time = _timestamp(record.wall_ms)
    return event if time is None else {**event, "time": time}


def _readable(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record.body)
    return {name: _json_value(value) for name, value in fields.items()}


def _json_value(value: object) -> object:
    match value:
        case Enum():
            return value.name.lower()
        case bytes():
            return value.hex()
        case int() if abs(value) > _EXACT_MAX:
            return str(value)  # an epoch: readers that hold numbers as doubles would change it
        case _:
            return value


def _timestamp(wall_ms: int) -> str | None:
    try:
        return (_UNIX + timedelta(milliseconds=wall_ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None
