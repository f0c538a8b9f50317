"""Drop points at the HTTP boundary."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from cloud.kit.web.shapes import Given, Shown, Time

CODE = r"^[a-z0-9][a-z0-9-]{1,46}[a-z0-9]$"


class DropPointGiven(Given):
    """A drop point to be."""

    code: str = Field(pattern=CODE, examples=["ktm-patan"], description="what people and gateways call it")
    name: str = Field(min_length=1, max_length=80, examples=["Patan Durbar Square"])
    latitude: float | None = Field(default=None, ge=-90, le=90, examples=[27.6727])
    longitude: float | None = Field(default=None, ge=-180, le=180, examples=[85.3253])

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("give latitude and longitude, or neither")
        return self


class DropPointRenamed(Given):
    """A drop point's new name."""

    name: str = Field(min_length=1, max_length=80, examples=["Patan Durbar Square, north gate"])


class DropPointShown(Shown):
    """A drop point."""

    id: UUID
    code: str
    name: str
    latitude: float | None
    longitude: float | None
    created_at: Time
