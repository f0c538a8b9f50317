"""Weighings at the HTTP boundary, and the line that exports hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import Field

from cloud.kit.web.shapes import Hex, Shown, Time
from protocol.bodies import HolderKind
from protocol.cards import PSEUDONYM_LENGTH
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from cloud.weighings.models import Weighing


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
    received_at: Time
    clock: Literal["unknown", "restored", "rtc", "synced"]
    late_catalog: bool
    manual: bool
    pending: bool = Field(description="out of a forked journal: credited when released")
    voided_by: UUID | None = Field(description="record that took it back")


def shown(weighing: Weighing) -> WeighingShown:
    """A weighing as it is shown."""
    fields: dict[str, Any] = {name: getattr(weighing, name) for name in weighing.__slots__}
    fields["holder_kind"] = HolderKind(weighing.holder_kind).name.lower()
    fields["clock"] = ClockQuality(weighing.clock).name.lower()
    card = weighing.holder_kind == HolderKind.CARD
    return WeighingShown(**fields, citizen=weighing.holder[:PSEUDONYM_LENGTH].hex() if card else None)


def export_line(weighing: Weighing) -> str:
    """One JSON line of an export."""
    return shown(weighing).model_dump_json()
