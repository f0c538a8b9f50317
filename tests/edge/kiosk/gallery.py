"""Every screen the kiosk can show, in its tightest forms: long names, many notices, full lists."""

from __future__ import annotations

from typing import Any

from edge.station.screen import (
    BinLine,
    Button,
    Line,
    Message,
    Name,
    Notice,
    Receipt,
    Screen,
    Tile,
    Weight,
)

B = Button
TILES = (
    Tile("PET", "PET bottles", "पेट बोतल", "pet", 25),
    Tile("CAN", "Aluminium cans", "एल्युमिनियम क्यान", "can", 120),
    Tile("GLS", "Glass", "सिसा", "glass", 5),
    Tile("PAP", "Paper", "कागज", "paper", 12),
    Tile("CRD", "Cardboard", "कार्टुन", "cardboard", 10),
    Tile("PLM", "Mixed plastic", "मिश्रित प्लास्टिक", "plastic", 8),
    Tile("FER", "Scrap metal", "फलाम", "metal", 35),
    Tile("EWS", "E-waste", "विद्युतीय फोहोर", "ewaste", 60),
)
MORE_TILES = (
    *TILES,
    Tile("BAT", "Batteries", "ब्याट्री", "battery", 15),
    Tile("TXT", "Textiles", "कपडा", "textile", 6),
    Tile("CTN", "Drink cartons", "पेय कार्टन", "carton", 7),
    Tile("BAG", "Soft plastic", "नरम प्लास्टिक", "bag", 4),
    Tile("ORG", "Organic", "जैविक फोहोर", "organic", 1),
    Tile("XYZ", "Something new", "केही नयाँ", "unheard-of", 3),
)
NO_RATES = tuple(Tile(t.code, t.name_en, t.name_ne, t.picture, None) for t in TILES)
CODE = "7KQ2-9XWM-4TRB-H"
LINES = (Line(1, "PET", 1235, 30), Line(2, "CAN", 410, 49), Line(3, "PLM", 3020, 24))
QR = "RLR1:0198C0DE-7F3A-8B21-9D4E-5A6B7C8D9E0F:3:4665:103"
RECEIPT = Receipt("0198c0de-7f3a-8b21-9d4e-5a6b7c8d9e0f", QR, 4665, 103, None, 1_795_428_300_000)
GUEST_RECEIPT = Receipt(RECEIPT.id, QR + ":" + CODE, 4665, 103, CODE, RECEIPT.wall_ms)
BINS = (BinLine("KTM-014-PET", 41_250, "weighed"), BinLine("KTM-014-GLASS", 120_000, "estimated"))
SITE: dict[str, Any] = {"gateway": "gw-ktm-014", "drop_point": "Asan Tole, Ward 25"}
BAD_DAY = (
    Notice.SCALE_ABSENT,
    Notice.SCANNER_ABSENT,
    Notice.CATALOG_NONE,
    Notice.CLOCK_UNSURE,
    Notice.NEVER_ONLINE,
)


def weight(net_g: int | None = 1235, *, stable: bool = True, armed: bool = True, **more: Any) -> Weight:
    """A fresh weight of a healthy scale unless `more` says otherwise."""
    tare_g = more.pop("tare_g", 0)
    values: dict[str, Any] = {
        "health": "ok",
        "status": "stable" if stable else "motion",
        "gross_g": None if net_g is None else net_g + tare_g,
        "points": None if net_g is None else net_g * 25 // 1000,
        "age_s": 0.05,
    }
    return Weight(stable=stable, armed=armed, tare_g=tare_g, net_g=net_g, **{**values, **more})


def choose(**more: Any) -> Screen:
    return _screen(
        Name.CHOOSE,
        **{"buttons": (B.MATERIAL, B.CANCEL), "tiles": TILES, "alias": "Asha", "holder": "member", **more},
    )


def weigh(**more: Any) -> Screen:
    values: dict[str, Any] = {
        "buttons": (B.CONFIRM, B.TARE, B.PRESET_TARE, B.MATERIAL, B.CANCEL),
        "tiles": TILES,
        "tile": TILES[0],
        "weight": weight(),
        "alias": "Asha",
        "holder": "member",
        "preset_tares_g": (150, 300),
    }
    return _screen(Name.WEIGH, **{**values, **more})


def saved(**more: Any) -> Screen:
    values: dict[str, Any] = {
        "buttons": (B.MATERIAL, B.CANCEL, B.DONE, B.VOID, B.FINISH),
        "tiles": TILES,
        "tile": TILES[0],
        "lines": LINES[:1],
        "net_g": 1235,
        "points": 30,
        "alias": "Asha",
        "holder": "member",
    }
    return _screen(Name.SAVED, **{**values, **more})


def receipt(value: Receipt = RECEIPT, **more: Any) -> Screen:
    values: dict[str, Any] = {"buttons": (B.DONE,), "lines": LINES, "receipt": value}
    return _screen(Name.RECEIPT, **{**values, **more})


def collect(**more: Any) -> Screen:
    values: dict[str, Any] = {"buttons": (B.HANDOVER, B.CANCEL), "bins": BINS, "net_g": 161_250}
    return _screen(Name.COLLECT, **{"alias": "Bikash", "holder": "collector", **values, **more})


def bin_screen(**more: Any) -> Screen:
    values: dict[str, Any] = {
        "buttons": (B.BIN_WEIGH, B.BIN_ESTIMATE, B.TARE, B.PRESET_TARE, B.CANCEL),
        "bin": "KTM-014-PET",
        "weight": weight(41_250),
        "preset_tares_g": (9500,),
    }
    return _screen(Name.BIN, **{**values, **more})


def idle(**more: Any) -> Screen:
    return _screen(Name.IDLE, **{"buttons": (B.GUEST,), **more})


def _screen(name: Name, **values: Any) -> Screen:
    return Screen(version=1, name=name, **{**SITE, **values})


GUEST: dict[str, Any] = {"alias": None, "holder": "guest", "claim_code": CODE}
OPEN_BUTTONS = (B.MATERIAL, B.TARE, B.PRESET_TARE, B.CANCEL)
MANY_BINS = tuple(BinLine(f"KTM-014-BIN-{n:02d}", 10_000 + n, "weighed") for n in range(8))

SCREENS: dict[str, Screen] = {
    "idle": idle(),
    "idle-bad-day": idle(notices=BAD_DAY, backlog=1250, autonomy_h=640.0),
    "idle-offline": idle(notices=(Notice.OFFLINE,), backlog=37, autonomy_h=640.0),
    "idle-card-forged": idle(message=Message.CARD_FORGED),
    "idle-timed-out": idle(message=Message.TIMED_OUT),
    "choose": choose(catalog_age_s=260_000.0),
    "choose-guest": choose(**GUEST),
    "choose-more": choose(
        tiles=MORE_TILES, lines=LINES[:1], buttons=(B.MATERIAL, B.CANCEL, B.VOID, B.FINISH)
    ),
    "choose-three": choose(tiles=TILES[:3]),
    "choose-worst": choose(
        **GUEST,
        tiles=NO_RATES,
        notices=BAD_DAY,
        message=Message.CARD_NOT_ALLOWED,
        backlog=1250,
        autonomy_h=640.0,
    ),
    "choose-empty": choose(tiles=(), buttons=(B.CANCEL,)),
    "weigh-ready": weigh(weight=weight(0), buttons=OPEN_BUTTONS),
    "weigh-moving": weigh(weight=weight(1180, stable=False), buttons=OPEN_BUTTONS),
    "weigh-stable": weigh(),
    "weigh-guest-tare": weigh(**GUEST, weight=weight(12_340, tare_g=300)),
    "weigh-not-armed": weigh(weight=weight(2500, armed=False), buttons=OPEN_BUTTONS),
    "weigh-not-armed-more": weigh(weight=weight(2500, armed=False), buttons=OPEN_BUTTONS, lines=LINES),
    "weigh-overload": weigh(weight=weight(None, stable=False, status="overload"), buttons=OPEN_BUTTONS),
    "weigh-absent": weigh(
        weight=weight(None, stable=False, health="absent", status=None),
        notices=(Notice.SCALE_ABSENT,),
        buttons=OPEN_BUTTONS,
    ),
    "weigh-fault": weigh(
        weight=weight(None, stable=False, health="fault", status="error"),
        notices=(Notice.SCALE_FAULT,),
        buttons=OPEN_BUTTONS,
    ),
    "weigh-stale": weigh(
        weight=weight(1235, health="stale", age_s=2.5), notices=(Notice.SCALE_STALE,), buttons=OPEN_BUTTONS
    ),
    "weigh-not-stable": weigh(
        weight=weight(1100, stable=False), message=Message.NOT_STABLE, buttons=OPEN_BUTTONS
    ),
    "weigh-points-follow": weigh(
        tile=NO_RATES[0], weight=weight(1235, points=None), notices=(Notice.CATALOG_OLD,)
    ),
    "weigh-heavy-worst": weigh(
        **GUEST,
        weight=weight(123_455, tare_g=12_300),
        notices=BAD_DAY,
        message=Message.NOT_SAVED,
        tile=TILES[5],
        manual=True,
        buttons=(B.MATERIAL, B.CANCEL, B.VOID, B.FINISH, B.CONFIRM, B.TARE, B.PRESET_TARE, B.MANUAL),
        lines=LINES,
    ),
    "saved": saved(),
    "saved-guest": saved(**GUEST, lines=LINES, net_g=4665, points=103),
    "saved-points-follow": saved(lines=(Line(1, "PET", 1235, None),), points=None),
    "saved-voided": saved(message=Message.VOIDED, lines=(), net_g=0, points=0),
    "receipt": receipt(),
    "receipt-guest": receipt(GUEST_RECEIPT, **GUEST),
    "receipt-interrupted": receipt(message=Message.INTERRUPTED, notices=(Notice.CLOCK_UNSURE,)),
    "receipt-interrupted-bad-day": receipt(
        message=Message.INTERRUPTED, notices=(Notice.SCALE_ABSENT, Notice.OFFLINE)
    ),
    "receipt-guest-bad-day": receipt(GUEST_RECEIPT, **GUEST, notices=BAD_DAY),
    "collect-bad-day": collect(bins=MANY_BINS, notices=BAD_DAY),
    "collect": collect(),
    "collect-first": collect(bins=(), net_g=0, buttons=(B.CANCEL,)),
    "collect-many": collect(bins=MANY_BINS, message=Message.BIN_TWICE),
    "bin": bin_screen(),
    "bin-moving": bin_screen(
        weight=weight(40_100, stable=False), buttons=(B.BIN_ESTIMATE, B.TARE, B.PRESET_TARE, B.CANCEL)
    ),
    "handover": _screen(Name.HANDOVER, buttons=(B.CANCEL,), bins=BINS, net_g=161_250),
    "handover-same": _screen(
        Name.HANDOVER, buttons=(B.CANCEL,), bins=BINS, net_g=161_250, message=Message.CARD_SAME
    ),
    "handed-over": _screen(
        Name.HANDED_OVER,
        buttons=(B.DONE,),
        bins=BINS,
        net_g=161_250,
        receipt=Receipt(RECEIPT.id, QR, 161_250, None, None, RECEIPT.wall_ms),
    ),
    "handed-over-bins": _screen(Name.HANDED_OVER, buttons=(B.DONE,), bins=BINS, net_g=161_250),
    "choose-six": choose(tiles=TILES[:6]),
    "unclaimed": _screen(Name.UNCLAIMED, notices=(Notice.NEVER_ONLINE,)),
    "closed": _screen(Name.SUSPENDED, notices=(Notice.CLOSED,), backlog=12),
    "suspended": _screen(Name.SUSPENDED, notices=(Notice.DISK_LOW, Notice.OFFLINE), backlog=48_211),
}
