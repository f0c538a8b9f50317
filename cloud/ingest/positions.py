"""Where epochs stand while a batch is decided: cursors, and what is missing of them. Pure.

Begins with what the view says, moves with every frame, and leaves what changed in the effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ingest.effects import Alarm
from cloud.ingest.lost import rest
from cloud.ingest.views import Gap
from protocol.acks import Verdict
from protocol.delivery import Cursor, Fresh, receive_carried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud.ingest.effects import Effects
    from cloud.ingest.views import EpochKey, View
    from protocol.bodies import RecordCarried
    from protocol.frames import Older


class Positions:
    """Cursors and gaps of every epoch that a batch touches."""

    def __init__(self, effects: Effects, view: View) -> None:
        self._effects = effects
        self._cursors = dict(view.cursors)
        self._gaps = dict(view.gaps)
        self._stored = view.stored

    def cursor(self, key: EpochKey) -> Cursor:
        """How far this epoch is."""
        return self._cursors.get(key) or Cursor.start(*key)

    def move(self, key: EpochKey, cursor: Cursor) -> None:
        """It is this far now."""
        if cursor != self.cursor(key):
            self._cursors[key] = self._effects.cursors[key] = cursor

    def gaps(self, key: EpochKey) -> tuple[Gap, ...]:
        """What is missing of it."""
        return self._gaps.get(key, ())

    def leave(self, key: EpochKey, gap: Gap) -> None:
        """This is missing from now on; an operator hears of it."""
        self.fill(key, (*self.gaps(key), gap))
        self._alarm(key, "epoch.gap", first=gap.first, last=gap.last)

    def fill(self, key: EpochKey, gaps: Sequence[Gap]) -> None:
        """Only these are missing still."""
        self._gaps[key] = self._effects.gaps[key] = tuple(gaps)

    def has(self, gateway: str, older: Older) -> bool:
        """Whether all of an epoch is here, up to the record that was acknowledged last."""
        key = gateway, older.epoch
        whole_through = min([self.cursor(key).through, *(gap.first - 1 for gap in self.gaps(key))])
        return whole_through >= older.acked and older.record in self._stored

    def carried(self, gateway: str, body: RecordCarried, digest: bytes) -> bool:
        """Move the epoch that a carried record is from; whether the record is worth its points at once.

        `digest` is the chain's after the record. It is not here yet under its own id.
        """
        key = gateway, body.epoch
        before, gaps = self.cursor(key), self.gaps(key)
        missing = next((gap for gap in gaps if gap.first <= body.seq <= gap.last), None)
        taken = body.seq <= before.through and missing is None
        received = receive_carried(before, body.seq, body.prev_digest, digest, taken=taken)
        self.move(key, received.cursor)
        if received.verdict is Verdict.FORKED:
            if not before.closed:
                self._alarm(key, "epoch.forked", through=before.through, first=body.seq, last=body.seq)
            return False
        if received.lost is not None and before.through:
            self.leave(key, Gap(*received.lost, before.digest, digest))
        elif received.lost is not None:
            # An epoch may begin with what it carried itself, which travels on under its own place: the gap is
            # listed, and alarms nobody.
            self.fill(key, (*gaps, Gap(*received.lost, before.digest, digest)))
        elif missing is not None:
            left = rest(missing, [Fresh(body.seq, body.data, digest)])
            self.fill(key, (*(gap for gap in gaps if gap is not missing), *left))
        return True

    def _alarm(self, key: EpochKey, code: str, **detail: int) -> None:
        self._effects.alarms.append(Alarm(key[0], code, {"epoch": key[1], **detail}))
