"""What a drop point is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class DropPoint:
    """A site. Latitude and longitude are degrees, WGS 84; both or neither are known."""

    id: UUID
    code: str
    name: str
    latitude: float | None
    longitude: float | None
    created_at: datetime
