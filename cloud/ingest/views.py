"""What ingest knows before it decides: cursors, gateways, catalogues, rates; and what it was handed.

Values only. Who reads them from Postgres is `store`, who opens frames is `opening`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from protocol.delivery import Cursor
    from protocol.errors import RecordError
    from protocol.frames import Frame
    from protocol.records import Record

EpochKey = tuple[str, int]
"""A gateway's id and an epoch."""


class Road(StrEnum):
    """How something travelled here."""

    MQTT = "mqtt"
    HTTPS = "https"
    COURIER = "courier"


@dataclass(frozen=True, slots=True)
class Needs:
    """What deciding on some records needs to know beforehand.

    `carried_epochs` are those that records were carried from, `catalogs` the digests that weighings name,
    `unpriced` whether a weighing said "points follow".
    """

    carried_epochs: frozenset[int]
    catalogs: frozenset[bytes]
    unpriced: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified frame with its records as far as they could be read."""

    frame: Frame
    records: Sequence[Record | RecordError]
    needs: Needs

    @property
    def key(self) -> EpochKey:
        """Whose cursor it moves."""
        return self.frame.gateway, self.frame.epoch


@dataclass(frozen=True, slots=True)
class GatewayView:
    """What ingest needs to know of a gateway."""

    id: str
    drop_point_id: UUID | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class CatalogView:
    """A signed catalogue: points per kilo by material, and when a newer one was issued (UTC ms)."""

    rates: Mapping[str, int]
    superseded_ms: int | None


@dataclass(frozen=True, slots=True)
class RateHistory:
    """A material's rates by the time from which each is valid, oldest first; points per kilo."""

    valid_from_ms: Sequence[int]
    points_per_kg: Sequence[int]

    def at(self, wall_ms: int) -> int | None:
        """The rate valid at this time; before the first one, the first."""
        if not self.points_per_kg:
            return None
        return self.points_per_kg[max(0, bisect_right(self.valid_from_ms, wall_ms) - 1)]


class Gap(NamedTuple):
    """Records that a gateway said it no longer holds, `first` and `last` included.

    `before` is the digest at `first - 1`, `after` the one at `last + 1`; None where that is not stored.
    """

    first: int
    last: int
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class View:
    """All that `decide` looks at besides the frames.

    `cursors` holds every epoch asked for that exists; `known` committed digests by (gateway, epoch, seq);
    `stored` the ids (16 bytes) of records that are here already under another epoch: they did their effects,
    or stand in quarantine, and nothing is done for them again. `gaps` holds, in order, those of every
    epoch that a frame does not simply continue, that records were carried from, or named as older.
    """

    received_ms: int
    cursors: Mapping[EpochKey, Cursor]
    gateways: Mapping[str, GatewayView]
    catalogs: Mapping[bytes, CatalogView]
    rates: Mapping[str, RateHistory]
    known: Mapping[tuple[str, int, int], bytes] = field(default_factory=dict)
    stored: frozenset[bytes] = frozenset()
    gaps: Mapping[EpochKey, tuple[Gap, ...]] = field(default_factory=dict)
