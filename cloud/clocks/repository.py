"""What is known of clocks, and the times of weighings, in the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cloud.clocks.models import Hour
from cloud.clocks.repair import DRIFT_MS, SYNCED_ERROR_MS
from cloud.kit.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.clocks.models import Bounds

_QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
HOURS_MAX = 20_000
"""Looked at together: two years of a gateway that is never switched off. Older ones stay as they are."""
_HOURS_BEFORE = 48
_SETTLED_MS = 2 * (SYNCED_ERROR_MS + 2 * DRIFT_MS)
"""Bounds this close were set by a synchronised clock; nothing makes them much better."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An hour as it is stored: what is known, its `version`, and what came out the last time."""

    hour: Hour
    version: int
    due: bool
    first_seq: int | None
    last_seq: int | None
    low_ms: int | None
    high_ms: int | None
    trusted: bool | None
    shown_at_ms: int | None
    shown_ms: int | None
    unsure: bool

    @property
    def records(self) -> int:
        """How many records are in it, at most."""
        return 0 if self.first_seq is None or self.last_seq is None else self.last_seq - self.first_seq + 1


async def due(connection: AsyncConnection, limit: int) -> list[tuple[str, int]]:
    """Gateways and journals of which something new is known."""
    return [(row[0], row[1]) for row in await _fetch(connection, "due", {"limit": limit})]


async def put_off(connection: AsyncConnection, gateway: str, journal: int) -> None:
    """Let all others go first."""
    await _fetch(connection, "put_off", {"gateway": gateway, "journal": journal})


async def hours(connection: AsyncConnection, gateway: str, journal: int) -> list[Stored]:
    """The hours of a journal from the first that might be known better."""
    values = {
        "gateway": gateway,
        "journal": journal,
        "settled_ms": _SETTLED_MS,
        "limit": HOURS_MAX,
        "before": _HOURS_BEFORE,
    }
    return [Stored(Hour(*row[:11]), *row[11:]) for row in await _fetch(connection, "hours", values)]


async def rewrite(
    connection: AsyncConnection,
    gateway: str,
    journal: int,
    chosen: Sequence[tuple[Stored, Bounds | None]],
) -> int:
    """Write the times of the weighings in these hours; how many changed."""
    known = [(one, bounds) for one, bounds in chosen if bounds is not None and _written(one, bounds)]
    changed = 0
    if known:
        raw = await _raw(connection)
        values = _columns(known) | {"gateway": gateway, "synced_s": SYNCED_ERROR_MS // 1000}
        changed = (await raw.execute(_QUERIES["repair_weighings"], values)).rowcount
    if chosen:
        values = _columns(chosen) | {"gateway": gateway, "journal": journal}
        await _fetch(connection, "keep_bounds", values)
    return changed


def _written(one: Stored, bounds: Bounds) -> bool:
    """Whether weighings of this hour may have another time than the one they came in with."""
    return one.records > 0 and (one.unsure or not bounds.trusted or one.trusted is False)


async def raise_skew(connection: AsyncConnection, alarm: UUID, gateway: str, detail: str) -> None:
    """Raise the alarm unless it stands."""
    await _fetch(connection, "raise_skew", {"id": alarm, "gateway": gateway, "detail": detail})


async def resolve_skew(connection: AsyncConnection, gateway: str) -> None:
    """Close the alarm if it stands."""
    await _fetch(connection, "resolve_skew", {"gateway": gateway})


async def prune(connection: AsyncConnection) -> None:
    """Forget a portion of what was not heard of for long."""
    await _fetch(connection, "prune", {})


def _columns(chosen: Sequence[tuple[Stored, Bounds | None]]) -> dict[str, list[Any]]:
    return {
        "epochs": [one.hour.epoch for one, _ in chosen],
        "carriers": [one.hour.journal if one.hour.carried else None for one, _ in chosen],
        "boots": [one.hour.boot for one, _ in chosen],
        "hours": [one.hour.number for one, _ in chosen],
        "versions": [one.version for one, _ in chosen],
        "first_seqs": [one.first_seq for one, _ in chosen],
        "last_seqs": [one.last_seq for one, _ in chosen],
        "lows": [bounds.low_ms if bounds else None for _, bounds in chosen],
        "highs": [bounds.high_ms if bounds else None for _, bounds in chosen],
        "bests": [bounds.best_ms if bounds else None for _, bounds in chosen],
        "errors": [bounds.error_ms if bounds else None for _, bounds in chosen],
        "hows": [bounds.how if bounds else None for _, bounds in chosen],
        "trusted": [bounds.trusted if bounds else None for _, bounds in chosen],
    }


async def _fetch(connection: AsyncConnection, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    result = await (await _raw(connection)).execute(_QUERIES[name], values)
    return await result.fetchall() if result.description else []


async def _raw(connection: AsyncConnection) -> psycopg.AsyncConnection:
    """The psycopg connection beneath, inside the same transaction."""
    raw = (await connection.get_raw_connection()).driver_connection
    return cast("psycopg.AsyncConnection", raw)
