"""Records given up as lost that turn up after all: an old courier file, a card put back. Pure.

A gateway that pruned what the cloud never had says so, and the chain goes on behind the gap. When frames of
before come in later, what they bring of the gap is as good as ever if it joins the chain on either side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.ingest.views import Gap
from protocol.delivery import Fresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from protocol.delivery import Cursor
    from protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class Late:
    """What a frame brings of its epoch's gaps: records that join the chain, and records that join nothing.

    `gaps` is what is still missing.
    """

    fresh: tuple[Fresh, ...]
    strays: tuple[Fresh, ...]
    gaps: tuple[Gap, ...]


def noted(before: Cursor, frame: Frame) -> Gap:
    """The gap between a cursor and the frame with which its gateway goes on behind it."""
    after = frame.digests()[0] if frame.records else None
    return Gap(before.through + 1, frame.first - 1, before.digest, after)


def found(frame: Frame, gaps: Sequence[Gap]) -> Late:
    """What of `gaps` a frame brings."""
    fresh: list[Fresh] = []
    strays: list[Fresh] = []
    left: list[Gap] = []
    for gap in gaps:
        records = _between(frame, gap)
        if records and _joins(frame, gap):
            fresh += records
            left += rest(gap, records)
        else:
            strays += records
            left.append(gap)
    return Late(tuple(fresh), tuple(strays), tuple(left))


def _between(frame: Frame, gap: Gap) -> list[Fresh]:
    digests = frame.digests()
    begin, end = max(gap.first, frame.first), min(gap.last, frame.last)
    return [
        Fresh(seq, frame.records[seq - frame.first], digests[seq - frame.first])
        for seq in range(begin, end + 1)
    ]


def _joins(frame: Frame, gap: Gap) -> bool:
    """Whether the frame reaches to what is committed on one side of the gap, and agrees with it there."""
    chain = [frame.prev_digest, *frame.digests()]  # element i: after seq `frame.first - 1 + i`
    if frame.first <= gap.first and chain[gap.first - frame.first] == gap.before:
        return True
    return frame.last > gap.last and chain[gap.last + 2 - frame.first] == gap.after


def rest(gap: Gap, records: Sequence[Fresh]) -> Iterable[Gap]:
    """What a gap still is once these consecutive records of it are there."""
    begin, end = records[0], records[-1]
    if gap.first < begin.seq:
        yield Gap(gap.first, begin.seq - 1, gap.before, begin.digest)
    if end.seq < gap.last:
        yield Gap(end.seq + 1, gap.last, end.digest, gap.after)
