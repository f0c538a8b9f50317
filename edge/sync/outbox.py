"""The journal's side of every road: frames out of the outbox, acks into it.

Owns: what a session, the courier and the tests all need to build frames and apply acks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from protocol import VERSION
from protocol.delivery import AckOutcome, Plan, Sender
from protocol.errors import FrameError, ProtocolError
from protocol.frames import (
    FRAME_EXPANDED_BYTES_MAX,
    OLDER_BYTES_MAX,
    OLDER_MAX,
    ClockSample,
    Frame,
    build_frame,
    fitting,
)
from protocol.records import next_digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge.clock import Clock
    from edge.journal import AsyncJournal
    from edge.sync.downlink import Documents
    from edge.sync.echoes import Echoes
    from protocol.acks import Ack
    from protocol.cose import SigningKey
    from protocol.status import Status

_EXPANSION_MAX = 12
"""Deflate's best on a backlog of like records: bounds what is read to fill one frame."""
_HEADER_ALLOWANCE = 4096


class EpochClosed(ProtocolError):  # noqa: N818 - an event, and nobody's mistake
    """The cloud closed this epoch, or knows more of it than we do: carry over into a new one."""

    code = "sync.epoch_closed"
    everything = False


class CloudForgot(EpochClosed):
    """The cloud was restored from before older epochs: carry all that is kept into a new one."""

    code = "sync.cloud_forgot"
    everything = True


@dataclass(slots=True)
class Traffic:
    """Counters of what travelled; they only grow."""

    frames: int = 0
    records: int = 0
    bytes_up: int = 0
    acks: int = 0
    timeouts: int = 0
    alarms: dict[str, int] = field(default_factory=dict)  # one entry per code the protocol knows

    def sent(self, records: int, size_bytes: int) -> None:
        """A frame of so many records left."""
        self.frames += 1
        self.records += records
        self.bytes_up += size_bytes

    def alarm(self, code: str) -> None:
        """Count something an operator should see."""
        self.alarms[code] = self.alarms.get(code, 0) + 1


@dataclass(frozen=True, slots=True)
class Wiring:
    """What moving the outbox needs. `ack_key_for` maps a key id to one of the cloud's ack keys.

    `enrolment` gives the envelope to send first, or None once the cloud is known to know our key.
    """

    journal: AsyncJournal
    documents: Documents
    clock: Clock
    key: SigningKey
    ack_key_for: Callable[[bytes], bytes | None]
    status: Callable[[], Status]
    will: Callable[[], Status]
    enrolment: Callable[[], bytes | None]
    acknowledged: Callable[[Ack], Awaitable[None]]
    traffic: Traffic
    echoes: Echoes


def new_sender(journal: AsyncJournal) -> Sender:
    """A sender that starts at what is acknowledged."""
    return Sender(journal.gateway, journal.epoch, journal.acked, journal.head)


async def next_frame(wiring: Wiring, plan: Plan, epoch: int) -> tuple[Frame, bytes]:
    """Build the planned frame: its content and its signed bytes.

    A cloud that asks for records pruned long ago gets the oldest ones held instead, and is told so
    by `first_kept`. Raises FrameError `frame.pruned` if nothing is held, `frame.epoch` if the journal
    has left `epoch`, for which it was planned.
    """
    journal = wiring.journal
    first = max(plan.first, journal.first_kept)
    bytes_max = min(plan.bytes_max * _EXPANSION_MAX, FRAME_EXPANDED_BYTES_MAX - _HEADER_ALLOWANCE)
    records = await journal.read(first, bytes_max)
    previous = await journal.digest_at(first - 1)
    older = (await journal.older())[-OLDER_MAX:]
    if previous is None:
        raise FrameError(f"what precedes record {first} is no longer in the journal", code="frame.pruned")
    if journal.epoch != epoch:
        raise FrameError("the journal began a new epoch; the session begins again", code="frame.epoch")
    clock = wiring.clock
    sample = ClockSample(journal.boot, clock.mono_ms(), clock.wall_ms(), clock.quality())

    def build() -> tuple[Frame, bytes]:
        chosen = records[: fitting(records, plan.bytes_max - OLDER_BYTES_MAX * len(older))]
        head = previous
        for data in chosen:
            head = next_digest(head, data)
        kept = min(journal.first_kept, first)
        frame = Frame(VERSION, journal.gateway, epoch, first, kept, previous, head, sample, chosen, older)
        return frame, build_frame(frame, wiring.key)

    return await asyncio.to_thread(build)


async def apply_ack(ack: Ack, sender: Sender, wiring: Wiring) -> AckOutcome:
    """Let the sender judge an ack and the journal keep what it says; counts what is refused."""
    digest = await wiring.journal.digest_at(ack.through)
    outcome = sender.ack(ack, lambda _: digest, wiring.journal.first_kept)
    match outcome:
        case AckOutcome.ADVANCED | AckOutcome.REPEATED | AckOutcome.REWOUND | AckOutcome.FORGOTTEN:
            wiring.traffic.acks += 1
            await wiring.journal.acknowledge(ack.through, ack.server_time_ms, ack.epoch)
            for held in ack.quarantined:
                await wiring.journal.quarantined(held.seq, held.code)
            await wiring.acknowledged(ack)
        case AckOutcome.FOREIGN | AckOutcome.MISMATCH:
            wiring.traffic.alarm(f"ack.{outcome}")
        case AckOutcome.STALE | AckOutcome.NEW_EPOCH:
            pass
        case _:
            assert_never(outcome)
    return outcome
