"""Do the error bars hold the truth? Random lives of gateways through the cloud's own gathering and repair."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cloud.clocks.models import Hour
from cloud.clocks.repair import CLOUD_ERROR_MS, DRIFT_MS, SYNCED_ERROR_MS, repair
from cloud.ingest.sightings import HOUR_MS, Sightings
from protocol.records import ClockQuality
from tests.proof.clocks.timeline import Life, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cloud.clocks.models import Bounds
    from cloud.ingest.sightings import HourKey, Sighting
    from tests.proof.clocks.timeline import Delivery

_GATEWAY = "ktm-01"
STEPS = 60
"""Of one life."""


def bar_of(written: Written, bounds: Bounds) -> tuple[float, float]:
    """Earliest and latest true time of a record (UTC ms), as its weighing would show it."""
    record = written.record
    if record.clock is ClockQuality.SYNCED and bounds.trusted:
        return record.wall_ms - SYNCED_ERROR_MS, record.wall_ms + SYNCED_ERROR_MS
    best_ms = record.mono_ms + bounds.best_ms
    return best_ms - bounds.error_ms, best_ms + bounds.error_ms


def learn(deliveries: Iterable[Delivery], issued_ms: Mapping[bytes, int]) -> dict[HourKey, Hour]:
    """What stands in the cloud after these deliveries, by hour."""
    seen = Sightings()
    for delivery in deliveries:
        seen.frame(_GATEWAY, delivery.journal, delivery.sample, delivery.received_ms)
        for each in delivery.records:
            source = (_GATEWAY, delivery.journal, each.epoch)
            seen.record(source, each.seq, each.record, delivery.received_ms)
    after: dict[HourKey, int] = {}
    for key, row in seen.hours.items():
        if row.documents:
            after[key] = max(issued_ms[digest] - mono_ms for digest, mono_ms in row.documents.items())
    return {key: _hour(key, row, after.get(key)) for key, row in seen.hours.items()}


def _hour(key: HourKey, row: Sighting, after_ms: int | None) -> Hour:
    synced = row.synced_low_ms, row.synced_high_ms
    return Hour(*key[1:], row.first_ms, row.last_ms, *synced, row.heard_ms, after_ms, row.before_ms)


def errors_of(seed: str, *, liar: bool) -> tuple[int, list[str], list[int]]:
    """One life, looked at after every arrival: bars checked, what was wrong, widths in ms at the end."""
    life = Life(random.Random(seed), liar)
    life.live(STEPS)
    checked = 0
    wrong: list[str] = []
    widths: list[int] = []
    arrivals = len(life.deliveries)
    for upto in {max(1, arrivals // 3), max(1, 2 * arrivals // 3), arrivals}:
        deliveries = life.deliveries[:upto]
        bars = bounds_by_hour(deliveries, life.issued_ms)
        widths = []
        for delivery in deliveries:
            for each in delivery.records:
                key = (delivery.journal, each.epoch, each.record.boot, each.record.mono_ms // HOUR_MS)
                bounds = bars[key]
                checked += 1
                if bounds is None:
                    wrong.append(f"{each.epoch}.{each.seq} after {upto} arrivals: no bounds at all")
                    continue
                low_ms, high_ms = bar_of(each, bounds)
                widths.append(int(high_ms - low_ms))
                if not low_ms <= each.true_ms <= high_ms:
                    miss_ms = max(low_ms - each.true_ms, each.true_ms - high_ms)
                    wrong.append(f"{each.epoch}.{each.seq} after {upto} arrivals: out by {miss_ms:.0f} ms")
                if not liar and high_ms - low_ms > _widest(key, deliveries):
                    wrong.append(f"{each.epoch}.{each.seq} after {upto} arrivals: wider than need be")
    return checked, wrong, widths


def _widest(key: tuple[int, int, int, int], deliveries: list[Delivery]) -> float:
    """How wide a bar may be at most, by how far the nearest synchronised record of its boot is away."""
    journal, epoch, boot, hour = key
    hours = [
        abs(each.record.mono_ms // HOUR_MS - hour)
        for delivery in deliveries
        if delivery.journal == journal
        for each in delivery.records
        if (each.epoch, each.record.boot, each.record.clock) == (epoch, boot, ClockQuality.SYNCED)
    ]
    if not hours:
        return float("inf")
    return 3 * (SYNCED_ERROR_MS + CLOUD_ERROR_MS + DRIFT_MS * (min(hours) + 1))


def bounds_by_hour(
    deliveries: list[Delivery], issued_ms: Mapping[bytes, int]
) -> dict[tuple[int, int, int, int], Bounds | None]:
    """The repair of every journal, by journal, epoch, boot and hour."""
    known = learn(deliveries, issued_ms)
    found: dict[tuple[int, int, int, int], Bounds | None] = {}
    for journal in {key[1] for key in known}:
        keys = [key for key in known if key[1] == journal]
        for key, bounds in zip(keys, repair([known[key] for key in keys]), strict=True):
            found[key[1:]] = bounds
    return found
