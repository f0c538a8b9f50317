"""What a record in quarantine is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record with why it is held, its bytes as signed, and what was decided."""

    id: UUID
    gateway: str
    epoch: int
    seq: int
    code: str
    message: str
    data: bytes
    state: str
    held_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
