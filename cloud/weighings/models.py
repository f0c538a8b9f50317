"""What a weighing is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Weighing:
    """A committed weighing. Masses are grams; `points` were credited, `points_shown` stood on the kiosk.

    `recorded_at` is what the gateway's clock said, `happened_at` when it really was, give or take `error_s`
    (None: not later than that is all that is known yet), `time_how` a number of `cloud.clocks.models.How`.
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
    happened_at: datetime
    error_s: int | None
    time_how: int
    received_at: datetime
    clock: int
    late_catalog: bool
    manual: bool
    pending: bool
    voided_by: UUID | None


@dataclass(frozen=True, slots=True)
class DayFigure:
    """What was weighed of a material at a drop point on a day, Nepal's time. Voided weighings are left out.

    `points` are those credited. `unsure` of the weighings, with `unsure_g`, may be of a neighbouring day.
    """

    day: date
    drop_point: str | None
    material: str
    weighings: int
    net_g: int
    points: int
    unsure: int
    unsure_g: int
