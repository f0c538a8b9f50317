"""Chooses the road, opens it, runs a session on it, and waits the right time before the next try.

One breaker a road, one retry budget a gateway, retries at this layer only. Intake never waits for any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from edge.errors import JournalError
from edge.supervision import end_all
from edge.sync.outbox import EpochClosed, Wiring, new_sender
from edge.sync.patience import OPENING_S_MAX, Patience
from edge.sync.roads import RoadError, RoadRefused, TakenOver, TwinFound
from edge.sync.session import LinkStalled, Session
from protocol.breaker import Breaker, BreakerOpen
from protocol.budget import RetryBudget
from protocol.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from edge.sync.roads import Road
    from protocol.delivery import Sender

_LOGGER = logging.getLogger("reloop.sync")
_RETRY_MAX_S = 60.0
"""Once the faults stop, nobody waits longer than this for the next try, however long they lasted."""
_RETRY_MIN_S = 1.0
"""So that a broker which is only restarting does not meet so many tries at once that our breaker opens."""
_DOUBLINGS_MAX = 16
"""Far beyond the longest wait: bounds a number, not the tries."""
_ROAD_LOOK_S = 1.0
_TWIN_WITHIN_S = 60.0
"""Two take-overs of our name in this time: the first may have been ourselves, come back by another way."""


class AllRoadsClosed(RoadError):  # noqa: N818 - a state, not a mistake
    """Every road's breaker is open: store only, until `retry_after_s` from now."""

    code = "sync.closed"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"no road is open; next try in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Lane:
    """A road with its breaker; a refused road rests until `rests_until_s` (monotonic seconds).

    `waits_for` says what has to come by another road before this one can be tried at all, or nothing.
    """

    road: Road
    breaker: Breaker
    rests_until_s: float = 0.0
    takeovers_s: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    waits_for: Callable[[], str] = lambda: ""
    acks_before: int = 0
    patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self.patience = Patience(self.breaker.settings.timeout_s)

    def rest_s(self, now_s: float) -> float:
        """Seconds until this road may be tried; 0.0 if now, infinite if nobody knows."""
        if self.waits_for():
            return math.inf
        return max(self.breaker.retry_after_s, self.rests_until_s - now_s, 0.0)


class Sync:
    """Keeps trying for ever. `lanes` in order of preference, `uniform(a, b)` a random number between.

    `spread_s`: after an established link was lost the first delay is uniform(0, spread_s), because a
    whole city may have lost its power with us.
    """

    def __init__(
        self,
        wiring: Wiring,
        lanes: Sequence[Lane],
        uniform: Callable[[float, float], float],
        spread_s: float,
    ) -> None:
        self._wiring = wiring
        self._lanes = list(lanes)
        self._uniform = uniform
        self._spread_s = spread_s
        self._budget = RetryBudget()
        self._sender: Sender | None = None
        self._in_use: tuple[Lane, Session] | None = None
        self._tried: Lane | None = None
        self._problem = "" if self._lanes else "no road to a cloud is configured"

    @property
    def road(self) -> str | None:
        """The road on which the cloud answers us, None while it does on none: what the kiosk calls offline.

        A connection alone proves nothing: a broker may stand there without a cloud.
        """
        if self._in_use is None or not self._in_use[1].delivered:
            return None
        return self._in_use[0].road.name

    @property
    def problem(self) -> str:
        """Why no road is in use, for people."""
        return "" if self.road else self._problem

    @property
    def lanes(self) -> Sequence[Lane]:
        """For metrics and the status command."""
        return self._lanes

    async def run(self) -> None:
        """Sync until cancelled."""
        while True:
            lost = False
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Exception),
                wait=self._wait_s,
                sleep=self._wiring.clock.sleep,
                stop=stop_never,
            ):
                with attempt:
                    self._tried = self._choose()
                    lost = await self._travel(self._tried)
            if lost:
                await self._wiring.clock.sleep(self._uniform(0, self._spread_s))

    def _choose(self) -> Lane:
        now_s = self._wiring.clock.monotonic()
        best = min(self._lanes, key=lambda lane: lane.rest_s(now_s), default=None)
        if best is None:
            raise AllRoadsClosed(_RETRY_MAX_S)
        for lane in self._lanes:
            if lane.rest_s(now_s) == 0:
                return lane
        self._problem = best.waits_for() or self._problem
        raise AllRoadsClosed(min(best.rest_s(now_s), _RETRY_MAX_S))

    async def _travel(self, lane: Lane) -> bool:
        """One session; whether its link was lost. Raises what ended it if it delivered nothing."""
        session: Session | None = None
        try:
            async with self._opened(lane) as session:
                await self._until_better(lane, session)
        except EpochClosed as closed:
            _LOGGER.warning("%s", closed)
            await self._begin_epoch(closed)
        except JournalError as error:
            # The journal repairs itself, maybe into a new epoch: begin again from what it says then.
            self._wiring.traffic.alarm(error.code)
            self._sender = None
            raise
        except TakenOver as taken:
            self._problem = str(taken)
            self._look_for_a_twin(lane, taken)
            raise
        except RoadRefused as refused:
            self._rest(lane, refused)
            if session is None or not session.delivered:
                raise
        except FrameError as error:
            self._sender = None
            if error.code != "frame.epoch":  # that one is news: somebody else began a new epoch
                self._problem = str(error)
                self._wiring.traffic.alarm(error.code)
                raise
        except (RoadError, BreakerOpen) as error:
            self._problem = str(error)
            _LOGGER.info("%s: %s", lane.road.name, error)
            if session is None or not session.delivered:
                raise
            return True
        except Exception as error:
            # A fault of ours. Intake never depends on sync, so it must not take the agent with it.
            self._problem = f"{type(error).__name__}: {error}"
            self._wiring.traffic.alarm("sync.fault")
            _LOGGER.exception("sync on %s begins again after a fault of ours", lane.road.name)
            self._sender = None
            raise
        finally:
            self._in_use = None
            self._budget.earn(session.acks if session else 0)
        return False

    async def _begin_epoch(self, closed: EpochClosed) -> None:
        """Carry over. A disk that has no room for everything keeps nobody from sending what is new."""
        try:
            await self._wiring.journal.new_epoch(closed.code, everything=closed.everything)
        except JournalError as error:
            self._wiring.traffic.alarm(error.code)
            if not closed.everything or self._sender is None:
                raise
            _LOGGER.warning("what the cloud has forgotten cannot be carried over: %s", error)
            self._sender.carries_all = False
        else:
            self._sender = None

    def _look_for_a_twin(self, lane: Lane, taken: TakenOver) -> None:
        now_s = self._wiring.clock.monotonic()
        lane.takeovers_s.append(now_s)
        if len(lane.takeovers_s) == 2 and now_s - lane.takeovers_s[0] <= _TWIN_WITHIN_S:
            twin = TwinFound(
                "another gateway uses our name and throws us off the broker; was a card or a bundle copied?"
            )
            self._rest(lane, twin)
            raise twin from taken

    @contextlib.asynccontextmanager
    async def _opened(self, lane: Lane) -> AsyncIterator[Session]:
        """Open the road; failing to is the breaker's business, succeeding is not yet: an ack decides."""
        trial = lane.breaker.state == "half-open"
        ticket = lane.breaker.admit(OPENING_S_MAX)
        began_s = self._wiring.clock.monotonic()
        try:
            async with lane.road.link(self._wiring.will(), lane.patience.silence_s_max) as link:
                ticket.neutral()
                lane.patience.opened(self._wiring.clock.monotonic() - began_s)
                session = Session(self._wiring, link, lane.breaker, lane.patience, self._sender_now())
                self._in_use = (lane, session)
                yield session
        except RoadRefused:
            ticket.neutral()
            raise
        except RoadError:
            ticket.failure()
            if trial and lane.acks_before == self._wiring.traffic.acks:
                lane.patience.longer()
            raise
        finally:
            ticket.neutral()
            lane.acks_before = self._wiring.traffic.acks

    async def _until_better(self, lane: Lane, session: Session) -> None:
        """Run the session; leave a lesser road once a better one may be tried again."""
        running = asyncio.create_task(session.run(), name="sync-session")
        better = self._lanes[: self._lanes.index(lane)]
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=_ROAD_LOOK_S if better else None)
                now_s = self._wiring.clock.monotonic()
                if not running.done() and any(other.rest_s(now_s) == 0 for other in better):
                    return
            running.result()
        finally:
            await end_all([running])

    def _sender_now(self) -> Sender:
        if self._sender is None or self._sender.epoch != self._wiring.journal.epoch:
            self._sender = new_sender(self._wiring.journal)
        return self._sender

    def _rest(self, lane: Lane, refused: RoadRefused) -> None:
        self._problem = str(refused)
        self._wiring.traffic.alarm(refused.code)
        _LOGGER.warning("%s refuses us and is left alone for a while: %s", lane.road.name, refused)
        now_s = self._wiring.clock.monotonic()
        lane.rests_until_s = now_s + self._uniform(refused.rest_s, 2 * refused.rest_s)

    def _wait_s(self, state: RetryCallState) -> float:
        """Full jitter above a floor, or what the breakers ask for; a retry that the budget cannot pay waits
        for them. Going over to another road is no retry, nor is the trial after a rest, which is enough.
        """
        error = state.outcome.exception() if state.outcome else None
        if self._another_road():
            return self._uniform(0, _RETRY_MIN_S)
        now_s = self._wiring.clock.monotonic()
        rest_s = min((lane.rest_s(now_s) for lane in self._lanes), default=_RETRY_MAX_S)
        if rest_s > 0:
            return rest_s * self._uniform(1.0, 1.2)
        most_s = min(_RETRY_MAX_S, _RETRY_MIN_S + 2.0 ** min(state.attempt_number - 1, _DOUBLINGS_MAX))
        jitter_s = self._uniform(_RETRY_MIN_S, most_s)
        if not self._budget.spend(timed_out=isinstance(error, LinkStalled)):
            return max(jitter_s, self._lanes[0].breaker.settings.open_s)
        return jitter_s

    def _another_road(self) -> bool:
        """Whether the road tried last rests now, and another does not."""
        now_s = self._wiring.clock.monotonic()
        resting = self._tried is not None and self._tried.rest_s(now_s) > 0
        return resting and any(lane.rest_s(now_s) == 0 for lane in self._lanes)
