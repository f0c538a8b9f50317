"""Keeps what a batch showed of gateways' clocks, in the batch's own transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud.kit.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

    from cloud.ingest.sightings import HourKey, Sightings

_QUERIES = load_queries(Path(__file__).with_name("clocks.sql"))


async def note_sightings(connection: psycopg.AsyncConnection, sightings: Sightings) -> None:
    """Add to what is known of each hour. Rows are locked in the order of their keys."""
    if sightings.hours:
        await connection.execute(_QUERIES["note_hours"], _hours(sightings))
    held = [
        (key, digest, mono_ms)
        for key, row in sightings.hours.items()
        for digest, mono_ms in row.documents.items()
    ]
    if held:
        await connection.execute(_QUERIES["note_documents"], _documents(held))
    if sightings.again:
        gateways, epochs, seqs = (list(column) for column in zip(*sightings.again, strict=True))
        values = {"gateways": gateways, "epochs": epochs, "seqs": seqs}
        await connection.execute(_QUERIES["see_again"], values)


def _hours(sightings: Sightings) -> dict[str, list[Any]]:
    rows = sightings.hours.values()
    return _keys(sightings.hours) | {
        "first_seqs": [row.first_seq for row in rows],
        "last_seqs": [row.last_seq for row in rows],
        "firsts": [row.first_ms for row in rows],
        "lasts": [row.last_ms for row in rows],
        "shown_at": [row.shown_at_ms for row in rows],
        "shown": [row.shown_ms for row in rows],
        "synced_lows": [row.synced_low_ms for row in rows],
        "synced_highs": [row.synced_high_ms for row in rows],
        "heard": [row.heard_ms for row in rows],
        "unsure": [row.unsure for row in rows],
        "befores": [row.before_ms for row in rows],
    }


def _documents(held: Sequence[tuple[HourKey, bytes, int]]) -> dict[str, list[Any]]:
    return _keys(key for key, _, _ in held) | {
        "digests": [digest for _, digest, _ in held],
        "at": [mono_ms for _, _, mono_ms in held],
    }


def _keys(keys: Iterable[HourKey]) -> dict[str, list[Any]]:
    names = ("gateways", "journals", "epochs", "boots", "hours")
    return {name: list(column) for name, column in zip(names, zip(*keys, strict=True), strict=True)}
