"""Journalling what changes around the station: devices, the scale's health, intake.

Owns how these states become records, one append at a time. How often is `watch`'s to say; a note that could
not be written is tried again after its gap, and people are told by the screen meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.devices.events import Attached, Detached
from edge.errors import JournalError
from edge.station.watch import Watch
from protocol import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from edge.devices.readings import ScaleView
    from edge.journal import AsyncJournal
    from protocol.bodies import Body

_INTAKE = "intake"
_HEALTH = "scale.health"


class Notes:
    """What was seen and is not yet written."""

    def __init__(self, journal: AsyncJournal) -> None:
        self._journal = journal
        self._watch = Watch()
        self._watch.assume(_HEALTH, "ok")
        self._writing = False

    def device(self, event: Attached | Detached) -> None:
        """A device's port was opened or lost."""
        body = _device(event)
        self._watch.see(event.device, body.kind, body)

    def scale(self, name: str, view: ScaleView) -> None:
        """The scale's health now; that it is absent is noted as its device being detached."""
        if view.health != "absent":
            self._watch.see(_HEALTH, view.health, bodies.ScaleFaulted(name, view.health, view.detail))

    def intake(self, reason: str | None) -> None:
        """Whether intake runs now (None), or why not."""
        body = bodies.IntakeResumed("ok") if reason is None else bodies.IntakeSuspended(reason)
        self._watch.see(_INTAKE, body.kind, body)

    def intake_was(self, suspended: bool) -> None:
        """What the journal says of intake already."""
        body = bodies.IntakeSuspended if suspended else bodies.IntakeResumed
        self._watch.assume(_INTAKE, body.kind)

    def write(self, now_s: float, spawn: Callable[[Coroutine[None, None, None]], object]) -> None:
        """Start writing what is due, unless a write is still under way; `now_s` is monotonic."""
        due = {} if self._writing else self._watch.due(now_s)
        if due:
            self._writing = True
            spawn(self._append(due, now_s))

    async def _append(self, due: dict[str, Body], now_s: float) -> None:
        try:
            await self._journal.append(*due.values())
        except JournalError:
            self._watch.postponed(due, now_s)
        else:
            self._watch.written(due, now_s)
        finally:
            self._writing = False


def _device(event: Attached | Detached) -> bodies.DeviceAttached | bodies.DeviceDetached:
    match event:
        case Attached():
            return bodies.DeviceAttached(event.device, event.port)
        case Detached():
            return bodies.DeviceDetached(event.device, f"{event.port}: {event.code}")
