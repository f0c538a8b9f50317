"""Weighings at the HTTP boundary, and the line that exports hold."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import Field

from cloud.kit.web.shapes import Hex, Shown, Time
from protocol.bodies import HolderKind
from protocol.cards import PSEUDONYM_LENGTH
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from cloud.weighings.models import Weighing

_SOURCES = ("received", "synced", "anchored", "bounded")  # by the number they are stored as


class WeighingShown(Shown):
    """A committed weighing. Masses are grams."""

    id: UUID
    gateway: str
    epoch: int
    seq: int
    kind: Literal["weighing.recorded", "manual.entered"]
    deposit_seq: int
    drop_point: str | None
    material: str
    gross_g: int
    tare_g: int
    net_g: int
    points_per_kg: int = Field(description="the rate at the time of weighing, frozen")
    points: int = Field(description="credited")
    points_shown: int | None = Field(description="what the kiosk showed; null: points follow")
    holder_kind: Literal["guest", "card", "tag"]
    holder: Hex = Field(description="claim hash, card serial or raw tag")
    citizen: str | None = Field(description="pseudonym of a card's holder, 16 hex digits")
    recorded_at: Time = Field(description="as the gateway's clock said; see `clock`")
    happened_at: Time = Field(description="when it really was, as far as is known now; see `error_s`")
    error_s: int | None = Field(
        description="happened_at is off by this at most; null: it is not later, more is not known yet"
    )
    time_source: Literal["received", "synced", "anchored", "bounded"] = Field(
        description="where happened_at comes from: the arrival alone; the gateway's synchronised clock;"
        " counted from when that boot's clock was synchronised; the middle between what came before and after"
    )
    received_at: Time
    clock: Literal["unknown", "restored", "rtc", "synced"]
    late_catalog: bool
    manual: bool
    pending: bool = Field(description="out of a forked journal: credited when released")
    voided_by: UUID | None = Field(description="record that took it back")


class DayFigureShown(Shown):
    """What was weighed of a material at a drop point on a day, Nepal's time."""

    day: date
    drop_point: str | None = Field(description="null: of gateways at no drop point")
    material: str
    weighings: int
    net_g: int
    points: int = Field(description="credited")
    unsure: int = Field(
        description="how many of the weighings may be of another day: their time is not known better"
    )
    unsure_g: int = Field(description="their grams")


def shown(weighing: Weighing) -> WeighingShown:
    """A weighing as it is shown."""
    fields: dict[str, Any] = {name: getattr(weighing, name) for name in weighing.__slots__}
    fields["time_source"] = _SOURCES[fields.pop("time_how")]
    fields["holder_kind"] = HolderKind(weighing.holder_kind).name.lower()
    fields["clock"] = ClockQuality(weighing.clock).name.lower()
    card = weighing.holder_kind == HolderKind.CARD
    return WeighingShown(**fields, citizen=weighing.holder[:PSEUDONYM_LENGTH].hex() if card else None)


def export_line(weighing: Weighing) -> str:
    """One JSON line of an export."""
    return shown(weighing).model_dump_json()
