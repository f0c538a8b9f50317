"""What alarms, refusals and gaps are, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator must look at, until it is resolved."""

    id: UUID
    gateway: str | None
    code: str
    detail: dict[str, Any]
    raised_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Deliveries nobody known signed, one row for each gateway, road, code and hour."""

    id: UUID
    gateway: str
    road: str
    code: str
    detail: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that a gateway no longer held when the cloud asked for them."""

    gateway: str
    epoch: int
    first: int
    last: int
    noticed_at: datetime
