"""Links that are slow, silent, cut, shared or refused: what counts as a failure, and that all of it heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from starlette.responses import Response

from deploy.local.processes import free_port
from edge.sync.https import HttpsRoad
from protocol.breaker import BreakerSettings
from protocol.status import read_status
from protocol.topics import Lane, topic
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import Proxy, cloud_answer, mqtt, syncing, until, web

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.tls_broker import Papers, TlsBroker

SLOW_BYTES_PER_S = 2_000  # 16 kbit/s


async def all_of_it(gateway: Gateway) -> list[bytes]:
    return await gateway.journal.read(1, 1 << 20)


async def test_a_slow_broker_link_is_kept_as_long_as_bytes_move(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill_noise(200)  # frames of 2, 4 and 8 KiB: the last takes longer than the time limit
    async with (
        gateway.cloud.on_broker(broker),
        Proxy(broker.port, SLOW_BYTES_PER_S) as link,
        syncing(gateway, mqtt(broker, link.port)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 200)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
    assert max(map(len, gateway.cloud.envelopes)) > 3 * SLOW_BYTES_PER_S
    assert gateway.wiring.traffic.timeouts == 0
    assert gateway.delivered == await all_of_it(gateway)


async def test_a_slow_web_link_is_kept_as_long_as_bytes_move(gateway: Gateway) -> None:
    await gateway.fill_noise(200)
    async with (
        web(cloud_answer(gateway.cloud)) as url,
        Proxy(int(url.rpartition(":")[2]), SLOW_BYTES_PER_S) as link,
        syncing(gateway, HttpsRoad(f"http://127.0.0.1:{link.port}", GATEWAY)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 200)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
    assert max(map(len, gateway.cloud.envelopes)) > 3 * SLOW_BYTES_PER_S
    assert gateway.wiring.traffic.timeouts == 0


@pytest.mark.parametrize("cause", ["link", "broker"])
async def test_silence_is_given_up_but_not_before_three_seconds_and_counted_once(
    gateway: Gateway, broker: TlsBroker, cause: str
) -> None:
    async with (
        gateway.cloud.on_broker(broker),
        Proxy(broker.port) as link,
        syncing(gateway, mqtt(broker, link.port)) as sync,
    ):
        await gateway.fill_noise(100)
        await until(lambda: gateway.journal.acked == 100)
        await silence(link, broker, cause)
        began_s = time.monotonic()
        await gateway.fill_noise(400)
        await until(lambda: gateway.wiring.traffic.timeouts == 1)
        assert time.monotonic() - began_s > 2.5
        await until(lambda: sync.lanes[0].breaker.snapshot()["failures"] > 0)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 1
        link.silent = False
        os.kill(broker.process.pid, signal.SIGCONT)
        await until(lambda: gateway.journal.acked == 500)
    assert gateway.delivered == await all_of_it(gateway)


async def silence(link: Proxy, broker: TlsBroker, cause: str) -> None:
    if cause == "link":
        link.silent = True
    else:
        os.kill(broker.process.pid, signal.SIGSTOP)


async def test_a_broker_that_never_answers_the_connection_is_a_failure(
    gateway: Gateway, broker: TlsBroker
) -> None:
    quick = BreakerSettings(timeout_s=0.5, outcomes_min=2, open_s=60)
    async with Proxy(broker.port) as link:
        link.silent = True
        async with syncing(gateway, mqtt(broker, link.port, timeout_s=0.2), settings=quick) as sync:
            await until(lambda: sync.lanes[0].breaker.state == "open")
            assert sync.road is None


@pytest.mark.parametrize("said", [b"", b"\x20\x03\x00\x00\x00"], ids=["at once", "before it subscribed us"])
async def test_weighings_do_not_wait_for_a_broker_that_hung_up_while_the_link_was_being_opened(
    gateway: Gateway, papers: Papers, said: bytes
) -> None:
    """Each reset of a flapping link cost ten seconds, in which it was up again."""
    await gateway.fill(3)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        await writer.drain()
        if said:
            await reader.readuntil(b"/ack")
        writer.close()

    broker = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=papers.server())
    port = broker.sockets[0].getsockname()[1]
    quick = BreakerSettings(outcomes_min=1, open_s=60)
    async with (
        broker,
        web(cloud_answer(gateway.cloud)) as url,
        syncing(
            gateway, mqtt(papers, port, timeout_s=1000.0), HttpsRoad(url, GATEWAY), settings=quick
        ) as sync,
    ):
        await until(lambda: gateway.journal.acked == 3)
        assert sync.road == "https"


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_cloud_that_fails_opens_the_breaker_of_its_road(gateway: Gateway, status: int) -> None:
    await gateway.fill(3)
    quick = BreakerSettings(outcomes_min=2, open_s=60)
    async with (
        web(lambda _request, _body: Response(status_code=status)) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY), settings=quick) as sync,
    ):
        await until(lambda: sync.lanes[0].breaker.state == "open")
        assert f"{status}" in sync.problem
    assert gateway.journal.acked == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429])
async def test_a_refusal_is_no_failure_of_the_road(gateway: Gateway, status: int) -> None:
    await gateway.fill(3)
    said = "no\r\nMAINPID=1 <b>\x1b[31mred</b>"
    async with (
        web(lambda _request, _body: Response(said, status_code=status)) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: sync.problem != "")
        assert sync.problem == f"POST frames was refused with {status}: no MAINPID=1 <b> [31mred</b>"
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
        assert sync.lanes[0].rests_until_s > time.monotonic()
    assert gateway.journal.acked == 0


async def test_a_weighing_is_not_lost_when_a_cloud_refuses_it_after_it_took_others(gateway: Gateway) -> None:
    """The road rests, and then is asked again: with what was refused, and nothing twice."""
    take, refusing = cloud_answer(gateway.cloud), False

    def answer(request: Request, body: bytes) -> Response:
        nonlocal refusing
        if refusing and request.method == "POST":
            refusing = False
            return Response(status_code=413)
        return take(request, body)

    async with web(answer) as url, syncing(gateway, HttpsRoad(url, GATEWAY)) as sync:
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 1)
        refusing = True
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 2)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
    assert gateway.wiring.traffic.alarms["sync.too_large"] == 1
    assert len(gateway.delivered) == 2


async def test_documents_that_fail_hold_back_no_weighing(gateway: Gateway) -> None:
    await gateway.fill(3)

    def answer(request: Request, body: bytes) -> Response:
        if request.method == "GET":
            return Response(status_code=500)
        return cloud_answer(gateway.cloud)(request, body)

    async with web(answer) as url, syncing(gateway, HttpsRoad(url, GATEWAY)):
        await until(lambda: gateway.journal.acked == 3)
    assert gateway.wiring.traffic.alarms["document.unavailable"] > 0


async def test_an_endless_answer_is_not_read_to_its_end(gateway: Gateway) -> None:
    await gateway.fill(3)
    endless = b"\0" * (8 << 20)
    async with (
        web(lambda _request, _body: Response(endless, media_type="application/cose")) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: "more than" in sync.problem)
    assert gateway.journal.acked == 0


async def test_a_gateway_that_may_not_publish_keeps_its_data_and_names_the_code(
    gateway: Gateway, broker: TlsBroker
) -> None:
    allow(broker, "pattern write reloop/v1/%u/status")
    await gateway.fill(3)
    async with syncing(gateway, mqtt(broker)) as sync:
        await until(lambda: gateway.wiring.traffic.alarms.get("sync.refused", 0) > 0)
        assert "0x87" in sync.problem
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
    assert gateway.journal.acked == 0


async def test_a_gateway_that_may_not_hear_acks_frees_nothing(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(3)
    broker.rules = "user cloud\ntopic readwrite reloop/v1/#\n"
    broker.restart()
    quick = BreakerSettings(timeout_s=0.3, outcomes_min=1)
    async with (
        gateway.cloud.on_broker(broker),
        syncing(gateway, mqtt(broker), settings=quick) as sync,
    ):
        await until(lambda: sync.problem != "")
    assert gateway.journal.acked == 0


def allow(broker: TlsBroker, *rules: str) -> None:
    """Restart the broker with these rights for gateways, beside hearing what is theirs."""
    hear = "pattern read reloop/v1/%u/ack\npattern read reloop/v1/%u/doc/+\n"
    cloud = "user cloud\ntopic readwrite reloop/v1/#\n"
    broker.rules = cloud + hear + "\n".join(rules) + "\n"
    broker.restart()


async def test_a_broker_that_takes_small_messages_only_gets_small_frames(
    gateway: Gateway, broker: TlsBroker
) -> None:
    broker.message_bytes_max = 3_000
    broker.restart()
    await gateway.fill_noise(80)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 80)
    assert gateway.delivered == await all_of_it(gateway)


async def test_mqtt_3_1_1_is_enough(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(100)
    road = mqtt(broker, version=4)
    async with gateway.cloud.on_broker(broker), syncing(gateway, road) as sync:
        await until(lambda: gateway.journal.acked == 100)
        assert sync.road == "mqtt"
    assert gateway.delivered == await all_of_it(gateway)


async def test_a_connection_that_is_not_wanted_is_a_refusal_on_3_1_1_too(
    gateway: Gateway, papers: Papers
) -> None:
    async def not_authorised(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"\x20\x02\x00\x05")
        writer.close()

    listening = await asyncio.start_server(not_authorised, "127.0.0.1", 0, ssl=papers.server())
    port = listening.sockets[0].getsockname()[1]
    async with listening, syncing(gateway, mqtt(papers, port, version=4)) as sync:
        await until(lambda: gateway.wiring.traffic.alarms.get("sync.refused", 0) > 0)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0


async def test_a_twin_that_a_broker_hides_drives_us_to_https_all_the_same(
    gateway: Gateway, broker: TlsBroker
) -> None:
    """Mosquitto 2.0.11 only hangs up on whoever was there first; that opens the breaker in the end."""
    await gateway.fill(3)
    async with (
        gateway.cloud.on_broker(broker),
        web(cloud_answer(gateway.cloud)) as url,
        syncing(gateway, mqtt(broker), HttpsRoad(url, GATEWAY)) as sync,
    ):
        breaker, traffic, acks = sync.lanes[0].breaker, gateway.wiring.traffic, 0
        while breaker.state == "closed":
            # Each session is acked at once: only then is ours the connection that is taken over.
            await until(lambda: traffic.acks > acks or breaker.state != "closed")  # noqa: B023 - awaited at once
            acks, before = traffic.acks, breaker.snapshot()["failures"]
            await take_over(broker)
            await until(lambda: breaker.snapshot()["failures"] > before)  # noqa: B023 - awaited at once
        await gateway.fill(3)
        await until(lambda: gateway.journal.acked == 6)
        assert sync.road == "https"


async def test_two_take_overs_within_a_minute_are_a_twin_and_https_goes_on(
    gateway: Gateway, papers: Papers
) -> None:
    await gateway.fill(3)
    twin = await asyncio.start_server(take_over_soon, "127.0.0.1", 0, ssl=papers.server())
    port = twin.sockets[0].getsockname()[1]
    async with (
        twin,
        web(cloud_answer(gateway.cloud)) as url,
        syncing(gateway, mqtt(papers, port), HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 3)
        assert gateway.wiring.traffic.alarms["sync.twin"] == 1
        assert sync.lanes[0].rests_until_s > time.monotonic() + 60


async def take_over_soon(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that speaks just enough MQTT 5 to say that another client took our place (0x8E)."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind, length = await reader.readexactly(2)
            if length >= 128:
                length += 128 * ((await reader.readexactly(1))[0] - 1)
            packet = await reader.readexactly(length)
            if kind >> 4 == 1:
                writer.write(b"\x20\x03\x00\x00\x00")
            elif kind >> 4 == 8:
                writer.write(b"\x90\x04" + packet[:2] + b"\x00\x01")
            else:
                writer.write(b"\xe0\x01\x8e")
                break
    writer.close()


async def take_over(broker: TlsBroker) -> None:
    """What a copied card does."""
    async with broker.twin():
        pass


async def test_one_take_over_is_no_twin(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(3)
    async with (
        gateway.cloud.on_broker(broker),
        syncing(gateway, mqtt(broker)) as sync,
    ):
        await until(lambda: sync.road == "mqtt")
        await take_over(broker)
        await until(lambda: sync.road is None)
        await until(lambda: sync.road == "mqtt")
    assert "sync.twin" not in gateway.wiring.traffic.alarms


async def test_birth_and_last_will_are_retained_through_stops_and_restarts(
    gateway: Gateway, broker: TlsBroker
) -> None:
    async with gateway.cloud.on_broker(broker):
        for _ in range(2):
            async with syncing(gateway, mqtt(broker)) as sync:
                await gateway.fill(1)
                await until(lambda: sync.road == "mqtt")
                await until_online(broker, online=True)
            await until_online(broker, online=False)


async def until_online(broker: TlsBroker, *, online: bool) -> None:
    """Wait until the retained status says so to whoever comes new."""
    async with asyncio.timeout(20):
        while True:
            async with broker.inside() as client:
                await client.subscribe(topic(GATEWAY, Lane.STATUS))
                message = await anext(client.messages)
                assert isinstance(message.payload, bytes)
                if read_status(message.payload).online is online:
                    return


async def test_an_unreachable_cloud_and_a_nonsense_address_never_end_the_sync(
    gateway: Gateway, papers: Papers
) -> None:
    await gateway.fill(1)
    roads = (
        mqtt(papers, free_port()),
        HttpsRoad("http://[::", GATEWAY),
    )
    quick = BreakerSettings(outcomes_min=1)
    async with syncing(gateway, *roads, settings=quick) as sync:
        await until(lambda: "no connection to the broker" in sync.problem)
        await until(lambda: "is not the address of a cloud" in sync.problem)
    assert gateway.journal.acked == 0
