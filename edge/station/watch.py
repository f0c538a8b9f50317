"""Which changes of devices and of intake are worth a record, so that a loose plug cannot fill the disk. Pure.

Owns the rate bound: per subject one record now, then at most one per 10 s, and while it keeps changing the
gap doubles up to 10 minutes. What is written after a gap is the state then, not every flicker before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.bodies import Body

GAP_S_MIN = 10.0
GAP_S_MAX = 600.0
SUBJECTS_MAX = 32
"""More subjects than a gateway has devices; further ones are not recorded."""


@dataclass(slots=True)
class _Subject:
    wanted: str
    written: str
    offered: str = ""
    body: Body | None = None
    written_s: float | None = None
    gap_s: float = GAP_S_MIN


class Watch:
    """States by subject, and which of them should be written now. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}

    def assume(self, subject: str, state: str) -> None:
        """Take `state` as written already."""
        self._subjects[subject] = _Subject(wanted=state, written=state)

    def see(self, subject: str, state: str, body: Body) -> None:
        """The subject is in `state` now, which `body` would record."""
        known = self._subjects.get(subject)
        if known is None:
            if len(self._subjects) >= SUBJECTS_MAX:
                return
            known = self._subjects[subject] = _Subject(wanted="", written="")
        if known.wanted != state:
            known.wanted, known.body = state, body

    def due(self, now_s: float) -> dict[str, Body]:
        """By subject, the bodies to append now; tell `written` once they are committed."""
        due: dict[str, Body] = {}
        for name, subject in self._subjects.items():
            rested = subject.written_s is None or now_s - subject.written_s >= subject.gap_s
            if subject.body is not None and subject.wanted != subject.written and rested:
                subject.offered, due[name] = subject.wanted, subject.body
        return due

    def written(self, bodies: dict[str, Body], now_s: float) -> None:
        """These bodies of `due` are in the journal since `now_s`; what changed meanwhile stays due."""
        for name in bodies:
            subject = self._subjects[name]
            restless = subject.written_s is not None and now_s - subject.written_s < 4 * subject.gap_s
            subject.gap_s = min(2 * subject.gap_s, GAP_S_MAX) if restless else GAP_S_MIN
            subject.written_s = now_s
            subject.written = subject.offered

    def postponed(self, bodies: dict[str, Body], now_s: float) -> None:
        """These bodies could not be written; they are due again after the gap."""
        for name in bodies:
            self._subjects[name].written_s = now_s
