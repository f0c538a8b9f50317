"""What a material and its rate are, inside; and what an empty database begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Material:
    """A material with its current rate, whole points per kilogram."""

    code: str
    name_en: str
    name_ne: str
    picture: str
    active: bool
    points_per_kg: int
    rate_version: int


@dataclass(frozen=True, slots=True)
class Rate:
    """What a kilo earned from `valid_from` on."""

    material: str
    version: int
    points_per_kg: int
    valid_from: datetime


SEED: tuple[Material, ...] = (
    Material("pet", "PET bottles", "पेट बोतल", "pet", True, 30, 1),
    Material("can", "Drink cans", "क्यान", "can", True, 90, 1),
    Material("glass", "Glass", "सिसा", "glass", True, 5, 1),
    Material("paper", "Paper", "कागज", "paper", True, 15, 1),
    Material("cardboard", "Cardboard", "गत्ता", "cardboard", True, 12, 1),
    Material("plastic", "Other plastic", "अन्य प्लास्टिक", "plastic", True, 20, 1),
    Material("metal", "Metal", "धातु", "metal", True, 45, 1),
    Material("ewaste", "Electronic waste", "विद्युतीय फोहोर", "ewaste", True, 60, 1),
)
"""Rows a newcomer's database begins with; an operator edits them like any others."""
