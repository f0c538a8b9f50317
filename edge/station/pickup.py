"""The pickup: a collector empties bins and hands the kilos over, as a pure state machine.

Owns the order of bins and that a hand-over needs two different people. Does not own the plate's rules
(`arming`), the journal, the screen or time.

    phase     event                            asks to append               committed        not committed
    OPENING   (begin, collector's card)        pickup.opened                COLLECT          ENDED not_saved
    COLLECT   bin scanned, new                 bin.scanned                  BIN              COLLECT not_saved
    COLLECT   bin scanned, open                -                            BIN              -
    COLLECT   bin scanned, already emptied     -  (bin_twice)               COLLECT          -
    BIN       another bin scanned              as in COLLECT
    BIN       TARE / preset tare               scale.tared / -              BIN              BIN, tare undone
    BIN       weigh, accepted by the plate     bin.weighed (emptied)        COLLECT          BIN, plate undone
    BIN       estimate in grams                bin.estimated (emptied)      COLLECT          BIN not_saved
    BIN       CANCEL                           -                            COLLECT          -
    COLLECT   hand over, a bin is emptied      -                            HANDOVER         -
    HANDOVER  card of somebody else who may    custody.handed_over and      HANDED_OVER      same, not_saved
              take over (steward, collector)   pickup.closed completed
    HANDOVER  same person's card, a citizen's  -  (card_same, not_allowed)  HANDOVER         -
    HANDOVER  CANCEL                           -                            COLLECT          -
    COLLECT   CANCEL                           pickup.closed cancelled      ENDED            same, not_saved
    C, B, H   nobody there                     pickup.closed timeout        ENDED timed_out  same, not_saved
    C, B, H   new epoch of the journal         -                            ENDED            -
    HANDED_O. DONE, CANCEL, nobody there       -                            ENDED            -

Giver is the collector who emptied the bins, taker the second card. Two cards of one person (a replaced
card keeps its pseudonym) are the same. An emptied bin stays recorded however the pickup ends; without a
hand-over its kilos stay with the collector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from edge.station.arming import Capture, Plate, Rules, captured, observed, released, weigh
from edge.station.at_plate import AtPlate, Opening, Taring, take_tare
from edge.station.events import (
    NOTHING,
    Append,
    BinSeen,
    Cancel,
    CardShown,
    Committed,
    Confirm,
    Done,
    Effects,
    EpochChanged,
    Estimate,
    HandOver,
    NotCommitted,
    Observed,
    Person,
    PresetTarePressed,
    TarePressed,
    TimedOut,
    Written,
)
from edge.station.screen import BinLine, Message
from protocol import bodies
from protocol.cards import Role

BINS_MAX = 100
"""Most bins of one pickup: bounds the state and what a restart must read back."""
ESTIMATE_G_MAX = 1_000_000
"""Largest estimate: a tonne in one bin is a typing error."""


class Phase(StrEnum):
    """Where the pickup stands; see the table."""

    OPENING = "opening"
    COLLECT = "collect"
    BIN = "bin"
    HANDOVER = "handover"
    HANDED_OVER = "handed_over"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Scanning:
    """bin.scanned is on its way."""

    bin: str


@dataclass(frozen=True, slots=True)
class Emptying:
    """bin.weighed or bin.estimated is on its way; `before` is None for an estimate."""

    line: BinLine
    before: Plate | None


@dataclass(frozen=True, slots=True)
class Closing:
    """pickup.closed is on its way, with custody.handed_over if completed."""

    outcome: bodies.Outcome


Pending = Opening | Scanning | Taring | Emptying | Closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickup(AtPlate):
    """A pickup. `seq` and `id` are those of its pickup.opened, 0 and empty until it is committed."""

    collector: Person
    phase: Phase = Phase.OPENING
    bin: str | None = None
    bins: tuple[BinLine, ...] = ()
    pending: Pending | None = None

    @property
    def emptied(self) -> tuple[BinLine, ...]:
        """The bins that were weighed or estimated."""
        return tuple(line for line in self.bins if line.how is not None)

    @property
    def net_g(self) -> int:
        """Sum of the emptied bins in grams."""
        return sum(line.net_g or 0 for line in self.emptied)

    @property
    def open(self) -> bool:
        """Whether the collector can still act on the pickup."""
        return self.phase in {Phase.COLLECT, Phase.BIN, Phase.HANDOVER}


Press = TarePressed | PresetTarePressed | Confirm | Estimate | HandOver | Cancel | Done
Occurrence = TimedOut | EpochChanged | CardShown | BinSeen
Event = Press | Occurrence | Observed | Committed | NotCommitted
Step = tuple[Pickup, Effects]


def begin(rules: Rules, plate: Plate, collector: Person) -> Step:
    """Open a pickup for a collector whose card was verified."""
    state = Pickup(rules=rules, collector=collector, plate=plate, pending=Opening())
    return state, (Append((bodies.PickupOpened(collector.serial),)),)


def step(state: Pickup, event: Event) -> Step:
    """The next state and what to append; an event that means nothing now changes nothing."""
    match event:
        case Observed():
            return replace(state, plate=observed(state.plate, event.view)), NOTHING
        case Committed():
            return _committed(state, event.entries)
        case NotCommitted():
            return _not_committed(state)
        case TimedOut() | EpochChanged() | CardShown() | BinSeen():
            return (state, NOTHING) if state.pending else _occurred(state, event)
        case _:
            return (state, NOTHING) if state.pending else _pressed(state, event)


def _pressed(state: Pickup, event: Press) -> Step:
    if state.phase is Phase.HANDED_OVER:
        return _end(state, None) if isinstance(event, Done | Cancel) else (state, NOTHING)
    if not state.open:
        return state, NOTHING
    state = replace(state, message=None)
    match event:
        case TarePressed() | PresetTarePressed() | Confirm() | Estimate():
            return _at_bin(state, event) if state.phase is Phase.BIN else (state, NOTHING)
        case HandOver():
            return _hand_over(state), NOTHING
        case Cancel():
            return _cancel(state)
        case Done():
            return state, NOTHING


def _occurred(state: Pickup, event: Occurrence) -> Step:
    match event:
        case TimedOut() if state.phase is Phase.HANDED_OVER:
            return _end(state, None)
        case TimedOut() if state.open:
            return _close(state, bodies.Outcome.TIMEOUT)
        case EpochChanged() if state.open:
            return _end(state, Message.INTERRUPTED)
        case CardShown() if state.phase is Phase.HANDOVER:
            return _take_over(state, event.person)
        case BinSeen() if state.phase in {Phase.COLLECT, Phase.BIN}:
            return _see_bin(replace(state, message=None), event.bin)
        case _:
            return state, NOTHING


def _see_bin(state: Pickup, code: str) -> Step:
    known = next((line for line in state.bins if line.bin == code), None)
    if known is not None and known.how is not None:
        return replace(state, message=Message.BIN_TWICE), NOTHING
    if known is not None:
        return replace(state, phase=Phase.BIN, bin=code), NOTHING
    if len(state.bins) >= BINS_MAX:
        return replace(state, message=Message.VISIT_FULL), NOTHING
    return replace(state, pending=Scanning(code)), (Append((bodies.BinScanned(state.seq, code),)),)


def _cancel(state: Pickup) -> Step:
    if state.phase is Phase.COLLECT:
        return _close(state, bodies.Outcome.CANCELLED)
    return replace(state, phase=Phase.COLLECT, bin=None), NOTHING


def _at_bin(state: Pickup, event: TarePressed | PresetTarePressed | Confirm | Estimate) -> Step:
    match event:
        case TarePressed() | PresetTarePressed():
            return take_tare(state, event)
        case Confirm():
            return _weigh(state, weigh(state.plate, event.view, state.rules))
        case Estimate():
            return _estimate(state, event.net_g)


def _weigh(state: Pickup, capture: Capture | Message) -> Step:
    if isinstance(capture, Message):
        return replace(state, message=capture), NOTHING
    if state.bin is None:
        return state, NOTHING
    body = bodies.BinWeighed(
        pickup=state.seq,
        bin=state.bin,
        scale=state.rules.scale,
        unit=capture.unit,
        division_g=capture.division_g,
        stability=capture.stability,
        tare_kind=capture.tare.kind,
        tare_g=capture.tare.mass_g,
        raw=capture.raw,
        gross_g=capture.gross_g,
        net_g=capture.net_g,
    )
    pending = Emptying(BinLine(state.bin, capture.net_g, "weighed"), state.plate)
    return replace(state, plate=captured(capture.gross_g), pending=pending), (Append((body,)),)


def _estimate(state: Pickup, net_g: int) -> Step:
    if not 0 < net_g <= ESTIMATE_G_MAX:
        return replace(state, message=Message.TOO_LIGHT), NOTHING
    if state.bin is None:
        return state, NOTHING
    pending = Emptying(BinLine(state.bin, net_g, "estimated"), None)
    body = bodies.BinEstimated(state.seq, state.bin, net_g)
    return replace(state, pending=pending), (Append((body,)),)


def _hand_over(state: Pickup) -> Pickup:
    if state.phase is not Phase.COLLECT:
        return state
    if not state.emptied:
        return replace(state, message=Message.BIN_FIRST)
    return replace(state, phase=Phase.HANDOVER, bin=None)


def _take_over(state: Pickup, taker: Person) -> Step:
    if taker.pseudonym == state.collector.pseudonym:
        return replace(state, message=Message.CARD_SAME), NOTHING
    if taker.role not in {Role.STEWARD, Role.COLLECTOR}:
        return replace(state, message=Message.CARD_NOT_ALLOWED), NOTHING
    moved = bodies.CustodyHandedOver(state.seq, state.collector.serial, taker.serial, state.net_g)
    return _close(state, bodies.Outcome.COMPLETED, moved)


def _close(state: Pickup, outcome: bodies.Outcome, *before: bodies.Body) -> Step:
    body = bodies.PickupClosed(state.seq, outcome, len(state.emptied), state.net_g)
    return replace(state, message=None, pending=Closing(outcome)), (Append((*before, body)),)


def _committed(state: Pickup, entries: tuple[Written, ...]) -> Step:
    pending, state = state.pending, replace(state, pending=None)
    match pending:
        case Opening():
            state = replace(state, phase=Phase.COLLECT, seq=entries[0].seq, id=entries[0].id)
        case Scanning():
            lines = (*state.bins, BinLine(pending.bin, None, None))
            state = replace(state, phase=Phase.BIN, bin=pending.bin, bins=lines)
        case Emptying():
            lines = tuple(pending.line if line.bin == pending.line.bin else line for line in state.bins)
            state = replace(state, phase=Phase.COLLECT, bin=None, bins=lines)
        case Closing():
            return _closed(state, pending.outcome)
        case Taring() | None:
            pass
        case _:
            assert_never(pending)
    return state, NOTHING


def _closed(state: Pickup, outcome: bodies.Outcome) -> Step:
    match outcome:
        case bodies.Outcome.COMPLETED:
            return replace(state, phase=Phase.HANDED_OVER), NOTHING
        case bodies.Outcome.CANCELLED:
            return _end(state, Message.CANCELLED)
        case bodies.Outcome.TIMEOUT:
            return _end(state, Message.TIMED_OUT)
        case bodies.Outcome.INTERRUPTED:
            return _end(state, Message.INTERRUPTED)


def _not_committed(state: Pickup) -> Step:
    pending, state = state.pending, replace(state, pending=None, message=Message.NOT_SAVED)
    match pending:
        case Opening():
            return _end(state, Message.NOT_SAVED)
        case Taring(before) | Emptying(before=before) if before is not None:
            return replace(state, plate=released(state.plate, before)), NOTHING
        case _:
            return state, NOTHING


def _end(state: Pickup, message: Message | None) -> Step:
    return replace(state, phase=Phase.ENDED, message=message), NOTHING
