"""The quarantine at the HTTP boundary."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from cloud.kit.web.shapes import Given, Hex, Shown, Time


class RejectionGiven(Given):
    """Why a record will never be applied."""

    reason: str = Field(min_length=3, max_length=500, examples=["test weighing of 3 March, agreed with site"])


class HeldRecordShown(Shown):
    """A record that could not be applied, and what was decided."""

    id: UUID
    gateway: str
    epoch: int
    seq: int
    code: str
    message: str
    data: Hex = Field(description="the record's bytes as signed")
    state: Literal["held", "retried", "rejected"]
    held_at: Time
    decided_at: Time | None
    decided_by: str | None
    reason: str | None
