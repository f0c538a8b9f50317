from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import cbor2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from deploy.local.processes import free_port
from edge.sync.https import HttpsRoad
from edge.sync.mqtt import MqttRoad, MqttSettings
from edge.sync.sync import Lane, Sync
from protocol.breaker import Breaker, BreakerSettings
from protocol.cose import parse
from tests.edge.sync.conftest import GATEWAY, PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from deploy.local.broker import Broker
    from edge.sync.roads import Road
    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.plain_cloud import PlainCloud

DEADLINE_S = 30.0


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not reached():
            await asyncio.sleep(0.02)


def mqtt(port: int, password: str = PASSWORD) -> MqttRoad:
    return MqttRoad(MqttSettings(GATEWAY, "127.0.0.1", port, GATEWAY, password))


@contextlib.asynccontextmanager
async def syncing(
    gateway: Gateway, *roads: Road, settings: BreakerSettings | None = None
) -> AsyncIterator[Sync]:
    clock = gateway.wiring.clock
    lanes = [Lane(road, Breaker(road.name, clock.monotonic, settings)) for road in roads]
    sync = Sync(gateway.wiring, lanes, lambda low, high: low + (high - low) / 10, spread_s=0.1)
    task = asyncio.create_task(sync.run())
    try:
        yield sync
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def web(answer: Callable[[Request, bytes], Response]) -> AsyncIterator[str]:
    async def frames(request: Request) -> Response:
        return answer(request, await request.body())

    app = Starlette(routes=[Route("/{path:path}", frames, methods=["GET", "POST"])])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def cloud_answer(cloud: PlainCloud) -> Callable[[Request, bytes], Response]:
    def answer(request: Request, body: bytes) -> Response:
        if request.method == "GET":
            return Response(status_code=404)
        return Response(b"".join(cloud.take(body)), media_type="application/cose")

    return answer


async def test_a_backlog_is_applied_once_and_in_order_over_mqtt(gateway: Gateway, broker: Broker) -> None:
    await gateway.fill(300)
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: gateway.journal.acked == 300)
        await gateway.fill(5)
        await until(lambda: gateway.journal.acked == 305)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_a_killed_broker_costs_nothing(gateway: Gateway, broker: Broker) -> None:
    await gateway.fill(50)
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: gateway.journal.acked > 0)
        broker.process.kill()
        await gateway.fill(100)
        broker.start()
        await until(lambda: gateway.journal.acked == 150)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_a_broker_without_a_cloud_behind_it_frees_nothing_and_opens_the_breaker(
    gateway: Gateway, broker: Broker
) -> None:
    await gateway.fill(10)
    quick = BreakerSettings(timeout_s=0.3, outcomes_min=2, open_s=60)
    async with syncing(gateway, mqtt(broker.port), settings=quick) as sync:
        await until(lambda: sync.lanes[0].breaker.state == "open")
    assert gateway.journal.acked == 0
    assert gateway.wiring.traffic.timeouts >= 2


async def test_https_takes_over_when_mqtt_is_blocked(gateway: Gateway) -> None:
    await gateway.fill(200)
    quick = BreakerSettings(timeout_s=1, outcomes_min=1, open_s=60)
    async with web(cloud_answer(gateway.cloud)) as url:
        roads = (mqtt(free_port()), HttpsRoad(url, GATEWAY))
        async with syncing(gateway, *roads, settings=quick):
            await until(lambda: gateway.journal.acked == 200)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_mqtt_is_taken_again_once_its_breaker_lets_a_trial_through(
    gateway: Gateway, broker: Broker
) -> None:
    broker.process.kill()
    await gateway.fill(3)
    quick = BreakerSettings(timeout_s=1, outcomes_min=1, open_s=1)
    async with web(cloud_answer(gateway.cloud)) as url:
        roads = (mqtt(broker.port), HttpsRoad(url, GATEWAY))
        async with syncing(gateway, *roads, settings=quick) as sync:
            await until(lambda: gateway.journal.acked == 3)
            broker.start()
            async with gateway.cloud.on_broker(broker.port, PASSWORD):
                await until(lambda: sync.road == "mqtt")
                await gateway.fill(3)
                await until(lambda: gateway.journal.acked == 6)


async def test_a_refused_gateway_keeps_its_data_and_says_why(gateway: Gateway, broker: Broker) -> None:
    await gateway.fill(3)
    async with syncing(gateway, mqtt(broker.port, "wrong")) as sync:
        await until(lambda: gateway.wiring.traffic.alarms.get("sync.refused", 0) > 0)
        assert "refuses" in sync.problem
    assert gateway.journal.acked == 0
    assert len(await gateway.journal.read(1, 1 << 20)) == 3


async def test_a_captive_portal_is_not_the_cloud(gateway: Gateway) -> None:
    await gateway.fill(3)
    async with (
        web(lambda _request, _body: HTMLResponse("<h1>Please log in</h1>")) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: "not by the cloud" in sync.problem)
    assert gateway.journal.acked == 0


@pytest.mark.parametrize("forgery", ["neighbour", "yesterday", "flipped", "unsigned"])
async def test_an_ack_that_is_not_ours_frees_nothing(gateway: Gateway, broker: Broker, forgery: str) -> None:
    await gateway.fill(3)
    honest: list[bytes] = []

    def forge(ack: bytes) -> list[bytes]:
        honest.append(ack)
        return [_forged(gateway, ack, forgery)]

    gateway.cloud.answers = forge
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: sum(gateway.wiring.traffic.alarms.values()) > 0)
        assert gateway.journal.acked == 0
        gateway.cloud.answers = lambda ack: [ack]
        await until(lambda: gateway.journal.acked == 3)


def _forged(gateway: Gateway, ack: bytes, forgery: str) -> bytes:
    content = cbor2.loads(parse(ack).payload)
    match forgery:
        case "neighbour":
            content[1] = "ktm-drop-02"
        case "yesterday":
            content[2] += 1
        case "flipped":
            return ack[:-1] + bytes([ack[-1] ^ 1])
        case _:
            return b"\xd2\x84" + ack[2:40]
    from protocol.cose import Purpose

    return gateway.cloud.key.sign(Purpose.ACK, cbor2.dumps(content))


async def test_an_ack_whose_digest_is_not_ours_is_refused_and_counted(
    gateway: Gateway, broker: Broker
) -> None:
    await gateway.fill(3)

    def forge(ack: bytes) -> list[bytes]:
        content = cbor2.loads(parse(ack).payload)
        content[4] = bytes(32)
        from protocol.cose import Purpose

        return [gateway.cloud.key.sign(Purpose.ACK, cbor2.dumps(content))]

    gateway.cloud.answers = forge
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: gateway.wiring.traffic.alarms.get("ack.mismatch", 0) > 0)
    assert gateway.journal.acked == 0


async def test_a_closed_epoch_is_carried_over_into_a_new_one(gateway: Gateway, broker: Broker) -> None:
    from protocol.delivery import Cursor

    await gateway.fill(4)
    epoch = gateway.journal.epoch
    before = await gateway.journal.read(1, 1 << 20)
    gateway.cloud.cursors[GATEWAY, epoch] = Cursor(GATEWAY, epoch, 0, bytes(32), closed=True)
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: gateway.journal.epoch != epoch)
        await until(lambda: gateway.journal.acked == gateway.journal.head)
    carried = [cbor2.loads(data)[6] for data in gateway.delivered]
    assert [body[3] for body in carried[:4]] == before


async def test_a_restored_cloud_gets_again_what_it_forgot(gateway: Gateway, broker: Broker) -> None:
    await gateway.fill(20)
    async with gateway.cloud.on_broker(broker.port, PASSWORD), syncing(gateway, mqtt(broker.port)):
        await until(lambda: gateway.journal.acked == 20)
        gateway.cloud.cursors.clear()
        gateway.cloud.applied.clear()
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 21 and len(gateway.delivered) == 21)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)
