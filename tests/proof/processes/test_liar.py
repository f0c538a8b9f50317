from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from deploy.local.processes import free_port
from tests.proof.processes.liar import HONEST, Liar, Lies, matches
from tests.proof.processes.lies import LIED_TO, draw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DEADLINE_S = 10.0
PORT = free_port()
VERSIONS = (aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5)


@pytest.fixture
def liar() -> Iterator[Liar]:
    running = Liar({PORT: None}, "test")
    running.start()
    yield running
    running.close()


@contextlib.asynccontextmanager
async def listening(liar: Liar, version: aiomqtt.ProtocolVersion) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(
        "127.0.0.1", PORT, identifier="ear", protocol=version, timeout=DEADLINE_S
    ) as client:
        await client.subscribe("a/+/up", qos=1)
        yield client


async def say(liar: Liar, *payloads: bytes, topic: str = "a/b/up", retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", PORT, identifier="mouth") as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1, retain=retain, timeout=DEADLINE_S)


async def heard(client: aiomqtt.Client, count: int) -> list[bytes]:
    async with asyncio.timeout(DEADLINE_S):
        messages = [await anext(client.messages) for _ in range(count)]
        return [message.payload for message in messages if isinstance(message.payload, bytes)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_honest_liar_delivers_in_order_and_keeps_what_is_retained(
    liar: Liar, version: aiomqtt.ProtocolVersion
) -> None:
    await say(liar, b"kept", retain=True)
    async with listening(liar, version) as ear:
        await say(liar, b"1", b"2", b"3")
        assert await heard(ear, 4) == [b"kept", b"1", b"2", b"3"]
    assert liar.told.total() == 0


async def test_what_it_drops_is_puback_ed_and_never_comes(liar: Liar) -> None:
    async with listening(liar, VERSIONS[1]) as ear:
        liar.lies = Lies(drop=1.0)
        await say(liar, b"lost", b"lost, too")
        liar.lies = HONEST
        await say(liar, b"came")
        assert await heard(ear, 1) == [b"came"]
    assert liar.told == {"dropped": 2}


async def test_it_doubles_spoils_and_brings_up_old_stories(liar: Liar) -> None:
    async with listening(liar, VERSIONS[1]) as ear:
        liar.lies = Lies(double=1.0)
        await say(liar, b"twice")
        assert await heard(ear, 2) == [b"twice", b"twice"]
        liar.lies = Lies(corrupt=1.0)
        await say(liar, b"spoilt")
        (spoilt,) = await heard(ear, 1)
        assert sum((a ^ b).bit_count() for a, b in zip(spoilt, b"spoilt", strict=True)) == 1
        liar.lies = Lies(replay=1.0)
        await say(liar, b"new")
        assert b"new" in await heard(ear, 2)


async def test_it_delays_so_that_others_overtake_and_tells_everybody(liar: Liar) -> None:
    async with listening(liar, VERSIONS[1]) as ear:
        liar.lies = Lies(delay=1.0, delay_s=0.5)
        await say(liar, b"late")
        liar.lies = Lies(misroute=1.0)
        await say(liar, b"not yours", topic="somewhere/else")
        assert set(await heard(ear, 2)) == {b"late", b"not yours"}


async def test_when_it_forgets_everything_connections_and_what_was_kept_are_gone(liar: Liar) -> None:
    await say(liar, b"kept", retain=True)
    async with listening(liar, VERSIONS[1]) as ear:
        assert await heard(ear, 1) == [b"kept"]
        liar.lies = Lies(forget_s=0.1)
        with pytest.raises(aiomqtt.MqttError):
            await heard(ear, 1)
    liar.lies = HONEST
    async with listening(liar, VERSIONS[1]) as ear:
        await say(liar, b"first")
        assert await heard(ear, 1) == [b"first"]


def test_filters_take_what_mqtt_says_they_take() -> None:
    assert matches("a/+/up", "a/b/up")
    assert matches("a/#", "a/b/up")
    assert matches("a/#", "a")
    assert not matches("a/+/up", "a/b/c/up")
    assert not matches("a/+", "a/b/up")
    assert not matches("a/b/up", "a/b")


def test_a_split_counts_every_lie_once_and_the_same_seed_draws_the_same_lies() -> None:
    import random

    for count in (1, 40, 100, 20_000):
        assert sum(task.count for task in LIED_TO.split(count, 1)) == count
    assert draw(random.Random("1")) == draw(random.Random("1"))
    assert any(draw(random.Random(seed)) != draw(random.Random("1")) for seed in ("2", "3"))
