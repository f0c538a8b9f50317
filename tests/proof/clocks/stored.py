"""The same random lives through the real database: what is merged and kept there holds the truth."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import text

from cloud.clocks.models import Bounds, How
from cloud.ingest.clocks import note_sightings
from cloud.ingest.sightings import HOUR_MS, Sightings
from tests.proof.clocks.bars import STEPS, bar_of
from tests.proof.clocks.timeline import Life

if TYPE_CHECKING:
    import psycopg

    from tests.proof.clocks.cloud import Cloud
    from tests.proof.clocks.timeline import Delivery

_LOOK_EVERY = 4
Place = tuple[int, int, int, int]
"""journal, epoch, boot, hour."""


async def errors_in(cloud: Cloud, number: int, seed: str, *, liar: bool) -> tuple[int, list[str]]:
    """One life, looked at after every few arrivals; how many bars were checked, and what was wrong."""
    life, gateway = Life(random.Random(seed), liar, number), f"life-{number}"
    life.live(STEPS)
    await _publish(cloud, life)
    checked = 0
    wrong: list[str] = []
    for count, delivery in enumerate(life.deliveries, start=1):
        await _take(cloud, gateway, delivery)
        if count % _LOOK_EVERY and count != len(life.deliveries):
            continue
        found = await _bounds(cloud, gateway)
        for arrived in life.deliveries[:count]:
            checked += len(arrived.records)
            wrong += [f"after {count} arrivals: {what}" for what in _wrong(arrived, found)]
    return checked, wrong


def _wrong(arrived: Delivery, found: dict[Place, Bounds | None]) -> list[str]:
    wrong = []
    for each in arrived.records:
        record = each.record
        bounds = found[arrived.journal, each.epoch, record.boot, record.mono_ms // HOUR_MS]
        low_ms, high_ms = bar_of(each, bounds) if bounds else (1.0, 0.0)
        if not low_ms <= each.true_ms <= high_ms:
            wrong.append(f"{each.epoch}.{each.seq} is not between {low_ms:.0f} and {high_ms:.0f}")
    return wrong


async def _publish(cloud: Cloud, life: Life) -> None:
    async with cloud.engine.begin() as connection:
        for version, (digest, issued_ms) in enumerate(life.issued_ms.items()):
            values = {
                "name": f"life-{life.number}",
                "version": version,
                "digest": digest,
                "at": datetime.fromtimestamp(issued_ms / 1000, UTC),
            }
            await connection.execute(
                text("INSERT INTO documents VALUES (:name, 1, :version, :digest, '', :at)"), values
            )


async def _take(cloud: Cloud, gateway: str, delivery: Delivery) -> None:
    """A frame arrives: what it shows is noted as ingest does it, then worked out as the worker does it."""
    seen = Sightings()
    seen.frame(gateway, delivery.journal, delivery.sample, delivery.received_ms)
    for each in delivery.records:
        source = (gateway, delivery.journal, each.epoch)
        seen.record(source, each.seq, each.record, delivery.received_ms)
    async with cloud.engine.begin() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        await note_sightings(cast("psycopg.AsyncConnection", raw), seen)
    await cloud.times.once()


async def _bounds(cloud: Cloud, gateway: str) -> dict[Place, Bounds | None]:
    """What stands in the database; None where nothing came out."""
    async with cloud.engine.begin() as connection:
        rows = await connection.execute(
            text(
                "SELECT journal, epoch, boot, hour, low_ms, high_ms, trusted FROM clock_hours"
                " WHERE gateway_id = :gateway"
            ),
            {"gateway": gateway},
        )
        return {
            (row[0], row[1], row[2], row[3]): None
            if row[4] is None
            else Bounds(row[4], row[5], (row[4] + row[5]) // 2, How.BOUNDED, row[6])
            for row in rows
        }
