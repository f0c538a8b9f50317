"""Alarms, refusals and gaps at the HTTP boundary."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from cloud.kit.web.shapes import Shown, Time


class AlarmShown(Shown):
    """Something to look at."""

    id: UUID
    gateway: str | None
    code: str
    detail: dict[str, Any]
    raised_at: Time
    resolved_at: Time | None


class RefusalShown(Shown):
    """Deliveries that were refused, added up by hour."""

    id: UUID
    gateway: str
    road: str
    code: str
    detail: str
    count: int
    first_at: Time
    last_at: Time


class GapShown(Shown):
    """Seqs that are lost for good, both ends included."""

    gateway: str
    epoch: int
    first: int
    last: int
    noticed_at: Time
