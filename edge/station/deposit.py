"""The deposit: one person's visit, as a pure state machine. Events in, state and appends out.

Owns the order identify -> choose -> weigh -> confirm -> committed -> receipt. Does not own the plate's rules
(`arming`), the journal, the screen or time.

    phase     event                          asks to append            committed           not committed
    OPENING   (begin)                        deposit.opened            CHOOSE              ENDED not_saved
    CHOOSE    choose a material              -                         WEIGH               -
    WEIGH     choose another / none          -                         WEIGH / CHOOSE      -
    WEIGH     TARE, accepted by the plate    scale.tared               WEIGH               WEIGH, tare undone
    WEIGH     preset tare                    -                         WEIGH               -
    WEIGH     CONFIRM, accepted by the plate weighing.recorded         SAVED               WEIGH, plate undone
    WEIGH     manual entry, steward's card   manual.entered            SAVED               WEIGH
    SAVED     choose / DONE                  -                         WEIGH / CHOOSE      -
    C, W, S   VOID, something is saved       weighing.voided           CHOOSE              same, not_saved
    C, W, S   FINISH, something is saved     deposit.closed completed  RECEIPT             same, not_saved
    C, W, S   CANCEL                         deposit.closed cancelled  RECEIPT or ENDED    same, not_saved
    C, W, S   nobody there                   deposit.closed timeout    ENDED timed_out     same, not_saved
    C, W, S   new epoch of the journal       -                         RECEIPT or ENDED    -
    RECEIPT   DONE, CANCEL, nobody there     -                         ENDED               -

While an append runs every press is ignored, so a second CONFIRM cannot record twice; looks at the scale
still count. A line exists only after its commit: SAVED is never shown before. What was saved stays saved
unless it is voided, however the visit ends. A guest's claim code is made before deposit.opened and shown from
then on, so nothing is ever saved for a code that a power cut can take away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from edge.station.arming import (
    Capture,
    Plate,
    Rules,
    captured,
    observed,
    released,
    voided,
    weigh,
)
from edge.station.at_plate import AtPlate, Opening, Taring, take_tare
from edge.station.events import (
    NOTHING,
    Append,
    Cancel,
    CardShown,
    Choose,
    Committed,
    Confirm,
    Done,
    Effects,
    EpochChanged,
    Finish,
    Holder,
    ManualEntered,
    NotCommitted,
    Observed,
    Offer,
    PresetTarePressed,
    TarePressed,
    TimedOut,
    Void,
    Written,
)
from edge.station.screen import Line, Message
from protocol import bodies
from protocol.cards import PSEUDONYM_LENGTH, Role
from protocol.points import points_for

WEIGHINGS_MAX = 50
"""Most weighings of one visit: bounds the state, the receipt and what a restart must read back."""
MANUAL_G_MAX = 1_000_000
"""Largest mass that can be typed in: a tonne is a typing error."""


class Phase(StrEnum):
    """Where the visit stands; see the table."""

    OPENING = "opening"
    CHOOSE = "choose"
    WEIGH = "weigh"
    SAVED = "saved"
    RECEIPT = "receipt"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Recording:
    """A weighing is on its way; `before` is the plate to go back to, None if the scale had no part in it."""

    material: str
    net_g: int
    points: int | None
    before: Plate | None


@dataclass(frozen=True, slots=True)
class Voiding:
    """The last weighing is being taken back."""


@dataclass(frozen=True, slots=True)
class Closing:
    """deposit.closed is on its way."""

    outcome: bodies.Outcome


Pending = Opening | Taring | Recording | Voiding | Closing


@dataclass(frozen=True, slots=True)
class Saved:
    """A committed weighing of this visit; `before` is the plate as it was before the capture, if any."""

    line: Line
    id: str
    before: Plate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit(AtPlate):
    """A visit. `seq` and `id` are those of its deposit.opened, 0 and empty until it is committed.

    `wall_ms` is the time of its last record.
    """

    holder: Holder
    phase: Phase = Phase.OPENING
    offer: Offer | None = None
    saved: tuple[Saved, ...] = ()
    pending: Pending | None = None
    steward: bytes | None = None
    wall_ms: int = 0

    @property
    def net_g(self) -> int:
        """Sum of the saved weighings in grams."""
        return sum(saved.line.net_g for saved in self.saved)

    @property
    def points(self) -> int:
        """Sum of the points shown; weighings whose points follow count 0."""
        return sum(saved.line.points or 0 for saved in self.saved)

    @property
    def open(self) -> bool:
        """Whether the person can still act on their visit."""
        return self.phase in {Phase.CHOOSE, Phase.WEIGH, Phase.SAVED}


Press = Choose | TarePressed | PresetTarePressed | Confirm | ManualEntered | Void | Finish | Cancel | Done
Occurrence = TimedOut | EpochChanged | CardShown
Event = Press | Occurrence | Observed | Committed | NotCommitted
Step = tuple[Deposit, Effects]


def begin(rules: Rules, plate: Plate, holder: Holder) -> Step:
    """Open a visit for somebody who was identified."""
    state = Deposit(rules=rules, holder=holder, plate=plate, pending=Opening())
    return state, (Append((bodies.DepositOpened(holder.kind, holder.key),)),)


def step(state: Deposit, event: Event) -> Step:
    """The next state and what to append; an event that means nothing now changes nothing."""
    match event:
        case Observed():
            return replace(state, plate=observed(state.plate, event.view)), NOTHING
        case Committed():
            return _committed(state, event.entries)
        case NotCommitted():
            return _not_committed(state)
        case TimedOut() | EpochChanged() | CardShown():
            return (state, NOTHING) if state.pending else _occurred(state, event)
        case _:
            return (state, NOTHING) if state.pending else _pressed(state, event)


def _pressed(state: Deposit, event: Press) -> Step:
    if state.phase is Phase.RECEIPT:
        return _end(state, None) if isinstance(event, Done | Cancel) else (state, NOTHING)
    if not state.open:
        return state, NOTHING
    state = replace(state, message=None)
    match event:
        case Choose() | Done():
            result = _choose(state, event)
        case TarePressed() | PresetTarePressed() | Confirm() | ManualEntered():
            result = _at_scale(state, event) if state.phase is Phase.WEIGH else (state, NOTHING)
        case Void():
            result = _void(state)
        case Finish():
            result = _close(state, bodies.Outcome.COMPLETED) if state.saved else (state, NOTHING)
        case Cancel():
            result = _close(state, bodies.Outcome.CANCELLED)
        case _:
            assert_never(event)
    return result


def _occurred(state: Deposit, event: Occurrence) -> Step:
    match event:
        case TimedOut() if state.phase is Phase.RECEIPT:
            return _end(state, None)
        case TimedOut() if state.open:
            return _close(state, bodies.Outcome.TIMEOUT)
        case EpochChanged() if state.open:
            return _leave(state, Message.INTERRUPTED)
        case CardShown() if state.open:
            return _steward(state, event), NOTHING
        case _:
            return state, NOTHING


def _choose(state: Deposit, event: Choose | Done) -> Step:
    offer = event.offer if isinstance(event, Choose) else None
    if isinstance(event, Done) and state.phase is not Phase.SAVED:
        return state, NOTHING
    if offer is None:
        return replace(state, phase=Phase.CHOOSE, offer=None), NOTHING
    if len(state.saved) >= WEIGHINGS_MAX:
        return replace(state, message=Message.VISIT_FULL), NOTHING
    return replace(state, phase=Phase.WEIGH, offer=offer), NOTHING


def _at_scale(state: Deposit, event: TarePressed | PresetTarePressed | Confirm | ManualEntered) -> Step:
    match event:
        case TarePressed() | PresetTarePressed():
            return take_tare(state, event)
        case Confirm():
            return _confirm(state, weigh(state.plate, event.view, state.rules))
        case ManualEntered():
            return _enter(state, event)


def _confirm(state: Deposit, capture: Capture | Message) -> Step:
    if isinstance(capture, Message):
        return replace(state, message=capture), NOTHING
    if state.offer is None:
        return state, NOTHING
    points = _points(state.offer, capture.net_g)
    body = _weighing(state, state.offer, capture, points)
    pending = Recording(state.offer.tile.code, capture.net_g, points, state.plate)
    return replace(state, plate=captured(capture.gross_g), pending=pending), (Append((body,)),)


def _weighing(state: Deposit, offer: Offer, capture: Capture, points: int | None) -> bodies.WeighingRecorded:
    return bodies.WeighingRecorded(
        holder_kind=state.holder.kind,
        holder=state.holder.key,
        material=offer.tile.code,
        points_per_kg=offer.tile.points_per_kg,
        catalog=offer.catalog,
        scale=state.rules.scale,
        unit=capture.unit,
        division_g=capture.division_g,
        stability=capture.stability,
        tare_kind=capture.tare.kind,
        tare_g=capture.tare.mass_g,
        deposit=state.seq,
        raw=capture.raw,
        gross_g=capture.gross_g,
        net_g=capture.net_g,
        points=points,
    )


def _enter(state: Deposit, event: ManualEntered) -> Step:
    if state.steward is None or event.view.health == "ok" or state.offer is None:
        return replace(state, message=Message.MANUAL_NOT_ALLOWED), NOTHING
    if not state.rules.net_min_g <= event.net_g <= MANUAL_G_MAX:
        return replace(state, message=Message.TOO_LIGHT), NOTHING
    points = _points(state.offer, event.net_g)
    body = bodies.ManualEntered(
        holder_kind=state.holder.kind,
        holder=state.holder.key,
        material=state.offer.tile.code,
        points_per_kg=state.offer.tile.points_per_kg,
        catalog=state.offer.catalog,
        deposit=state.seq,
        by=state.steward,
        reason=f"scale.{event.view.health}",
        net_g=event.net_g,
        points=points,
    )
    pending = Recording(state.offer.tile.code, event.net_g, points, None)
    return replace(state, pending=pending), (Append((body,)),)


def _points(offer: Offer, net_g: int) -> int | None:
    rate = offer.tile.points_per_kg
    return None if rate is None else points_for(net_g, rate)


def _void(state: Deposit) -> Step:
    if not state.saved:
        return state, NOTHING
    body = bodies.WeighingVoided(state.seq, state.saved[-1].line.seq, "person")
    return replace(state, pending=Voiding()), (Append((body,)),)


def _close(state: Deposit, outcome: bodies.Outcome) -> Step:
    body = bodies.DepositClosed(state.seq, outcome, len(state.saved), state.net_g, state.points)
    return replace(state, message=None, pending=Closing(outcome)), (Append((body,)),)


def _steward(state: Deposit, event: CardShown) -> Deposit:
    """A steward may let a mass be typed in, but not for their own visit; one's own card again is no news."""
    own_card = state.holder.kind is bodies.HolderKind.CARD
    if own_card and state.holder.key[:PSEUDONYM_LENGTH] == event.person.pseudonym:
        return state
    if event.person.role is not Role.STEWARD:
        return replace(state, message=Message.CARD_NOT_ALLOWED)
    return replace(state, message=None, steward=event.person.serial)


def _committed(state: Deposit, entries: tuple[Written, ...]) -> Step:
    pending, state = state.pending, replace(state, pending=None, wall_ms=entries[-1].wall_ms)
    match pending:
        case Opening():
            state = replace(state, phase=Phase.CHOOSE, seq=entries[0].seq, id=entries[0].id)
        case Recording():
            line = Line(entries[0].seq, pending.material, pending.net_g, pending.points)
            saved = Saved(line, entries[0].id, pending.before)
            state = replace(state, phase=Phase.SAVED, saved=(*state.saved, saved), steward=None)
        case Voiding():
            state = _without_last(state)
        case Closing():
            return _closed(state, pending.outcome)
        case Taring() | None:
            pass
        case _:
            assert_never(pending)
    return state, NOTHING


def _without_last(state: Deposit) -> Deposit:
    before = state.saved[-1].before
    plate = voided(state.plate, before) if before else state.plate
    state = replace(state, plate=plate, saved=state.saved[:-1], message=Message.VOIDED)
    return replace(state, phase=Phase.CHOOSE, offer=None)


def _closed(state: Deposit, outcome: bodies.Outcome) -> Step:
    match outcome:
        case bodies.Outcome.COMPLETED:
            return _leave(state, None)
        case bodies.Outcome.CANCELLED:
            return _leave(state, Message.CANCELLED)
        case bodies.Outcome.TIMEOUT:
            return _end(state, Message.TIMED_OUT)
        case bodies.Outcome.INTERRUPTED:
            return _end(state, Message.INTERRUPTED)


def _not_committed(state: Deposit) -> Step:
    pending, state = state.pending, replace(state, pending=None, message=Message.NOT_SAVED)
    match pending:
        case Opening():
            return _end(state, Message.NOT_SAVED)
        case Taring(before) | Recording(before=before) if before is not None:
            return replace(state, plate=released(state.plate, before)), NOTHING
        case _:
            return state, NOTHING


def _leave(state: Deposit, message: Message | None) -> Step:
    """To the receipt if anything is saved, else out."""
    if not state.saved:
        return _end(state, message)
    return replace(state, phase=Phase.RECEIPT, message=message), NOTHING


def _end(state: Deposit, message: Message | None) -> Step:
    return replace(state, phase=Phase.ENDED, message=message), NOTHING
