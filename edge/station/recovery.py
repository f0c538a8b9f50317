"""Reading the journal back at a start, or after a commit of which nobody can tell whether it happened.

Owns the order: make the journal find out first, read, close what was cut off, show the receipt again.
Decides nothing about records (`rebuild`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.station.rebuild import LOOKBACK, Recovered, Visit, rebuild, worth_showing
from edge.station.screen import Message, Receipt
from edge.station.view import Idle, points_of, receipt_text
from protocol import bodies

if TYPE_CHECKING:
    from edge.journal import AsyncJournal
    from edge.station.events import Holder


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, as records tell time: the boot's number, milliseconds since boot, UTC milliseconds."""

    boot: int
    mono_ms: int
    wall_ms: int


async def recover(journal: AsyncJournal, doubt: str | None) -> Recovered:
    """What the station must know, with every open visit and pickup closed as interrupted.

    `doubt` is the code of the commit in doubt, None at a start. A journal in doubt reads its own tail back
    before it appends, so the record appended here stands after whatever was really saved. Raises JournalError
    while the journal does not answer; call again then.
    """
    if doubt is not None:
        await journal.append(bodies.IntakeSuspended(doubt))
    epoch, head = journal.epoch, journal.head
    recovered = rebuild(await journal.entries(max(1, head - LOOKBACK + 1), head))
    if closings := recovered.closings():
        await journal.append(*closings, epoch=epoch)
    return recovered


def resume(recovered: Recovered, now: Moment, holder: Holder | None, url: str) -> Idle:
    """The idle state to start from, with the last receipt if its person may still be there.

    `holder` is whoever was at the kiosk when a commit came into doubt: if they are a guest, this process
    still knows their claim code and their receipt can carry it.
    """
    cut_off = next((visit for visit in reversed(recovered.visits.values()) if visit.lines), None)
    visit = cut_off or recovered.last
    if visit is None or not worth_showing(visit, now.boot, now.mono_ms, now.wall_ms):
        message = Message.INTERRUPTED if recovered.visits or recovered.pickups else None
        return Idle(recovered.plate, message)
    code = holder.claim_code if holder is not None and holder.key == visit.holder else None
    message = Message.INTERRUPTED if cut_off else None
    receipt = _receipt(visit, code, url, now.wall_ms)
    return Idle(recovered.plate, message, receipt, tuple(visit.lines))


def _receipt(visit: Visit, code: str | None, url: str, now_ms: int) -> Receipt:
    wall_ms = visit.closed.wall_ms if visit.closed else now_ms
    points = points_of(tuple(visit.lines))
    return Receipt(visit.id, receipt_text(url, visit.id, code), visit.net_g, points, code, wall_ms)
