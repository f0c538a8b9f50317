"""What seldom happens while records are sent: breakers that open midway, faults between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from starlette.responses import Response

from deploy.local.processes import free_port
from edge.clock import SystemClock
from edge.errors import JournalError
from edge.sync.https import HttpsRoad
from edge.sync.outbox import apply_ack, new_sender, next_frame
from edge.sync.patience import Patience
from edge.sync.roads import AckArrived, RoadError, RoadName, RoadRefused
from edge.sync.session import Session
from edge.sync.sync import AllRoadsClosed, Lane, Sync
from protocol import VERSION
from protocol.acks import Ack, Echo, Quarantined, Verdict
from protocol.breaker import Breaker, BreakerOpen, BreakerSettings
from protocol.delivery import AckOutcome, Plan
from protocol.errors import FrameError
from protocol.status import Status
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import cloud_answer, syncing, until, web

if TYPE_CHECKING:
    from starlette.requests import Request

    from edge.sync.roads import Downlink
    from tests.edge.sync.conftest import Gateway

WILL = Status(False, GATEWAY, 1, 1)
QUICK = BreakerSettings(outcomes_min=1, open_s=30)


class Wire:
    """A link in memory to a cloud that answers at once, or when `answers` is set again."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._items: asyncio.Queue[Downlink] = asyncio.Queue()
        self.answers = True
        self.sent = self.announced = 0

    async def send(self, envelope: bytes) -> None:
        self.sent += 1
        if self.answers:
            for ack in self._gateway.cloud.take(envelope):
                self._items.put_nowait(AckArrived(ack))

    async def announce(self, status: Status) -> None:
        self.announced += 1

    async def fetch(self, names: list[str], status: Status) -> None:
        raise AssertionError("nothing is offered")

    async def receive(self) -> Downlink:
        return await self._items.get()

    def moved_bytes(self) -> int:
        return self.sent


def session_on(gateway: Gateway, wire: Wire, breaker: Breaker) -> Session:
    return Session(gateway.wiring, wire, breaker, Patience(3.0), new_sender(gateway.journal))


def trip(breaker: Breaker) -> None:
    while breaker.retry_after_s == 0:
        breaker.admit().failure()


async def test_no_frame_is_sent_on_a_road_whose_breaker_is_open(gateway: Gateway) -> None:
    await gateway.fill(1)
    wire, breaker = Wire(gateway), Breaker("road", gateway.wiring.clock.monotonic, QUICK)
    trip(breaker)
    with pytest.raises(BreakerOpen):
        await session_on(gateway, wire, breaker).run()
    assert wire.sent == 0


class Tripping(SystemClock):
    """Opens the breaker, if it is `armed`, when a frame is stamped: the last moment before it is let out."""

    def __init__(self, breaker: Breaker) -> None:
        super().__init__()
        self._breaker = breaker
        self.armed = False
        self.tripped = asyncio.Event()

    def wall_ms(self) -> int:
        if self.armed:
            trip(self._breaker)
            self.tripped.set()
        return super().wall_ms()


@pytest.mark.parametrize("midway", [False, True], ids=["before", "while the next frame is made"])
async def test_a_breaker_that_opens_while_frames_are_under_way_lets_no_more_out(
    gateway: Gateway, midway: bool
) -> None:
    wire, breaker = Wire(gateway), Breaker("road", gateway.wiring.clock.monotonic, QUICK)
    clock = Tripping(breaker)
    gateway = replace(gateway, wiring=replace(gateway.wiring, clock=clock))
    running = asyncio.create_task(session_on(gateway, wire, breaker).run())
    for count in (1, 2, 3):  # so that the window grows
        await gateway.fill(1)
        await until(lambda count=count: gateway.journal.acked == count)  # type: ignore[misc]
    wire.answers = False
    sent = wire.sent
    await gateway.fill(1)
    await until(lambda: wire.sent == sent + 1)
    if midway:
        clock.armed = True
        await gateway.fill(1)
        await asyncio.wait_for(clock.tripped.wait(), 10)
    else:
        trip(breaker)
        await gateway.fill(2)
    await asyncio.sleep(0.1)  # time enough for what must not happen
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert wire.sent == sent + 1


class Leaping(SystemClock):
    """Runs `ahead_s` before the world's."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


async def test_a_road_that_was_idle_for_a_minute_is_told_anew_what_is_held(gateway: Gateway) -> None:
    clock = Leaping()
    gateway = replace(gateway, wiring=replace(gateway.wiring, clock=clock))
    wire = Wire(gateway)
    running = asyncio.create_task(session_on(gateway, wire, Breaker("road", clock.monotonic)).run())
    await gateway.fill(1)
    await until(lambda: gateway.journal.acked == 1)
    assert wire.announced == 1
    clock.ahead_s = 61.0
    await gateway.fill(1)
    await until(lambda: wire.announced == 2 and gateway.journal.acked == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (JournalError("no room", code="journal.full"), "journal.full"),
        (FrameError("nothing is held", code="frame.pruned"), "frame.pruned"),
        (FrameError("a new epoch", code="frame.epoch"), None),
    ],
)
async def test_what_the_journal_cannot_do_now_is_told_and_tried_again(
    gateway: Gateway, fault: Exception, told: str | None
) -> None:
    faults = iter([fault])

    async def faulty(_ack: Ack) -> None:
        for each in faults:
            raise each

    gateway = replace(gateway, wiring=replace(gateway.wiring, acknowledged=faulty))
    await gateway.fill(3)
    async with web(cloud_answer(gateway.cloud)) as url, syncing(gateway, HttpsRoad(url, GATEWAY)):
        await until(lambda: gateway.journal.acked == 3)
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 4)
    alarms = gateway.wiring.traffic.alarms
    assert {code for code in alarms if not code.startswith("document.")} == ({told} if told else set())


async def test_with_no_road_or_none_rested_it_is_said_when_to_try_again(gateway: Gateway) -> None:
    nowhere = Sync(gateway.wiring, [], lambda low, high: low, spread_s=0.1)
    with pytest.raises(AllRoadsClosed) as caught:
        nowhere._choose()
    assert caught.value.retry_after_s == 60
    clock = gateway.wiring.clock
    breaker = Breaker(RoadName.HTTPS, clock.monotonic, QUICK)
    trip(breaker)
    lanes = [Lane(HttpsRoad("http://127.0.0.1:1", GATEWAY), breaker)]
    with pytest.raises(AllRoadsClosed) as caught:
        Sync(gateway.wiring, lanes, lambda low, high: low, spread_s=0.1)._choose()
    assert 25 < caught.value.retry_after_s <= 30


async def test_a_road_that_waits_for_another_is_looked_at_within_a_minute(gateway: Gateway) -> None:
    lane = Lane(HttpsRoad("http://127.0.0.1:1", GATEWAY), Breaker(RoadName.HTTPS, lambda: 0.0))
    lane.waits_for = lambda: "a certificate"
    with pytest.raises(AllRoadsClosed) as caught:
        Sync(gateway.wiring, [lane], lambda low, high: low, spread_s=0.1)._choose()
    assert caught.value.retry_after_s == 60


async def test_a_frame_planned_for_what_is_not_held_or_for_another_epoch_is_not_made(
    gateway: Gateway,
) -> None:
    await gateway.fill(2)
    epoch = gateway.journal.epoch
    with pytest.raises(FrameError) as caught:
        await next_frame(gateway.wiring, Plan(9, 4096), epoch)
    assert caught.value.code == "frame.pruned"
    with pytest.raises(FrameError) as caught:
        await next_frame(gateway.wiring, Plan(1, 4096), epoch + 1)
    assert caught.value.code == "frame.epoch"


async def test_what_the_cloud_holds_back_is_remembered_with_its_reason(gateway: Gateway) -> None:
    await gateway.fill(2)
    sender = new_sender(gateway.journal)
    frame, _ = await next_frame(gateway.wiring, Plan(1, 4096), gateway.journal.epoch)
    echo = Echo(frame.sample.boot, frame.sample.mono_ms)
    sender.dispatched(frame.last, echo)
    head = await gateway.journal.digest_at(2)
    assert head is not None
    ack = Ack(
        VERSION, GATEWAY, gateway.journal.epoch, 2, head, None, Verdict.OK,
        [Quarantined(2, "record.malformed")], 4, 1_700_000_000_000, echo,
    )  # fmt: skip
    assert await apply_ack(ack, sender, gateway.wiring) is AckOutcome.ADVANCED
    assert gateway.journal.journal.quarantine() == {2: "record.malformed"}


async def test_an_empty_answer_is_no_ack_and_a_closed_door_is_no_road() -> None:
    def empty(request: Request, body: bytes) -> Response:
        return Response(b"", media_type="application/cose")

    async with web(empty) as url, HttpsRoad(url, GATEWAY).link(WILL, 3.0) as link:
        await link.send(b"an enrolment")
        assert link._answers.empty()
    async with HttpsRoad(f"http://127.0.0.1:{free_port()}", GATEWAY).link(WILL, 3.0) as link:
        with pytest.raises(RoadError, match="failed"):
            await link.send(b"a frame")


async def test_a_long_explanation_of_a_refusal_is_cut() -> None:
    def wordy(request: Request, body: bytes) -> Response:
        return Response("no, " * 50_000, status_code=403)

    async with web(wordy) as url, HttpsRoad(url, GATEWAY).link(WILL, 3.0) as link:
        with pytest.raises(RoadRefused) as caught:
            await link.send(b"a frame")
    assert len(str(caught.value)) < 500
