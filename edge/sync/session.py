"""One session on one link: pumps the outbox up, takes acks and documents down, until the link fails.

Three tasks: the pump sends what the `Sender` plans, the receiver applies what comes, the watchdog ends
the session when neither an answer comes nor a byte leaves for as long as the road's patience lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.supervision import run_until_one_ends
from edge.sync.outbox import CloudForgot, EpochClosed, apply_ack, next_frame
from edge.sync.roads import AckArrived, RoadError, RoadRefused
from protocol.acks import Echo, open_ack
from protocol.breaker import Breaker, BreakerOpen, Ticket
from protocol.delivery import AckOutcome, Plan, Sender
from protocol.errors import FrameError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from edge.sync.outbox import Wiring
    from edge.sync.patience import Patience
    from edge.sync.roads import Link

_LOGGER = logging.getLogger("reloop.sync")
_LOOK_S = 0.25
_IDLE_S = 60.0
"""An idle session says hello and asks for documents this often."""
_REFUSED_OUTCOMES = {AckOutcome.FOREIGN, AckOutcome.MISMATCH, AckOutcome.STALE}
_MISMATCHES_MAX = 3
"""Acks that contradict our journal: the second answers what the first made us show. Then it is enough."""


class LinkStalled(RoadError):  # noqa: N818 - a state of the link, not a mistake of anyone's
    """Nothing moved for as long as the road's patience lasts."""

    code = "sync.stalled"


@dataclass(slots=True)
class _Flight:
    """A frame under way that ends at seq `last`; `silent_s` is the longest time in which nothing moved."""

    last: int
    ticket: Ticket
    began_s: float
    silent_s: float = 0.0


class Session:
    """Runs until the link fails or its breaker opens. `acks` counts those that were applied."""

    def __init__(
        self, wiring: Wiring, link: Link, breaker: Breaker, patience: Patience, sender: Sender
    ) -> None:
        self._wiring = wiring
        self._link = link
        self._breaker = breaker
        self._patience = patience
        self._sender = sender
        self._flights: deque[_Flight] = deque()  # bounded by the sender's window
        self._wake = asyncio.Event()
        self._sending = 0
        self._asked: list[str] = []
        self._mismatches = 0
        self._enrolled = False
        self._answers_due = False
        self._moved_s = self._now()
        self.acks = 0

    @property
    def delivered(self) -> bool:
        """Whether the cloud answered: any ack was applied."""
        return self.acks > 0

    async def run(self) -> None:
        """Pump until something fails. Raises RoadError, BreakerOpen or EpochClosed."""
        self._wiring.journal.on_append.append(self._appended)
        try:
            await run_until_one_ends(self._receive(), self._pump(), self._watch())
        except RoadError as error:
            self._failed(counts=not isinstance(error, RoadRefused))
            raise
        finally:
            self._wiring.journal.on_append.remove(self._appended)
            self._settle_all()
            self._sender.road_lost()

    def _failed(self, *, counts: bool) -> None:
        """One end of a link is one failure, however much was in flight; frames begin smaller after it.

        A far end that said no is no failure of the road.
        """
        if self._sender.in_flight:
            self._sender.stalled()
        if not counts:
            return
        if self._flights:
            self._flights.popleft().ticket.failure()
        else:
            with contextlib.suppress(BreakerOpen):
                self._breaker.admit().failure()

    def _appended(self, head: int) -> None:
        if self._wiring.journal.epoch == self._sender.epoch:
            self._sender.appended(head)
        self._wake.set()

    async def _pump(self) -> None:
        await self._ask_for_documents(again=True)
        idle_until_s = self._now() + _IDLE_S
        self._sender.appended(self._wiring.journal.head)
        plan = self._sender.plan() or self._sender.hello()
        while True:
            self._wake.clear()
            if self._wiring.journal.epoch != self._sender.epoch:
                raise FrameError("the journal began a new epoch", code="frame.epoch")
            if plan is not None and await self._send(plan):
                plan = self._sender.plan()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(idle_until_s - self._now()):
                    await self._wake.wait()
            plan = self._sender.plan()
            if self._now() >= idle_until_s:
                idle_until_s = self._now() + _IDLE_S
                await self._ask_for_documents(again=True)
                plan = plan or self._sender.hello()

    async def _send(self, plan: Plan) -> bool:
        """Send one frame; False if the half-open breaker's one trial is under way already.

        The ticket is taken last: a slow disk is no failure of the road.
        """
        if self._breaker.retry_after_s > 0 and self._flights:
            return False
        await self._enrol()
        frame, data = await next_frame(self._wiring, plan, self._sender.epoch)
        try:
            ticket = self._breaker.admit(self._patience.silence_s_max)
        except BreakerOpen:
            if not self._flights:
                raise
            return False
        self._flights.append(_Flight(frame.last, ticket, self._now()))
        self._sender.dispatched(frame.last, Echo(frame.sample.boot, frame.sample.mono_ms))
        self._wiring.traffic.sent(len(frame.records), len(data))
        await self._sent(self._link.send(data))
        return True

    async def _enrol(self) -> None:
        """Say who we are and what certificate we want, once. A no is no end: if the cloud does not know our
        key, it says so to the next frame.
        """
        enrolment = None if self._enrolled else self._wiring.enrolment()
        self._enrolled = True
        if enrolment is None:
            return
        self._answers_due = True
        try:
            await self._sent(self._link.send(enrolment))
        except RoadRefused as error:
            self._wiring.traffic.alarm("sync.enrolment_refused")
            _LOGGER.warning("the enrolment was refused: %s", error)

    async def _sent(self, sending: Coroutine[object, object, None]) -> None:
        self._sending += 1
        try:
            await sending
        finally:
            self._sending -= 1

    async def _receive(self) -> None:
        while True:
            item = await self._link.receive()
            self._progressed()
            if isinstance(item, AckArrived):
                await self._acknowledge(item.data)
                if self._answers_due and self.delivered:
                    self._answers_due = False
                    await self._ask_for_documents(again=True)
            else:
                await self._wiring.documents.arrived(item)
                await self._ask_for_documents(again=False)
            self._moved_s = self._now()  # what took us time to apply was no silence of the link's
            self._wake.set()

    async def _ask_for_documents(self, *, again: bool) -> None:
        wanted = self._wiring.documents.wanted
        if again or wanted != self._asked:
            self._asked = wanted
            try:
                if again:
                    await self._sent(self._link.announce(self._wiring.status()))
                if wanted:
                    await self._sent(self._link.fetch(wanted, self._wiring.status()))
            except RoadError as error:
                # Documents that cannot be had are no reason to keep weighings back. If the road is gone,
                # the next frame will say so.
                refused = isinstance(error, RoadRefused)
                self._wiring.traffic.alarm("document.refused" if refused else "document.unavailable")
                _LOGGER.warning("documents cannot be had: %s", error)

    async def _acknowledge(self, data: bytes) -> None:
        try:
            ack = open_ack(data, self._wiring.ack_key_for)
        except ProtocolError as error:
            self._wiring.traffic.alarm(error.code)
            _LOGGER.warning("an ack was refused: %s", error)
            return
        outcome = await apply_ack(ack, self._sender, self._wiring)
        if outcome in _REFUSED_OUTCOMES:
            self._contradicted(outcome)
            return
        self.acks += 1
        if outcome is AckOutcome.NEW_EPOCH:
            raise EpochClosed("the cloud closed this epoch; what it has not acknowledged is carried over")
        if outcome is AckOutcome.FORGOTTEN:
            raise CloudForgot("the cloud has lost older records; all that is kept is carried over")
        while self._flights and (self._flights[0].last <= ack.through or not self._sender.in_flight):
            flight = self._flights.popleft()
            flight.ticket.success()
            self._patience.answered(flight.silent_s)

    def _contradicted(self, outcome: AckOutcome) -> None:
        """Forget what flew before the sender began to show the cloud its own record; a bound on showing."""
        if outcome is not AckOutcome.MISMATCH or self._sender.in_flight:
            return
        self._settle_all()
        self._mismatches += 1
        if self._mismatches >= _MISMATCHES_MAX:
            raise RoadRefused("the cloud's acks contradict this journal, and it does not call that a fork")

    async def _watch(self) -> None:
        """End the session when nothing is heard and nothing leaves although something should."""
        moved = self._link.moved_bytes()
        while True:
            await self._wiring.clock.sleep(_LOOK_S)
            before, moved = moved, self._link.moved_bytes()
            idle = not self._sending and not self._sender.in_flight
            if idle or moved != before:
                self._progressed()
            silent_s = self._now() - self._moved_s
            if silent_s >= self._patience.silence_s_max:
                self._wiring.traffic.timeouts += 1
                raise LinkStalled(f"no byte left and no answer came for {silent_s:.0f} s")

    def _progressed(self) -> None:
        """Something moved, or nothing had to: what is in flight has its time again."""
        before_s, self._moved_s = self._moved_s, self._now()
        for flight in self._flights:
            flight.silent_s = max(flight.silent_s, self._moved_s - max(before_s, flight.began_s))
            flight.ticket.progress(self._patience.silence_s_max)

    def _settle_all(self) -> None:
        """Nothing was learnt from what is still in flight."""
        while self._flights:
            self._flights.popleft().ticket.neutral()

    def _now(self) -> float:
        return self._wiring.clock.monotonic()
