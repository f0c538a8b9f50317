"""Materials at the HTTP boundary."""

from __future__ import annotations

from pydantic import Field

from cloud.kit.web.shapes import Given, Shown, Time

POINTS_PER_KG_MAX = 1_000_000
_PointsPerKg = Field(ge=0, le=POINTS_PER_KG_MAX, description="whole points per kilogram", examples=[30])


class MaterialGiven(Given):
    """A material to be, with its first rate."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$", examples=["pet"])
    name_en: str = Field(min_length=1, max_length=40, examples=["PET bottles"])
    name_ne: str = Field(min_length=1, max_length=40, examples=["पेट बोतल"])
    picture: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", examples=["pet"])
    points_per_kg: int = _PointsPerKg


class MaterialChanged(Given):
    """What to change of a material; what is absent stays."""

    name_en: str | None = Field(default=None, min_length=1, max_length=40)
    name_ne: str | None = Field(default=None, min_length=1, max_length=40)
    picture: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9-]{0,31}$")
    active: bool | None = Field(default=None, description="false takes it off every kiosk")


class RateGiven(Given):
    """The rate from now on. Weighings keep the rate that was shown to them."""

    points_per_kg: int = _PointsPerKg


class MaterialShown(Shown):
    """A material with its current rate."""

    code: str
    name_en: str
    name_ne: str
    picture: str
    active: bool
    points_per_kg: int
    rate_version: int


class RateShown(Shown):
    """A rate and since when it is valid."""

    material: str
    version: int
    points_per_kg: int
    valid_from: Time
