"""Bins, pickups and holdings at the HTTP boundary. Masses are grams."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from cloud.kit.web.shapes import Given, Hex, Shown, Time


class BinGiven(Given):
    """A bin to be registered, by the code printed on it."""

    code: str = Field(min_length=3, max_length=40, examples=["PATAN-PET-01"])
    drop_point: str = Field(max_length=64, examples=["ktm-patan"])
    material: str = Field(max_length=64, examples=["pet"])


class BinShown(Shown):
    """A bin. Its QR holds `RLB1:` and the code."""

    code: str
    drop_point: str | None
    material: str | None


class PickupShown(Shown):
    """A collector's visit."""

    id: UUID
    gateway: str
    epoch: int
    seq: int
    drop_point: str | None
    collector: Hex = Field(description="serial of the collector's card")
    opened_at: Time
    closed_at: Time | None
    received_at: Time
    outcome: str | None
    bins: int | None
    net_g: int | None


class PickupBinShown(Shown):
    """One bin of a pickup."""

    id: UUID
    bin: str
    material: str
    gross_g: int | None
    tare_g: int | None
    net_g: int
    estimated: bool
    emptied: bool
    at: Time


class MovementShown(Shown):
    """Kilos that changed hands."""

    id: UUID
    kind: str
    giver: str
    taker: str
    net_g: int
    estimated: bool
    lines: dict[str, int]
    at: Time


class PickupDetail(PickupShown):
    """A pickup with its bins and what changed hands."""

    contents: list[PickupBinShown]
    movements: list[MovementShown]


class HoldingShown(Shown):
    """How many grams of a material a party holds.

    Parties are `drop-point:<id>`, `gateway:<id>` or `card:<pseudonym>`.
    """

    party: str
    material: str
    net_g: int
