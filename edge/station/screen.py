"""What the kiosk shows: one frozen value, made by the station, rendered by the page, pressed by people.

Owns the vocabulary both sides share. Does not own how it looks, nor how it comes about.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Name(StrEnum):
    """The screens there are."""

    UNCLAIMED = "unclaimed"
    SUSPENDED = "suspended"
    IDLE = "idle"
    CHOOSE = "choose"
    WEIGH = "weigh"
    SAVED = "saved"
    RECEIPT = "receipt"
    COLLECT = "collect"
    BIN = "bin"
    HANDOVER = "handover"
    HANDED_OVER = "handed_over"


class Notice(StrEnum):
    """Plain states of the site that are shown on every screen while they last."""

    SCALE_ABSENT = "scale_absent"
    SCALE_STALE = "scale_stale"
    SCALE_FAULT = "scale_fault"
    SCANNER_ABSENT = "scanner_absent"
    CATALOG_OLD = "catalog_old"
    CATALOG_NONE = "catalog_none"
    DISK_LOW = "disk_low"
    CLOSED = "closed"
    CLOCK_UNSURE = "clock_unsure"
    OFFLINE = "offline"
    NEVER_ONLINE = "never_online"


class Message(StrEnum):
    """A transient word to the person, cleared by their next step."""

    CARD_FORGED = "card_forged"
    CARD_EXPIRED = "card_expired"
    CARD_REVOKED = "card_revoked"
    CARD_UNREADABLE = "card_unreadable"
    CARD_SAME = "card_same"
    CARD_NOT_ALLOWED = "card_not_allowed"
    BIN_UNREADABLE = "bin_unreadable"
    BIN_TWICE = "bin_twice"
    NOT_STABLE = "not_stable"
    NOT_ARMED = "not_armed"
    OVERLOAD = "overload"
    TOO_LIGHT = "too_light"
    NOT_SAVED = "not_saved"
    VOIDED = "voided"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    SCALE_NOT_READY = "scale_not_ready"
    INTERRUPTED = "interrupted"
    VISIT_FULL = "visit_full"
    BIN_FIRST = "bin_first"
    MANUAL_NOT_ALLOWED = "manual_not_allowed"


class Button(StrEnum):
    """What can be pressed. `value` carries the material's code, grams, or nothing."""

    GUEST = "guest"
    MATERIAL = "material"
    TARE = "tare"
    PRESET_TARE = "preset_tare"
    CONFIRM = "confirm"
    VOID = "void"
    FINISH = "finish"
    CANCEL = "cancel"
    BIN_WEIGH = "bin_weigh"
    BIN_ESTIMATE = "bin_estimate"
    HANDOVER = "handover"
    DONE = "done"
    MANUAL = "manual"


class Tile(msgspec.Struct, frozen=True):
    """A material to choose; `points_per_kg` is None while no fresh catalogue is at hand."""

    code: str
    name_en: str
    name_ne: str
    picture: str
    points_per_kg: int | None


class Weight(msgspec.Struct, frozen=True):
    """The live weight. `health` is ok | stale | absent | fault; grams are None unless they are known.

    `armed` is false until a stable zero, or the weighed tare of what was saved already, was seen.
    `status` is the scale's typed status (stable, motion, overload, underload, error).
    """

    health: str
    status: str | None
    stable: bool
    armed: bool
    gross_g: int | None
    tare_g: int
    net_g: int | None
    points: int | None
    age_s: float


class Line(msgspec.Struct, frozen=True):
    """A weighing saved in this visit; `points` None means "points follow"."""

    seq: int
    material: str
    net_g: int
    points: int | None


class BinLine(msgspec.Struct, frozen=True):
    """A bin of this pickup; `how` is weighed | estimated, or None while it is open."""

    bin: str
    net_g: int | None
    how: str | None


class Receipt(msgspec.Struct, frozen=True):
    """The saved visit. `qr` is the text of its QR; `claim_code` is for guests, shown once, never stored."""

    id: str
    qr: str
    net_g: int
    points: int | None
    claim_code: str | None
    wall_ms: int


class Screen(msgspec.Struct, frozen=True):
    """Everything the kiosk shows. `version` grows with every change; `buttons` are those that do something.

    `claim_code` stands on every screen of a guest's visit, before anything is saved, so that nothing saved
    depends on a code that a power cut took away. `busy` is true while a commit runs: presses wait.
    `manual` is true while a steward's card allows a mass to be entered by hand.
    """

    version: int
    name: Name
    buttons: tuple[Button, ...] = ()
    notices: tuple[Notice, ...] = ()
    message: Message | None = None
    alias: str | None = None
    holder: str | None = None
    tiles: tuple[Tile, ...] = ()
    tile: Tile | None = None
    weight: Weight | None = None
    lines: tuple[Line, ...] = ()
    net_g: int = 0
    points: int | None = 0
    receipt: Receipt | None = None
    bin: str | None = None
    bins: tuple[BinLine, ...] = ()
    catalog_age_s: float | None = None
    backlog: int = 0
    gateway: str = ""
    drop_point: str = ""
    autonomy_h: float | None = None
    claim_code: str | None = None
    preset_tares_g: tuple[int, ...] = ()
    busy: bool = False
    manual: bool = False
