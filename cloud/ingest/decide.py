"""The decision: cursors and frames in, effects out. Pure: no clock, no database, nothing remembered.

Where a frame fits is `protocol.delivery.receive`'s to say; what each record means is `project`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ingest.effects import Alarm, Answer, Effects
from cloud.ingest.lost import found, noted
from cloud.ingest.project import Projector
from protocol.acks import Echo, Verdict
from protocol.bodies import RecordCarried
from protocol.delivery import Cursor, Received, receive
from protocol.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from cloud.ingest.views import EpochKey, Gap, Opened, View


def decide(frames: Sequence[Opened], view: View, suspects: Set[bytes] = frozenset()) -> Effects:
    """Decide on verified frames of gateways that are not revoked, in order.

    `suspects` are ids (16 bytes) of records that Postgres would not take: they go to quarantine.
    """
    effects = Effects()
    careful = bool(view.stored) or any(opened.needs.carried_epochs for opened in frames)
    projector = Projector(effects, view, suspects, careful=careful)
    cursors: dict[EpochKey, Cursor] = dict(view.cursors)
    gaps: dict[EpochKey, tuple[Gap, ...]] = dict(view.gaps)
    for opened in frames:
        frame = opened.frame
        before = cursors.get(opened.key) or Cursor.start(*opened.key)
        received = receive(
            before,
            frame,
            lambda seq, key=opened.key: view.known.get((*key, seq)),  # type: ignore[misc]
        )
        _note(effects, before, received, opened)
        if received.cursor != before:
            cursors[opened.key] = effects.cursors[opened.key] = received.cursor
        if received.lost is not None:
            gaps[opened.key] = effects.gaps[opened.key] = (*gaps.get(opened.key, ()), noted(before, frame))
        elif gaps.get(opened.key) and received.verdict is Verdict.OK:
            late = found(frame, gaps[opened.key])
            projector.frame(opened, late.fresh, cursors)
            projector.strays(opened, late.strays)
            if late.fresh:
                gaps[opened.key] = effects.gaps[opened.key] = late.gaps
        if received.fresh:
            projector.frame(opened, received.fresh, cursors)
    return effects


def _note(effects: Effects, before: Cursor, received: Received, opened: Opened) -> None:
    """Keep the answer, the gap and the alarm that a frame's verdict asks for."""
    frame = opened.frame
    echo = Echo(frame.sample.boot, frame.sample.mono_ms)
    effects.answers.append(Answer(received.cursor, received.verdict, received.expect, echo))
    if received.lost is not None:
        detail: dict[str, object] = {
            "epoch": frame.epoch,
            "first": received.lost[0],
            "last": received.lost[1],
        }
        effects.alarms.append(Alarm(frame.gateway, "epoch.gap", detail))
    if received.verdict is Verdict.FORKED and not before.closed:
        detail = {"epoch": frame.epoch, "through": before.through, "first": frame.first, "last": frame.last}
        effects.alarms.append(Alarm(frame.gateway, "epoch.forked", detail))


def carried_places(frames: Sequence[Opened]) -> list[tuple[str, int, int]]:
    """Where the records that these frames carry stood in their own epochs."""
    return [
        (opened.frame.gateway, record.body.epoch, record.body.seq)
        for opened in frames
        if opened.needs.carried_epochs
        for record in opened.records
        if isinstance(record, Record) and isinstance(record.body, RecordCarried)
    ]


def all_places(frames: Sequence[Opened]) -> list[tuple[str, int, int]]:
    """Where every record of these frames stands."""
    return [
        (*opened.key, seq) for opened in frames for seq in range(opened.frame.first, opened.frame.last + 1)
    ]


def needed_digests(frames: Sequence[Opened], cursors: dict[EpochKey, Cursor]) -> list[tuple[str, int, int]]:
    """Which committed digests `decide` may ask for: of frames that end before their cursor."""
    wanted = []
    for opened in frames:
        cursor, frame = cursors.get(opened.key), opened.frame
        if cursor is not None and frame.last < cursor.through:
            wanted.append((*opened.key, frame.last if frame.records else frame.first - 1))
    return wanted


def irregular(frames: Sequence[Opened], cursors: Mapping[EpochKey, Cursor]) -> list[Opened]:
    """Frames that do not simply continue their epoch as committed: they may leave a gap, or fill one."""
    return [
        opened
        for opened in frames
        if opened.frame.first != (cursors[opened.key].through if opened.key in cursors else 0) + 1
    ]
