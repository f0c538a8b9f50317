"""The MQTT road over a real broker: acks come after the commit, and a killed broker changes nothing."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.ingest.worker import MqttWorker
from cloud.kit.authority import Authority
from cloud.kit.clock import SystemClock
from deploy.local.broker import Broker
from deploy.local.processes import free_port
from protocol.acks import open_ack
from protocol.topics import Lane, topic
from tests.cloud.ingest.test_exactly_once import PSEUDONYM
from tests.cloud.tls import TlsKey, door, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cloud.kit.broker_door import BrokerDoor
    from tests.cloud.ingest.conftest import Site

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


class Doors:
    """A mosquitto of our own, which can be killed, and whom it lets in."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder / "broker", free_port(), folder / "cloud")
        self.broker.start()
        self._authority = Authority.load_or_create(folder / "cloud" / "keys" / "authority", now())

    def start(self) -> None:
        self.broker.process.start()

    def kill(self) -> None:
        self.broker.process.kill()

    @property
    def inside(self) -> BrokerDoor:
        return door(self._authority, self.broker.inside_port)

    def gateway(self, name: str) -> aiomqtt.Client:
        """A connection with a certificate of this name."""
        tls = TlsKey.make()
        leaf = self._authority.certify(tls.csr, name, now())
        chain = [leaf.public_bytes(Encoding.DER), self._authority.issuer.der]
        context = tls.context(self._authority.root.der, chain)
        return aiomqtt.Client("127.0.0.1", self.broker.port, identifier=name, tls_context=context)


async def until(condition: Callable[[], bool], deadline_s: float = 10) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Doors]:
    doors = Doors(tmp_path)
    yield doors
    doors.kill()


async def deliver(site: Site, broker: Doors, frame: bytes) -> int:
    """Publish a frame as the gateway and send it again each second until its ack comes; `through`."""
    async with asyncio.timeout(20), broker.gateway(site.gateway.id) as client:
        await client.subscribe(topic(site.gateway.id, Lane.ACK), qos=1)
        while True:
            await client.publish(topic(site.gateway.id, Lane.UP), frame, qos=1)
            try:
                async with asyncio.timeout(1):
                    message = await anext(client.messages)
            except TimeoutError:
                continue
            assert isinstance(message.payload, bytes)
            return open_ack(message.payload, lambda _: site.keyring.ack.public).through


async def test_frames_by_mqtt_are_credited_and_acked_through_a_broker_that_dies(
    site: Site, broker: Doors
) -> None:
    told: list[tuple[str, bytes]] = []

    async def on_status(gateway: str, payload: bytes) -> None:
        told.append((gateway, payload))

    worker = MqttWorker(broker.inside, site.ingest, SystemClock(), random.Random(1).random, on_status)
    running = asyncio.create_task(worker.run())
    try:
        await until(worker.connected.is_set)
        site.gateway.visit()
        assert await deliver(site, broker, site.gateway.frame()) == 3
        broker.kill()
        await until(lambda: not worker.connected.is_set())
        broker.start()
        await until(worker.connected.is_set)
        site.gateway.visit()
        assert await deliver(site, broker, site.gateway.frame()) == 6
        async with broker.gateway(site.gateway.id) as client:
            await client.publish(topic(site.gateway.id, Lane.STATUS), b"{}", qos=1)
        await until(lambda: told == [(site.gateway.id, b"{}")])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert worker.sessions >= 2
    assert site.balance(PSEUDONYM) == 24_000


async def test_a_frame_on_a_neighbours_topic_is_refused(site: Site, broker: Doors) -> None:
    worker = MqttWorker(broker.inside, site.ingest, SystemClock(), random.random)
    running = asyncio.create_task(worker.run())
    try:
        await until(worker.connected.is_set)
        site.gateway.visit()
        async with broker.gateway("ktm-drop-02") as client:
            await client.publish(topic("ktm-drop-02", Lane.UP), site.gateway.frame(), qos=1)
        await until(lambda: site.ingest.counters.refused == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert site.rows("SELECT code, road FROM refusals") == [("frame.wrong_gateway", "mqtt")]


async def test_an_ack_that_the_broker_does_not_take_in_time_stops_none_behind_it(
    site: Site, broker: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = aiomqtt.Client.publish
    stumbled: list[str] = []

    async def stumbling(client: aiomqtt.Client, name: str, payload: bytes, qos: int) -> None:
        if name.endswith("/ack") and not stumbled:
            stumbled.append(name)
            raise aiomqtt.MqttError("Operation timed out")
        await real(client, name, payload, qos=qos)

    monkeypatch.setattr(aiomqtt.Client, "publish", stumbling)
    worker = MqttWorker(broker.inside, site.ingest, SystemClock(), random.random)
    running = asyncio.create_task(worker.run())
    try:
        await until(worker.connected.is_set)
        site.gateway.visit()
        assert await deliver(site, broker, site.gateway.frame()) == 3
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (worker.sessions, worker.acks_dropped, len(stumbled)) == (1, 1, 1)


class Hasty(SystemClock):
    """Remembers how long it was to sleep, and does not; after enough of it, ends."""

    def __init__(self, enough: int) -> None:
        super().__init__()
        self.slept_s: list[float] = []
        self._enough = enough

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if len(self.slept_s) >= self._enough:
            raise asyncio.CancelledError


async def test_frames_are_not_lost_for_half_a_minute_after_a_broker_was_long_away(
    site: Site, tmp_path: Path
) -> None:
    """Everybody's frames are taken and forgotten by the broker until the ingest listens again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clock = Hasty(12)
    authority = Authority.load_or_create(tmp_path / "authority", now())
    worker = MqttWorker(door(authority, port), site.ingest, clock, lambda: 1.0)
    with pytest.raises(asyncio.CancelledError):
        await worker.run()
    assert max(clock.slept_s) <= 2.0
