"""Safeguards taken away, to see that the simulation notices: each is one thing that somebody might break.

Only for tests: everything is put back by `monkeypatch`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cloud.ingest.project import Projector
from cloud.ingest.service import Ingest
from cloud.ingest.storage import StaleError
from edge.journal import carry, database
from edge.station import arming, deposit
from edge.station.events import Committed, Written
from edge.station.station import Station
from edge.sync.session import Session
from protocol import delivery
from protocol.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def ack_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The cloud answers, then commits."""

    async def attempt(self: Any, batch: Any, writer: Any, suspects: Any = frozenset()) -> None:
        for _ in range(20):
            try:
                await writer.apply(batch.effects, batch.packed, batch.view)
                self._answer_all(batch)
                await writer.commit()
            except StaleError:
                await writer.rollback()
                batch = await self._again(batch.arrivals, suspects)
            except BaseException:
                self._forget()
                raise
            else:
                return

    patch.setattr(Ingest, "_attempt", attempt)


def no_dedup_by_digest(patch: pytest.MonkeyPatch) -> None:
    """A record that was stored before is applied once more."""
    patch.setattr(Projector, "_repeated", lambda _self, _identity: False)


def saved_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The kiosk shows "saved", then the journal saves."""
    plain = Station._append

    async def append(self: Any, wanted: Any) -> None:
        written = tuple(Written(self._journal.head + n, "early", 0) for n in range(1, len(wanted) + 1))
        if isinstance(self._session, deposit.Deposit) and isinstance(
            self._session.pending, deposit.Recording
        ):
            self._both(Committed(written))
        await plain(self, wanted)

    patch.setattr(Station, "_append", append)


def half_open_token_lost(patch: pytest.MonkeyPatch) -> None:
    """A trial that is never settled keeps the breaker half-open for ever."""
    plain = Breaker.admit

    def admit(self: Any) -> Any:
        ticket = plain(self)
        if self._trial is ticket:
            ticket._deadline_s = 1e9
        return ticket

    def settle(self: Any, ticket: Any, outcome: Any) -> None:
        if ticket is not self._trial:
            plain_settle(self, ticket, outcome)

    plain_settle = Breaker._settle
    patch.setattr(Breaker, "admit", admit)
    patch.setattr(Breaker, "_settle", settle)


def no_sync(patch: pytest.MonkeyPatch) -> None:
    """Commits are not synced."""
    patch.setattr(database, "_FULL", 1)


def puback_is_a_receipt(patch: pytest.MonkeyPatch) -> None:
    """What the broker took counts as acknowledged."""
    plain = Session._send

    async def send(self: Any, plan: Any) -> bool:
        sent = await plain(self, plan)
        if sent and self._sender.sent > self._wiring.journal.acked:
            await self._wiring.journal.acknowledge(self._sender.sent)
        return sent

    patch.setattr(Session, "_send", send)


def gaps_are_taken(patch: pytest.MonkeyPatch) -> None:
    """A frame that leaves something out is taken as if nothing were missing."""
    plain = delivery.receive

    def receive(cursor: Any, frame: Any, known: Any) -> Any:
        if not cursor.closed and frame.first > cursor.through + 1:
            kept = delivery.Cursor(cursor.gateway, cursor.epoch, frame.first - 1, frame.prev_digest)
            return delivery._take(kept, frame, frame.digests(), 0)
        return plain(cursor, frame, known)

    patch.setattr("cloud.ingest.decide.receive", receive)


def forks_are_overlooked(patch: pytest.MonkeyPatch) -> None:
    """Digests are not compared where frames overlap."""
    plain = delivery._agreed
    patch.setattr(delivery, "_agreed", lambda c, f, d, skip, _same: plain(c, f, d, skip, True))


def acks_are_believed(patch: pytest.MonkeyPatch) -> None:
    """An ack counts whatever digest it names."""
    patch.setattr(delivery.Sender, "_agrees", lambda *_: True)


def nothing_is_carried(patch: pytest.MonkeyPatch) -> None:
    """A new epoch begins empty."""

    def none(sources: Any, taken: Any) -> Iterator[Any]:
        taken += sources
        yield from ()

    patch.setattr(carry, "_bodies", none)


def loads_count_again(patch: pytest.MonkeyPatch) -> None:
    """The plate need not be emptied between two captures."""
    plain = arming.captured
    patch.setattr(deposit, "captured", lambda gross_g: replace(plain(gross_g), armed=True))


def nothing_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    """What was in flight when the road was lost counts as sent."""
    patch.setattr(delivery.Sender, "road_lost", lambda self: self._flights.clear())


def poison_blocks(patch: pytest.MonkeyPatch) -> None:
    """A record that cannot be applied is an error of the whole batch."""

    def record(self: Any, seq: int, identity: bytes, data: bytes, record: Any) -> None:
        self._project(seq, identity, data, record)

    patch.setattr(Projector, "record", record)


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    """Whoever names a key is believed to have it."""
    patch.setattr("cloud.ingest.opening.verify", lambda envelope, _purpose, _key: envelope.payload)


SABOTAGES = (
    ack_before_commit,
    no_dedup_by_digest,
    saved_before_commit,
    half_open_token_lost,
    no_sync,
    puback_is_a_receipt,
    gaps_are_taken,
    forks_are_overlooked,
    acks_are_believed,
    nothing_is_carried,
    loads_count_again,
    nothing_is_sent_again,
    poison_blocks,
    nothing_is_verified,
)
