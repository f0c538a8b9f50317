"""When sync tries again, in virtual time: soon, but never in a hail of tries, and by another road at once."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge.clock import SystemClock
from edge.sync.https import HttpsRoad
from edge.sync.mqtt import MqttRoad, MqttSettings
from edge.sync.roads import RoadError, RoadName
from edge.sync.sync import Lane, Sync
from protocol.breaker import Breaker
from protocol.status import Status
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import cloud_answer, syncing, until, web

if TYPE_CHECKING:
    from edge.sync.roads import Link
    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.tls_broker import Papers


class SteppedClock(SystemClock):
    """Sleeping is what moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


class Reached(BaseException):
    """Somebody came through: the test has seen enough."""


class RoadDown(AbstractAsyncContextManager["Link"]):
    """Fails until `up_s`; remembers when it was tried."""

    def __init__(self, name: RoadName, clock: SteppedClock, up_s: float) -> None:
        self.name, self._clock, self._up_s = name, clock, up_s
        self.tries_s: list[float] = []

    def link(self, will: Status, silence_s_max: float) -> AbstractAsyncContextManager[Link]:
        return self

    async def __aenter__(self) -> Link:
        self.tries_s.append(self._clock.now_s)
        if self._clock.now_s >= self._up_s:
            raise Reached
        raise RoadError("connection refused")

    async def __aexit__(self, *_: object) -> None:
        """Never entered."""


async def until_through(gateway: Gateway, clock: SteppedClock, roads: list[RoadDown], seed: int) -> None:
    lanes = [Lane(road, Breaker(road.name, clock.monotonic)) for road in roads]
    sync = Sync(replace(gateway.wiring, clock=clock), lanes, random.Random(seed).uniform, spread_s=60.0)
    with pytest.raises(Reached):
        await sync.run()


async def test_a_broker_that_restarts_in_two_seconds_does_not_cost_half_a_minute(gateway: Gateway) -> None:
    """So many quick tries opened the breaker against a broker that was back a moment later."""
    for seed in range(300):
        clock = SteppedClock()
        road = RoadDown(RoadName.MQTT, clock, up_s=clock.now_s + 2.0)
        await until_through(gateway, clock, [road], seed)
        assert len(road.tries_s) <= 4
        assert road.tries_s[-1] - road.tries_s[0] < 10


async def test_a_road_that_works_does_not_wait_for_the_better_one_that_failed(gateway: Gateway) -> None:
    """The tries on a dead broker, and the budget they spend, are no reason to let the web road wait."""
    for seed in range(50):
        clock = SteppedClock()
        broken = RoadDown(RoadName.MQTT, clock, up_s=float("inf"))
        web_road = RoadDown(RoadName.HTTPS, clock, up_s=0.0)
        await until_through(gateway, clock, [broken, web_road], seed)
        assert len(broken.tries_s) == 5
        assert web_road.tries_s[0] - broken.tries_s[-1] <= 1.0


async def test_a_road_that_was_down_for_an_hour_is_tried_as_soon_as_its_breaker_rests_no_more(
    gateway: Gateway,
) -> None:
    """The waits between tries went on growing beside the breakers' rests: to a minute and a half in all."""
    for seed in range(50):
        clock = SteppedClock()
        road = RoadDown(RoadName.MQTT, clock, up_s=clock.now_s + 3_600.0)
        await until_through(gateway, clock, [road], seed)
        waits_s = [late - early for early, late in itertools.pairwise(road.tries_s[4:])]
        assert min(waits_s) >= 30.0
        assert max(waits_s) <= 36.0


async def test_what_is_delivered_pays_for_later_retries(gateway: Gateway) -> None:
    """A gateway that had a bad day once kept waiting half a minute after each later trouble, for weeks."""
    await gateway.fill(1)
    async with (
        web(cloud_answer(gateway.cloud)) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY)) as sync,
    ):
        budget = sync._budget
        while budget.spend():
            pass
        for count in range(2, 12):
            await until(lambda count=count: gateway.journal.acked == count - 1)  # type: ignore[misc]
            await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 11)
    assert budget.tokens >= 10


async def test_a_closed_connections_number_is_not_watched_for_its_successor(papers: Papers) -> None:
    """aiomqtt watches a turn later: by then the number may be the next one's, and the loop would spin."""
    credentials = papers.credentials()
    road = MqttRoad(MqttSettings(GATEWAY, "127.0.0.1", 1, credentials))
    client = road._client(Status(False, GATEWAY, 1, 1), 3.0, credentials.context())
    near, far = socket.socketpair()
    number = near.fileno()
    client._on_socket_register_write(client._client, None, near)
    near.close()
    with far, socket.socket() as successor:
        assert successor.fileno() == number
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not asyncio.get_running_loop().remove_writer(number)
