"""The delivery session: `Sender` on the gateway, `receive` in the cloud; both sans-IO.

Over any network that drops, repeats, reorders and restarts either side, every appended record is
applied once, in order. Go-back-N with cumulative signed acks:

  Sender                                                   Receiver (cursor at t, digest d)
  event                        does                        frame                       answers
  ---------------------------  --------------------------  --------------------------  -------------------
  room in window, unsent > 0   send [sent+1 ..]            closed epoch                FORKED
  session begins, none unsent  send the last one again     (no row of its own: one of those below)
  ack through > acked, d ok    acked, double frame size    first > t+1, older are kept GAP expect t+1
  ack expect = t+1, in flight  rewind to t                 first > t+1 = first_kept    take all, note loss
  ack FORKED, echo ours        ask for a new epoch         first = t+1, prev = d       take all
  ack through > head           ask for a new epoch         first = t+1, prev ≠ d       FORKED
  ack d differs, echo ours     alarm, send from t          overlaps t, digest at t = d take the rest
  ack older than acked         ignore                      overlaps t, digest at t ≠ d FORKED
  no progress in time          rewind to acked, halve      last ≤ t, digest known      duplicate: ack t
  road lost                    rewind to acked             last ≤ t, digest differs    FORKED
  ack says forgot, echo ours   carry all into a new epoch  older epoch not whole to acked says forgot
  ack names missing we hold    carry all into a new epoch  gap behind the cursor       names its last seq

A record carried out of another epoch moves that epoch's cursor (t, d) as if it had come by itself:

  seq = t+1, previous digest = d     the cursor moves on    something else stands there   FORKED
  seq = t+1, previous digest ≠ d     FORKED                 seq ≤ t, nothing stands there taken
  seq > t+1                          taken, note the loss   the epoch is closed           taken, FORKED

Does not own: signatures, storage, roads, or time: what counts as progress is the pump's to watch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from protocol.acks import Ack, Echo, Verdict
from protocol.frames import FRAME_BYTES_MAX, FRAME_BYTES_MIN, Frame, Older
from protocol.records import genesis_digest

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_MAX = 4
"""Frames in flight at most; the cloud may ask for fewer."""
_ECHOES_KEPT = 64


class AckOutcome(StrEnum):
    """What an ack meant to the sender."""

    ADVANCED = "advanced"
    REPEATED = "repeated"
    REWOUND = "rewound"
    STALE = "stale"
    """Older than what is acknowledged already: a replay, or a late one. Ignored."""
    FOREIGN = "foreign"
    """For another gateway or epoch. Ignored, counted."""
    MISMATCH = "mismatch"
    """Its digest is not ours: nothing is acknowledged. Alarmed; what differs is sent, to be called a fork."""
    NEW_EPOCH = "new_epoch"
    """The cloud has closed this epoch, or knows more of it than we do: carry over into a new one."""
    FORGOTTEN = "forgotten"
    """Taken; but the cloud has lost records that we hold acknowledged: carry all into a new epoch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Permission to send one frame: from `first`, of at most `bytes_max` bytes on the wire."""

    first: int
    bytes_max: int


@dataclass(slots=True)
class Sender:
    """Decides what to send next for one epoch. Seqs are of that epoch.

    `acked` is the last seq the cloud has committed, `head` the last one appended. `carries_all` false: the
    journal could not carry everything into a new epoch, and is not asked to again.
    """

    gateway: str
    epoch: int
    acked: int
    head: int
    window: int = 1
    frame_bytes: int = FRAME_BYTES_MIN
    carries_all: bool = True
    sent: int = field(init=False)
    _flights: deque[tuple[int, Echo]] = field(default_factory=deque)
    _echoes: deque[Echo] = field(default_factory=lambda: deque(maxlen=_ECHOES_KEPT))

    def __post_init__(self) -> None:
        self.sent = self.acked

    @property
    def backlog(self) -> int:
        """Records appended and not acknowledged."""
        return self.head - self.acked

    @property
    def in_flight(self) -> int:
        """Frames sent and not acknowledged."""
        return len(self._flights)

    def appended(self, head: int) -> None:
        """The journal now ends at `head`."""
        self.head = max(self.head, head)

    def plan(self) -> Plan | None:
        """What to send now, or None while the window is full or nothing is left."""
        if self.sent >= self.head or len(self._flights) >= self.window:
            return None
        return Plan(self.sent + 1, self.frame_bytes)

    def hello(self) -> Plan | None:
        """What to send when a session begins, and now and then while idle: the last record again.

        A cloud that was restored, or a twin's fork, then answers so, and is not left to wait for the next
        record. In a new epoch that is a frame without records, which speaks of the older ones. None if there
        is something to plan, or something in flight.
        """
        if self.sent < self.head or self._flights:
            return None
        return Plan(max(self.head, 1), self.frame_bytes)

    def dispatched(self, last: int, echo: Echo) -> None:
        """A frame ending at `last` and carrying the clock sample `echo` left on a road."""
        self.sent = last
        self.head = max(self.head, last)  # the journal may have grown since `appended` was last told
        self._flights.append((last, echo))
        self._echoes.append(echo)

    def stalled(self) -> None:
        """What is in flight made no progress in time: rewind, halve the frame size, one at a time."""
        self.frame_bytes = max(FRAME_BYTES_MIN, self.frame_bytes // 2)
        self.window = 1
        self.road_lost()

    def road_lost(self) -> None:
        """Whatever was in flight may be gone: go back to the last acknowledged record."""
        self.sent = self.acked
        self._flights.clear()

    def ack(self, ack: Ack, digest_at: Callable[[int], bytes | None], first_kept: int = 1) -> AckOutcome:
        """Apply a verified ack. `digest_at(seq)` is the journal's digest, None if it is not held.

        `first_kept` is the first seq that is held: what a twin carried may have moved a restored cloud's
        cursor over records which it had lost and we hold acknowledged, and so would not send by ourselves.
        """
        if ack.gateway != self.gateway or ack.epoch != self.epoch:
            return AckOutcome.FOREIGN
        ours = self.answers(ack)
        if ack.verdict is Verdict.FORKED or ack.through > self.head:
            return AckOutcome.NEW_EPOCH if ours else AckOutcome.STALE
        if ack.through < self.acked and not (ours and ack.expect == ack.through + 1):
            return AckOutcome.STALE
        if not self._agrees(ack, digest_at):
            if ours:
                self._contradict(ack.through)
            return AckOutcome.MISMATCH
        outcome = self._apply(ack)
        asked = ack.forgot or ack.missing >= max(first_kept, 1)
        return AckOutcome.FORGOTTEN if asked and ours and self.carries_all else outcome

    def _contradict(self, through: int) -> None:
        """Show the cloud our own record `through` next: its answer, FORKED, ends this epoch on both sides.

        Else a restored image whose unsent records begin like the cloud's would send those for ever.
        """
        self.road_lost()
        self.sent = max(through - 1, 0)

    def answers(self, ack: Ack) -> bool:
        """Whether the ack answers a frame dispatched here lately: only then may it set a clock."""
        return ack.echo in self._echoes

    def _agrees(self, ack: Ack, digest_at: Callable[[int], bytes | None]) -> bool:
        if ack.through == 0:
            return ack.head_digest == genesis_digest(self.gateway, self.epoch)
        known = digest_at(ack.through)
        # A record pruned long ago can only be named by a cloud that went back: it says where it stands.
        return ack.head_digest == known if known is not None else ack.through < self.acked

    def _apply(self, ack: Ack) -> AckOutcome:
        before, self.acked = self.acked, ack.through
        flying = any(echo == ack.echo for _, echo in self._flights)
        while self._flights and self._flights[0][0] <= ack.through:
            self._flights.popleft()
        if ack.expect is not None and (flying or ack.through < before):
            self.road_lost()
            return AckOutcome.REWOUND
        self.sent = max(self.sent, ack.through)
        self.window = min(ack.window, self.window + 1, WINDOW_MAX)
        if ack.through == before:
            return AckOutcome.REPEATED
        self.frame_bytes = min(FRAME_BYTES_MAX, self.frame_bytes * 2)
        return AckOutcome.ADVANCED


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the cloud has committed one epoch of one gateway; `digest` is the chain's at `through`."""

    gateway: str
    epoch: int
    through: int
    digest: bytes
    closed: bool = False

    @classmethod
    def start(cls, gateway: str, epoch: int) -> Cursor:
        """The cursor of an epoch of which nothing is known."""
        return cls(gateway, epoch, 0, genesis_digest(gateway, epoch))


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """A record that extends the chain: apply it."""

    seq: int
    data: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """What to do with a frame: the cursor to commit, the records to apply, what to answer.

    `lost` is a range of seqs (first, last) that the gateway no longer holds and the cloud never got.
    """

    verdict: Verdict
    cursor: Cursor
    fresh: tuple[Fresh, ...] = ()
    expect: int | None = None
    lost: tuple[int, int] | None = None


def receive(cursor: Cursor, frame: Frame, known: Callable[[int], bytes | None]) -> Received:
    """Decide on one verified frame of the cursor's gateway and epoch.

    `known(seq)` is the committed digest at seq ≤ cursor.through, None if that record is not stored;
    it is asked only for `frame.first - 1` and `frame.last`.
    """
    through = cursor.through
    if cursor.closed:
        return Received(Verdict.FORKED, cursor)
    if frame.first > through + 1:
        if frame.first > frame.first_kept:
            return Received(Verdict.GAP, cursor, expect=through + 1)
        kept = Cursor(cursor.gateway, cursor.epoch, frame.first - 1, frame.prev_digest)
        return replace(_take(kept, frame, frame.digests(), 0), lost=(through + 1, frame.first - 1))
    digests = frame.digests()
    if frame.last < through:
        stored = known(frame.last) if frame.records else known(frame.first - 1)
        return _agreed(cursor, frame, digests, len(digests), stored in {None, frame.head_digest})
    skip = through - frame.first + 1
    at_cursor = digests[skip - 1] if skip else frame.prev_digest
    return _agreed(cursor, frame, digests, skip, at_cursor == cursor.digest)


def receive_carried(cursor: Cursor, seq: int, previous: bytes, digest: bytes, *, taken: bool) -> Received:
    """Decide on a record that stood at `seq` of the cursor's epoch and travelled in another; it is new here.

    `taken`: another record is stored at its place. FORKED: what it is worth, a person decides.
    """
    through = cursor.through
    if cursor.closed:
        return Received(Verdict.FORKED, cursor)
    if taken or (seq == through + 1 and previous != cursor.digest):
        return Received(Verdict.FORKED, replace(cursor, closed=True))
    if seq <= through:
        return Received(Verdict.OK, cursor)
    lost = (through + 1, seq - 1) if seq > through + 1 else None
    return Received(Verdict.OK, replace(cursor, through=seq, digest=digest), lost=lost)


def forgot(frame: Frame, has: Callable[[Older], bool]) -> bool:
    """Whether the cloud once acknowledged more of older epochs than it has now.

    `has(older)`: all up to `older.acked` is here without a gap, and `older.record` is among it.
    """
    return any(each.acked and not has(each) for each in frame.older)


def _agreed(cursor: Cursor, frame: Frame, digests: list[bytes], skip: int, same: bool) -> Received:
    if same:
        return _take(cursor, frame, digests, skip)
    closed = Cursor(cursor.gateway, cursor.epoch, cursor.through, cursor.digest, closed=True)
    return Received(Verdict.FORKED, closed)


def _take(cursor: Cursor, frame: Frame, digests: list[bytes], skip: int) -> Received:
    fresh = tuple(
        Fresh(frame.first + index, frame.records[index], digests[index])
        for index in range(skip, len(frame.records))
    )
    if not fresh:
        return Received(Verdict.OK, cursor)
    moved = Cursor(cursor.gateway, cursor.epoch, fresh[-1].seq, fresh[-1].digest)
    return Received(Verdict.OK, moved, fresh)
