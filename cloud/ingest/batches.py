"""What travels through ingest: an arrival on its way to its answer, a batch on its way to its commit."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.ingest.decide import decide
from cloud.ingest.opening import Key, Refusal, open_frame
from cloud.ingest.views import Opened, Road, View
from protocol.acks import Quarantined

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence, Set
    from typing import Any

    from cloud.ingest.effects import Effects
    from cloud.ingest.views import EpochKey
    from protocol.cose import Envelope

GC_THRESHOLD = 100_000
SWITCH_INTERVAL_S = 0.001


@dataclass(frozen=True, slots=True)
class IngestReply:
    """What became of an envelope. `ack` is signed; without one, `code` says why (None: enrolled)."""

    ack: bytes | None
    code: str | None = None
    message: str = ""


@dataclass(slots=True)
class Arrival:
    """An envelope and who waits for what becomes of it. `tries` counts batches that failed with it."""

    data: bytes
    road: Road
    expected: str | None
    reply: asyncio.Future[IngestReply]
    envelope: Envelope | None = None
    opened: Opened | None = None
    tries: int = 0


@dataclass(slots=True)
class Batch:
    """Frames decided and packed for the storage; `arrivals` line up with the answers of `effects`."""

    arrivals: list[Arrival]
    view: View
    effects: Effects
    packed: Any


@dataclass(slots=True)
class Counters:
    """What this process has seen since it started."""

    frames: int = 0
    records: int = 0
    weighings: int = 0
    quarantined: int = 0
    refused: int = 0
    dropped: int = 0
    batches: int = 0
    stale: int = 0
    failures: int = 0
    lag_s: float = 0.0


def tune_interpreter() -> None:
    """Make this process fit for batches: thousands of rows at once, one thread packing while another waits.

    Rows are plain tuples without cycles, so collecting garbage every 700 of them only costs (a third of
    deciding, measured). A thread that waits for Postgres gets the interpreter back within a millisecond.
    """
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def open_all(arrivals: Sequence[Arrival], keys: Mapping[bytes, Key]) -> list[Opened | Refusal]:
    """Open every frame with the keys known; what cannot be opened is refused."""
    return [open_frame(each.envelope, keys.get, each.expected) for each in arrivals if each.envelope]


def decide_and_pack(
    frames: Sequence[Opened], view: View, suspects: Set[bytes], pack: Callable[[Effects, int], Any]
) -> tuple[Effects, Any]:
    """Decide, and make the effects ready for the storage whose `pack` this is."""
    effects = decide(frames, view, suspects)
    return effects, pack(effects, view.received_ms)


def held_by_epoch(effects: Effects) -> dict[EpochKey, list[Quarantined]]:
    """Quarantined records by the epoch that delivered them, at the seq where that epoch holds them."""
    carriers = {row[3]: (row[0], row[7], row[8]) for row in effects.records if row[7] is not None}
    held: dict[EpochKey, list[Quarantined]] = {}
    for row in effects.quarantine:
        gateway, epoch, seq = carriers.get(row.id, (row.gateway, row.epoch, row.seq))
        held.setdefault((gateway, epoch or 0), []).append(Quarantined(seq or 0, row.code))
    return held


def reply_to(arrival: Arrival, reply: IngestReply) -> None:
    """Answer an arrival, once."""
    if not arrival.reply.done():
        arrival.reply.set_result(reply)


def give_up(arrivals: Sequence[Arrival]) -> None:
    """Leave nobody waiting for a batch that is given up: without an ack the gateway sends it again."""
    for arrival in arrivals:
        reply_to(arrival, IngestReply(None, "ingest.failed", "the cloud could not take this; it is logged"))
