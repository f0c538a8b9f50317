"""From the station's state to what the kiosk shows. Pure: the same picture always gives the same screen.

Owns which buttons do something now, and which numbers may be shown. Does not own the session's rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from edge.devices.readings import ScaleView, Status
from edge.station import deposit, pickup
from edge.station.arming import Capture, Plate, Rules, preset, tared, weigh
from edge.station.screen import Button, Line, Message, Name, Notice, Receipt, Screen, Tile, Weight
from protocol.bodies import HolderKind
from protocol.points import points_for
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from edge.directory import CatalogView
    from edge.station.ports import Surroundings
    from protocol.documents import ConfigBody, Material

AGE_S_MAX = 999.0
"""An age without an end (no reading ever) is shown as this."""
_CLOSED = "gateway.revoked"
"""Why intake is suspended where the operator closed the gateway."""
_CATALOG_AGE_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody is at the kiosk, or somebody looks at a receipt that is shown again."""

    plate: Plate
    message: Message | None = None
    receipt: Receipt | None = None
    lines: tuple[Line, ...] = ()


Session = Idle | deposit.Deposit | pickup.Pickup


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a screen is made of. `suspended` is why intake stopped, None while it runs.

    `recovered` is false until the journal was read back: nothing of the session is shown before.
    """

    session: Session
    rules: Rules
    view: ScaleView
    catalog: CatalogView | None
    config: ConfigBody | None
    around: Surroundings
    suspended: str | None
    recovered: bool
    quality: ClockQuality
    backlog: int
    gateway: str
    preset_tares_g: tuple[int, ...]


def render(picture: Picture, version: int) -> Screen:
    """The screen for this picture."""
    if not picture.recovered:
        name = Name.SUSPENDED if picture.around.claimed else Name.UNCLAIMED
        return _with(_common(picture, version), name=name)
    match picture.session:
        case deposit.Deposit():
            screen = _deposit(picture, picture.session, _common(picture, version))
        case pickup.Pickup():
            screen = _pickup(picture, picture.session, _common(picture, version))
        case Idle():
            screen = _idle(picture, picture.session, _common(picture, version))
    return screen


def offers(catalog: CatalogView | None) -> tuple[Tile, ...]:
    """The materials to choose from; without rates once the catalogue is older than its limit."""
    if catalog is None:
        return ()
    return tuple(_tile(material, catalog.fresh) for material in catalog.body.materials)


def _tile(material: Material, fresh: bool) -> Tile:
    rate = material.points_per_kg if fresh else None
    return Tile(material.code, material.name_en, material.name_ne, material.picture, rate)


def _common(picture: Picture, version: int) -> Screen:
    config = picture.config
    return Screen(
        version=version,
        name=Name.IDLE,
        notices=_notices(picture),
        catalog_age_s=_catalog_age_s(picture),
        backlog=picture.backlog,
        gateway=picture.gateway,
        drop_point=(config.drop_point_name or config.drop_point) if config else "",
        autonomy_h=picture.around.autonomy_h,
        preset_tares_g=picture.preset_tares_g,
    )


def _notices(picture: Picture) -> tuple[Notice, ...]:
    around, catalog, health = picture.around, picture.catalog, picture.view.health
    shown = {
        Notice.SCALE_ABSENT: health == "absent",
        Notice.SCALE_STALE: health == "stale",
        Notice.SCALE_FAULT: health == "fault",
        Notice.SCANNER_ABSENT: around.scanner_absent,
        Notice.CATALOG_OLD: catalog is not None and not catalog.fresh,
        Notice.CATALOG_NONE: catalog is None,
        Notice.DISK_LOW: picture.recovered and picture.suspended not in {None, _CLOSED},
        Notice.CLOSED: picture.suspended == _CLOSED,
        Notice.CLOCK_UNSURE: picture.quality in {ClockQuality.UNKNOWN, ClockQuality.RESTORED},
        Notice.OFFLINE: around.offline,
        Notice.NEVER_ONLINE: around.never_online,
    }
    return tuple(notice for notice, holds in shown.items() if holds)


def _catalog_age_s(picture: Picture) -> float | None:
    if picture.catalog is None:
        return None
    age_s = picture.catalog.age_ms / 1000
    return age_s // _CATALOG_AGE_STEP_S * _CATALOG_AGE_STEP_S


def _idle(picture: Picture, idle: Idle, common: Screen) -> Screen:
    if not picture.around.claimed:
        return _with(common, name=Name.UNCLAIMED)
    if idle.receipt is not None:
        tiles = offers(picture.catalog)
        shown = _with(common, name=Name.RECEIPT, buttons=(Button.DONE,), message=idle.message, tiles=tiles)
        return _with(
            shown,
            receipt=idle.receipt,
            lines=idle.lines,
            net_g=idle.receipt.net_g,
            points=idle.receipt.points,
        )
    if picture.suspended is not None:
        return _with(common, name=Name.SUSPENDED, message=idle.message)
    buttons = (Button.GUEST,) if picture.catalog is not None else ()
    return _with(common, buttons=buttons, message=idle.message)


_DEPOSIT_NAMES = {
    deposit.Phase.OPENING: Name.IDLE,
    deposit.Phase.CHOOSE: Name.CHOOSE,
    deposit.Phase.WEIGH: Name.WEIGH,
    deposit.Phase.SAVED: Name.SAVED,
    deposit.Phase.RECEIPT: Name.RECEIPT,
    deposit.Phase.ENDED: Name.IDLE,
}


def _deposit(picture: Picture, state: deposit.Deposit, common: Screen) -> Screen:
    lines = tuple(saved.line for saved in state.saved)
    weighing = state.phase is deposit.Phase.WEIGH
    return _with(
        common,
        name=_DEPOSIT_NAMES[state.phase],
        buttons=() if state.pending else _deposit_buttons(picture, state),
        busy=state.pending is not None,
        message=state.message,
        alias=state.holder.alias,
        holder=state.holder.kind.name.lower(),
        claim_code=state.holder.claim_code,
        tiles=offers(picture.catalog) if state.open or state.phase is deposit.Phase.RECEIPT else (),
        tile=state.offer.tile if state.offer else None,
        weight=_weight(picture, state.plate, state.offer.tile if state.offer else None) if weighing else None,
        lines=lines,
        net_g=state.net_g,
        points=points_of(lines),
        receipt=receipt_of(picture, state) if state.phase is deposit.Phase.RECEIPT else None,
        manual=weighing and _manual(picture, state),
    )


def _deposit_buttons(picture: Picture, state: deposit.Deposit) -> tuple[Button, ...]:
    if state.phase is deposit.Phase.RECEIPT:
        return (Button.DONE,)
    if not state.open:
        return ()
    buttons = [Button.MATERIAL, Button.CANCEL]
    if state.phase is deposit.Phase.SAVED:
        buttons.append(Button.DONE)
    if state.saved:
        buttons += [Button.VOID, Button.FINISH]
    if state.phase is deposit.Phase.WEIGH:
        buttons += _scale_buttons(picture, state.plate, Button.CONFIRM)
        buttons += [Button.MANUAL] if _manual(picture, state) else []
    return tuple(buttons)


def _manual(picture: Picture, state: deposit.Deposit) -> bool:
    return picture.suspended is None and state.steward is not None and picture.view.health != "ok"


def _scale_buttons(picture: Picture, plate: Plate, confirm: Button) -> list[Button]:
    buttons = []
    if picture.suspended is None and isinstance(weigh(plate, picture.view, picture.rules), Capture):
        buttons.append(confirm)
    if isinstance(tared(plate, picture.view, picture.rules), Plate):
        buttons.append(Button.TARE)
    if picture.preset_tares_g and isinstance(preset(plate, 0), Plate):
        buttons.append(Button.PRESET_TARE)
    return buttons


_PICKUP_NAMES = {
    pickup.Phase.OPENING: Name.IDLE,
    pickup.Phase.COLLECT: Name.COLLECT,
    pickup.Phase.BIN: Name.BIN,
    pickup.Phase.HANDOVER: Name.HANDOVER,
    pickup.Phase.HANDED_OVER: Name.HANDED_OVER,
    pickup.Phase.ENDED: Name.IDLE,
}


def _pickup(picture: Picture, state: pickup.Pickup, common: Screen) -> Screen:
    return _with(
        common,
        name=_PICKUP_NAMES[state.phase],
        buttons=() if state.pending else _pickup_buttons(picture, state),
        busy=state.pending is not None,
        message=state.message,
        alias=state.collector.alias,
        holder=HolderKind.CARD.name.lower(),
        weight=_weight(picture, state.plate, None) if state.phase is pickup.Phase.BIN else None,
        bin=state.bin,
        bins=state.bins,
        net_g=state.net_g,
    )


def _pickup_buttons(picture: Picture, state: pickup.Pickup) -> tuple[Button, ...]:
    match state.phase:
        case pickup.Phase.COLLECT:
            return (Button.HANDOVER, Button.CANCEL) if state.emptied else (Button.CANCEL,)
        case pickup.Phase.BIN:
            at_scale = _scale_buttons(picture, state.plate, Button.BIN_WEIGH)
            estimate = (Button.BIN_ESTIMATE,) if picture.suspended is None else ()
            return (*at_scale, *estimate, Button.CANCEL)
        case pickup.Phase.HANDOVER:
            return (Button.CANCEL,)
        case pickup.Phase.HANDED_OVER:
            return (Button.DONE,)
        case pickup.Phase.OPENING | pickup.Phase.ENDED:
            return ()


def _weight(picture: Picture, plate: Plate, tile: Tile | None) -> Weight:
    view, reading = picture.view, picture.view.reading
    weighed = view.health == "ok" and reading is not None and reading.status in {Status.STABLE, Status.MOTION}
    gross_g = reading.gross_g if reading is not None and weighed else None
    net_g = None if gross_g is None else gross_g - plate.tare.mass_g
    rate = tile.points_per_kg if tile else None
    shown = net_g is not None and rate is not None and plate.armed
    return Weight(
        health=view.health,
        status=reading.status.value if reading else None,
        stable=view.stable_g is not None,
        armed=plate.armed,
        gross_g=gross_g,
        tare_g=plate.tare.mass_g,
        net_g=net_g,
        points=points_for(max(0, net_g or 0), rate or 0) if shown else None,
        age_s=min(round(view.age_s, 1), AGE_S_MAX),
    )


def points_of(lines: tuple[Line, ...]) -> int | None:
    """The sum of the points of these lines; None ("points follow") if one of them has none yet."""
    points = [line.points for line in lines if line.points is not None]
    return sum(points) if len(points) == len(lines) else None


def receipt_of(picture: Picture, state: deposit.Deposit) -> Receipt:
    """The receipt of a closed visit."""
    lines = tuple(saved.line for saved in state.saved)
    code = state.holder.claim_code
    url = picture.config.receipt_url if picture.config else ""
    qr = receipt_text(url, state.id, code)
    return Receipt(state.id, qr, state.net_g, points_of(lines), code, state.wall_ms)


def receipt_text(url: str, deposit_id: str, claim_code: str | None) -> str:
    """The text of a receipt's QR. The claim code stands behind `#`, so that no web server logs it."""
    if not url:
        return f"RLR1:{deposit_id}" + (f"#{claim_code}" if claim_code else "")
    separator = "&" if "?" in url else "?"
    return f"{url}{separator}deposit={deposit_id}" + (f"#claim={claim_code}" if claim_code else "")


def _with(screen: Screen, **changes: object) -> Screen:
    return msgspec.structs.replace(screen, **changes)
