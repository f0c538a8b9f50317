"""Records that came before the one they mean, which lay in a gap or in quarantine. Pure.

They wait in quarantine, and take effect by themselves in the transaction that lets the other one take effect:
whatever the order in which records arrive, the end is that of their own order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ingest.effects import ClosingRow, Effects, QuarantineRow, VoidRow
from cloud.ingest.positions import Positions
from cloud.ingest.project import Projector, carries, read_record
from cloud.ingest.views import View
from protocol.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud.ingest.views import GatewayView

NO_WEIGHING, NO_OPENING, NO_PICKUP = "void.no_weighing", "deposit.no_opening", "custody.no_pickup"
WAITING = (NO_WEIGHING, NO_OPENING, NO_PICKUP)
"""Codes under which a record waits for another."""
WAITING_MAX = 1000
"""How many of one epoch are woken at once, the nearest first: a visit or pickup has a few dozen records."""


def wake(held: Sequence[QuarantineRow], gateways: Mapping[str, GatewayView]) -> Effects:
    """The effects of records that wait, in order; what cannot be applied yet is for the storage to find."""
    return project_held(held, View(received_ms=0, cursors={}, gateways=gateways, catalogs={}, rates={}))


def project_held(held: Sequence[QuarantineRow], view: View) -> Effects:
    """The effects of held records, by this view."""
    effects = Effects()
    projector = Projector(effects, view, frozenset(), Positions(effects, view))
    for row in held:
        projector.stored(row)
    return effects


def take_in(stray: QuarantineRow, view: View) -> Effects:
    """The effects of a stray that came again on its chain; what it carried was applied with the frame."""
    record = read_record(stray.data)
    if isinstance(record, Record) and carries(record, stray.seq, stray.epoch):
        return Effects()
    return project_held([stray], view)


def void_waits(void: VoidRow) -> QuarantineRow:
    """A weighing is taken back that is not applied."""
    message = f"no weighing at seq {void.weighing_seq} is applied; decide on that one first"
    return QuarantineRow(void.id, void.gateway, void.epoch, void.seq, NO_WEIGHING, message, void.data, False)


def closing_waits(end: ClosingRow) -> QuarantineRow:
    """A visit ends that is not open here."""
    message = f"no visit opened at seq {end.seq} is applied; it ends when that one comes in"
    return QuarantineRow(end.id, end.gateway, end.epoch, end.own, NO_OPENING, message, end.data, False)
