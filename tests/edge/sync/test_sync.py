from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cbor2
import pytest
from starlette.responses import HTMLResponse
from tenacity import AsyncRetrying, RetryCallState

from deploy.local.processes import free_port
from edge.errors import JournalError
from edge.sync.https import HttpsRoad
from edge.sync.roads import RoadError
from edge.sync.sync import Lane, Sync
from protocol.breaker import Breaker, BreakerSettings
from protocol.cose import Purpose, parse
from protocol.enrolment import build_enrolment
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import cloud_answer, mqtt, syncing, until, web

if TYPE_CHECKING:
    from protocol.acks import Ack
    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.tls_broker import Papers, TlsBroker


async def test_a_backlog_is_applied_once_and_in_order_over_mqtt(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(300)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 300)
        await gateway.fill(5)
        await until(lambda: gateway.journal.acked == 305)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_however_long_the_trouble_lasted_the_next_try_is_within_a_minute(
    gateway: Gateway, papers: Papers
) -> None:
    lane = Lane(mqtt(papers, 1), Breaker("mqtt", gateway.wiring.clock.monotonic))
    sync = Sync(gateway.wiring, [lane], max, 60.0)
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = 40
    state.set_exception((RoadError, RoadError("gone"), None))
    assert max(sync._wait_s(state) for _ in range(200)) <= 60


async def test_a_killed_broker_costs_nothing(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(50)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked > 0)
        broker.process.kill()
        await gateway.fill(100)
        broker.start()
        await until(lambda: gateway.journal.acked == 150)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_a_broker_without_a_cloud_behind_it_frees_nothing_and_opens_the_breaker(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill(10)
    quick = BreakerSettings(timeout_s=0.3, outcomes_min=2, open_s=60)
    async with syncing(gateway, mqtt(broker), settings=quick) as sync:
        await until(lambda: sync.lanes[0].breaker.state == "open")
    assert gateway.journal.acked == 0
    assert gateway.wiring.traffic.timeouts >= 2


async def test_https_takes_over_when_mqtt_is_blocked(gateway: Gateway, papers: Papers) -> None:
    await gateway.fill(200)
    quick = BreakerSettings(timeout_s=1, outcomes_min=1, open_s=60)
    async with web(cloud_answer(gateway.cloud)) as url:
        roads = (mqtt(papers, free_port()), HttpsRoad(url, GATEWAY))
        async with syncing(gateway, *roads, settings=quick):
            await until(lambda: gateway.journal.acked == 200)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_mqtt_is_taken_again_once_its_breaker_lets_a_trial_through(
    gateway: Gateway, broker: TlsBroker
) -> None:
    broker.process.kill()
    await gateway.fill(3)
    quick = BreakerSettings(timeout_s=1, outcomes_min=1, open_s=1)
    async with web(cloud_answer(gateway.cloud)) as url:
        roads = (mqtt(broker), HttpsRoad(url, GATEWAY))
        async with syncing(gateway, *roads, settings=quick) as sync:
            await until(lambda: gateway.journal.acked == 3)
            broker.start()
            async with gateway.cloud.on_broker(broker):
                await until(lambda: sync.road == "mqtt")
                await gateway.fill(3)
                await until(lambda: gateway.journal.acked == 6)


async def test_a_refused_gateway_keeps_its_data_and_says_why(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(3)
    certificates = broker.certificates()
    broker.revoke(certificates)
    async with syncing(gateway, mqtt(broker, credentials=broker.credentials(certificates))) as sync:
        await until(lambda: gateway.wiring.traffic.alarms.get("sync.certificate_refused", 0) > 0)
        assert "revoked" in sync.problem
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
async def test_an_ack_that_is_not_ours_frees_nothing(
    gateway: Gateway, broker: TlsBroker, forgery: str
) -> None:
    await gateway.fill(3)
    honest: list[bytes] = []

    def forge(ack: bytes) -> list[bytes]:
        honest.append(ack)
        return [_forged(gateway, ack, forgery)]

    gateway.cloud.answers = forge
    quick = BreakerSettings(timeout_s=0.3)
    async with (
        gateway.cloud.on_broker(broker),
        syncing(gateway, mqtt(broker), settings=quick),
    ):
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
    return gateway.cloud.key.sign(Purpose.ACK, cbor2.dumps(content))


async def test_an_ack_whose_digest_is_not_ours_is_refused_and_counted(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill(3)

    def forge(ack: bytes) -> list[bytes]:
        content = cbor2.loads(parse(ack).payload)
        content[4] = bytes(32)
        return [gateway.cloud.key.sign(Purpose.ACK, cbor2.dumps(content))]

    gateway.cloud.answers = forge
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.wiring.traffic.alarms.get("ack.mismatch", 0) > 0)
    assert gateway.journal.acked == 0


async def test_a_closed_epoch_is_carried_over_into_a_new_one(gateway: Gateway, broker: TlsBroker) -> None:
    from protocol.delivery import Cursor

    await gateway.fill(4)
    epoch = gateway.journal.epoch
    before = await gateway.journal.read(1, 1 << 20)
    gateway.cloud.cursors[GATEWAY, epoch] = Cursor(GATEWAY, epoch, 0, bytes(32), closed=True)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.epoch != epoch)
        await until(lambda: gateway.journal.acked == gateway.journal.head)
    carried = [cbor2.loads(data)[6] for data in gateway.delivered]
    assert [body[3] for body in carried[:4]] == before


async def test_a_restored_cloud_gets_again_what_it_forgot(gateway: Gateway, broker: TlsBroker) -> None:
    await gateway.fill(20)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 20)
        gateway.cloud.cursors.clear()
        gateway.cloud.applied.clear()
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 21 and len(gateway.delivered) == 21)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_acks_that_come_twice_late_and_out_of_order_move_nothing_back(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill_noise(300)
    history: list[bytes] = []

    def shuffled(ack: bytes) -> list[bytes]:
        history.append(ack)
        return [ack, *reversed(history[-4:]), ack]

    gateway.cloud.answers = shuffled
    epoch = gateway.journal.epoch
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 300)
    throughs = [ack.through for ack in gateway.acks]
    assert throughs == sorted(throughs)
    assert gateway.journal.epoch == epoch
    assert gateway.wiring.traffic.alarms == {}
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


@pytest.mark.parametrize("junk", [b"", b"\0" * 9_000, b"\0" * 1_000_000, b"\xd2\x84" * 100])
async def test_an_oversized_or_senseless_ack_is_counted_and_the_next_one_used(
    gateway: Gateway, broker: TlsBroker, junk: bytes
) -> None:
    await gateway.fill(3)
    gateway.cloud.answers = lambda ack: [junk[: 120 * 1024], ack]
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 3)
    assert sum(gateway.wiring.traffic.alarms.values()) >= 1


async def test_the_enrolment_goes_before_every_first_frame_until_an_ack_comes(
    gateway: Gateway, broker: TlsBroker
) -> None:
    enrolment = build_enrolment(GATEWAY, bytes(32), gateway.wiring.key)
    pending: list[bytes] = [enrolment]

    async def known(_ack: Ack) -> None:
        pending.clear()

    wiring = replace(gateway.wiring, enrolment=lambda: pending[0] if pending else None, acknowledged=known)
    gateway = replace(gateway, wiring=wiring)
    gateway.cloud.answers = lambda _ack: []
    quick = BreakerSettings(timeout_s=0.5)
    await gateway.fill(3)
    async with (
        gateway.cloud.on_broker(broker),
        syncing(gateway, mqtt(broker), settings=quick),
    ):
        await until(lambda: gateway.wiring.traffic.timeouts >= 1)
        gateway.cloud.answers = lambda ack: [ack]
        await until(lambda: gateway.journal.acked == 3)
        await gateway.fill(3)
        await until(lambda: gateway.journal.acked == 6)
    sent = ["enrolment" if data == enrolment else "frame" for data in gateway.cloud.envelopes]
    times = sent.count("enrolment")
    assert times >= 2
    assert sent == ["enrolment", "frame"] * times + ["frame"] * (len(sent) - 2 * times)


async def test_a_new_epoch_begun_by_somebody_else_is_followed_at_once(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill(3)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until(lambda: gateway.journal.acked == 3)
        await gateway.journal.new_epoch("by courier")
        await gateway.fill(2)
        await until(lambda: gateway.journal.acked == gateway.journal.head)
        await until(lambda: len(gateway.delivered) == gateway.journal.head)


async def test_an_ack_of_an_epoch_that_is_over_frees_nothing_of_the_next(gateway: Gateway) -> None:
    await gateway.fill(3)
    epoch = gateway.journal.epoch
    await gateway.journal.new_epoch("meanwhile")
    with pytest.raises(JournalError) as caught:
        await gateway.journal.acknowledge(3, 1_700_000_000_000, epoch)
    assert caught.value.code == "journal.epoch"
    assert gateway.journal.acked == 0


async def test_a_fault_of_ours_in_sync_is_counted_and_sync_goes_on(
    gateway: Gateway, broker: TlsBroker
) -> None:
    faults = iter([ZeroDivisionError("ours"), KeyError("ours too")])

    async def faulty(_ack: Ack) -> None:
        for fault in faults:
            raise fault

    gateway = replace(gateway, wiring=replace(gateway.wiring, acknowledged=faulty))
    await gateway.fill(3)
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)) as sync:
        await until(lambda: gateway.wiring.traffic.alarms.get("sync.fault") == 2)
        await until(lambda: sync.road == "mqtt")
        await gateway.fill(1)
        await until(lambda: gateway.journal.acked == 4)


async def test_a_cloud_that_contradicts_us_for_ever_is_asked_slowly(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill(3)

    def contradict(ack: bytes) -> list[bytes]:
        content = cbor2.loads(parse(ack).payload)
        content[4] = bytes(32)
        return [gateway.cloud.key.sign(Purpose.ACK, cbor2.dumps(content))]

    gateway.cloud.answers = contradict
    async with gateway.cloud.on_broker(broker), syncing(gateway, mqtt(broker)) as sync:
        await until(lambda: "contradict" in sync.problem)
        assert sync.lanes[0].rest_s(gateway.wiring.clock.monotonic()) > 20
    assert gateway.cloud.frames <= 4
    assert gateway.journal.acked == 0
