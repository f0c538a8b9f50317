"""The decision: cursors and frames in, effects out. Pure: no clock, no database, nothing remembered.

Where a frame fits is `protocol.delivery.receive`'s to say; what each record means is `project`'s.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cloud.ingest.effects import Alarm, Answer, Effects
from cloud.ingest.lost import found, noted
from cloud.ingest.positions import Positions
from cloud.ingest.project import Projector
from protocol.acks import Echo, Verdict
from protocol.bodies import RecordCarried
from protocol.delivery import Cursor, Received, forgot, receive
from protocol.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from cloud.ingest.views import EpochKey, Opened, View


def decide(frames: Sequence[Opened], view: View, suspects: Set[bytes] = frozenset()) -> Effects:
    """Decide on verified frames of gateways that are not revoked, in order.

    `suspects` are ids (16 bytes) of records that Postgres would not take: they go to quarantine.
    """
    effects = Effects()
    careful = bool(view.stored) or any(opened.needs.carried_epochs for opened in frames)
    positions = Positions(effects, view)
    projector = Projector(effects, view, suspects, positions, careful=careful)
    for opened in frames:
        before = positions.cursor(opened.key)
        received = receive(
            before,
            opened.frame,
            lambda seq, key=opened.key: view.known.get((*key, seq)),  # type: ignore[misc]
        )
        _went_back(effects, positions, received, opened)
        positions.move(opened.key, received.cursor)
        if received.lost is not None:
            positions.leave(opened.key, noted(before, opened.frame))
        elif positions.gaps(opened.key) and received.verdict is Verdict.OK:
            late = found(opened.frame, positions.gaps(opened.key))
            projector.frame(opened, late.fresh)
            projector.strays(opened, late.strays)
            if late.fresh:
                positions.fill(opened.key, late.gaps)
        if received.fresh:
            projector.frame(opened, received.fresh)
        _note(effects, before, received, opened, positions)
    return effects


def _note(effects: Effects, before: Cursor, received: Received, opened: Opened, positions: Positions) -> None:
    """Keep the answer, and the alarm that a fork asks for."""
    frame = opened.frame
    echo = Echo(frame.sample.boot, frame.sample.mono_ms)
    forgotten = forgot(frame, partial(positions.has, frame.gateway))
    missing = max((gap.last for gap in positions.gaps(opened.key)), default=0)
    effects.answers.append(
        Answer(received.cursor, received.verdict, received.expect, echo, forgotten, missing)
    )
    if received.verdict is Verdict.FORKED and not before.closed:
        detail: dict[str, object] = {
            "epoch": frame.epoch,
            "through": before.through,
            "first": frame.first,
            "last": frame.last,
        }
        effects.alarms.append(Alarm(frame.gateway, "epoch.forked", detail))


def _went_back(effects: Effects, positions: Positions, received: Received, opened: Opened) -> None:
    """A new epoch whose gateway knows less of an older one than is committed: its card went back."""
    frame = opened.frame
    if frame.first != 1 or not received.fresh:
        return
    for older in frame.older:
        there = positions.cursor((frame.gateway, older.epoch))
        if not there.closed and older.head < there.through:
            detail: dict[str, object] = {
                "epoch": older.epoch, "through": there.through, "head": older.head,
            }  # fmt: skip
            effects.alarms.append(Alarm(frame.gateway, "gateway.went_back", detail))


def other_epochs(frames: Sequence[Opened]) -> set[EpochKey]:
    """Epochs beside their own that these frames speak of: carried from, or older."""
    return {
        (each.frame.gateway, epoch)
        for each in frames
        for epoch in (*each.needs.carried_epochs, *(older.epoch for older in each.frame.older))
    }


def carried_places(frames: Sequence[Opened]) -> list[tuple[str, int, int]]:
    """Where the records that these frames carry stood in their own epochs."""
    return [
        (opened.frame.gateway, record.body.epoch, record.body.seq)
        for opened in frames
        if opened.needs.carried_epochs
        for record in opened.records
        if isinstance(record, Record) and isinstance(record.body, RecordCarried)
    ]


def older_places(frames: Sequence[Opened]) -> list[tuple[str, int, int]]:
    """Where the last acknowledged records of older epochs stand, as far as these frames name them."""
    return [
        (opened.frame.gateway, older.epoch, older.acked) for opened in frames for older in opened.frame.older
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
