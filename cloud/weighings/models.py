"""What a weighing is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Weighing:
    """A committed weighing. Masses are grams; `points` were credited, `points_shown` stood on the kiosk.

    `holder` is a claim hash, a card serial or a raw tag, by `holder_kind`; `kind` is that of its record.
    """

    id: UUID
    gateway: str
    epoch: int
    seq: int
    kind: str
    deposit_seq: int
    drop_point: str | None
    material: str
    gross_g: int
    tare_g: int
    net_g: int
    points_per_kg: int
    points: int
    points_shown: int | None
    holder_kind: int
    holder: bytes
    recorded_at: datetime
    received_at: datetime
    clock: int
    late_catalog: bool
    manual: bool
    pending: bool
    voided_by: UUID | None
