"""The MQTT road without a broker: what is on a topic that is none of ours, and what does not fit."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from cloud.ingest.batches import IngestReply
from cloud.ingest.service import INBOX_MAX, Ingest
from cloud.ingest.worker import ACKS_MAX, RETRY_S_MAX, MqttWorker
from cloud.kit.authority import Authority
from cloud.kit.clock import SystemClock
from cloud.kit.keyring import Keyring
from protocol.topics import Lane, topic
from tests.cloud.tls import door, now
from tests.proof.simulation.store import Model, at_once

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.kit.broker_door import BrokerDoor

GATEWAY = "ktm-drop-01"


@pytest.fixture
def ingest(tmp_path: Any) -> Ingest:
    """One that does not run: what it is offered stays."""
    model = Model(lambda _: asyncio.sleep(0), random.Random(1))
    keyring = Keyring.load_or_create(tmp_path / "keys")
    return Ingest(model, keyring, SystemClock(), secrets.token_bytes, aside=at_once)


@pytest.fixture
def road(ingest: Ingest, tmp_path: Any) -> MqttWorker:
    """One that never connects."""
    return MqttWorker(nowhere(tmp_path), ingest, SystemClock(), random.random)


def nowhere(folder: Path) -> BrokerDoor:
    return door(Authority.load_or_create(folder / "authority", now()), 1)


async def test_what_is_no_frame_of_a_gateway_is_passed_over(road: MqttWorker, ingest: Ingest) -> None:
    for name, payload in (
        ("somebody/elses/topic", b"x"),
        (topic(GATEWAY, Lane.UP), "text"),
        (topic(GATEWAY, Lane.TELEMETRY), b"x"),
        (topic(GATEWAY, Lane.STATUS), b"{}"),  # nobody asked for it
    ):
        await road._receive(name, payload)
    assert ingest._inbox.empty()


async def test_frames_beyond_a_full_inbox_are_dropped_and_counted(road: MqttWorker, ingest: Ingest) -> None:
    for _ in range(INBOX_MAX + 3):
        await road._receive(topic(GATEWAY, Lane.UP), b"x")
    assert ingest.counters.dropped == 3


async def test_acks_beyond_a_full_queue_are_dropped_and_counted_and_refusals_need_none(
    road: MqttWorker,
) -> None:
    replies = [IngestReply(b"ack")] * (ACKS_MAX + 2) + [IngestReply(None, "frame.chain")]
    for reply in replies:
        done: asyncio.Future[IngestReply] = asyncio.get_running_loop().create_future()
        done.set_result(reply)
        road._acknowledge(GATEWAY, done)
    assert (road.acks_dropped, road._acks.qsize()) == (2, ACKS_MAX)
    given_up: asyncio.Future[IngestReply] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    road._acknowledge(GATEWAY, given_up)
    assert road.acks_dropped == 2


async def test_a_broker_that_hangs_up_politely_is_called_again_at_once(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    called = 0

    class Patient(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waited.append(seconds)

    async def session(road: MqttWorker) -> None:
        nonlocal called
        called += 1
        if called in {2, 3, 4, 5}:
            raise aiomqtt.MqttError("away")
        if called == 7:
            raise asyncio.CancelledError

    monkeypatch.setattr(MqttWorker, "_session", session)
    road = MqttWorker(nowhere(tmp_path), ingest, Patient(), lambda: 1.0)
    with pytest.raises(asyncio.CancelledError):
        await road.run()
    assert waited == [0.5, 1.0, 2.0, 2.0, 2.0, 0.5]
    assert max(waited) == RETRY_S_MAX
