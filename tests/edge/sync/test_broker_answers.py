"""Where the broker is, and what it may answer that a mosquitto seldom or never does."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from edge.config import CloudSettings
from edge.identity import Identity
from edge.sync.mqtt import MqttLink, MqttRoad, MqttSettings, mqtt_settings
from edge.sync.progress import moved_bytes
from edge.sync.roads import AckArrived, RoadError, RoadRefused, TakenOver
from protocol.bundle import Broker as Offered
from protocol.status import Status
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import mqtt, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.edge.sync.tls_broker import Papers

WILL = Status(False, GATEWAY, 1, 1)
OFFERED = Offered("broker.example", 8883, "broker.inside", b"a root")


def test_the_broker_is_the_configured_one_else_the_one_of_the_claim_else_none(papers: Papers) -> None:
    identity, standing = Identity(GATEWAY, bytes(32), "", OFFERED), papers.credentials()
    configured = CloudSettings(mqtt_host="own.example", mqtt_port=1884, mqtt_version=4)
    own = mqtt_settings(configured, identity, standing)
    claimed = mqtt_settings(CloudSettings(), identity, standing)
    assert own is not None
    assert claimed is not None
    assert (own.host, own.port, own.version, own.credentials) == ("own.example", 1884, 4, standing)
    assert (claimed.host, claimed.port, claimed.version) == ("broker.example", 8883, 5)
    assert mqtt_settings(configured, Identity(GATEWAY, bytes(32), "", None), standing) is None
    assert mqtt_settings(configured, identity, None) is None


def test_a_socket_that_counts_nothing_moved_nothing() -> None:
    near, far = socket.socketpair()  # Unix sockets: no TCP
    with near, far:
        assert moved_bytes(near) == 0
    assert moved_bytes(near) == 0  # closed
    assert moved_bytes(None) == 0


@pytest.fixture
async def link(papers: Papers) -> MqttLink:
    """One that was never opened."""
    standing = papers.credentials()
    settings = MqttSettings(GATEWAY, "127.0.0.1", 1, standing)
    return MqttLink(MqttRoad(settings)._client(WILL, 3.0, standing.context()), settings)


async def test_what_is_on_no_topic_of_ours_is_passed_over(link: MqttLink) -> None:
    for number, name in enumerate(
        (
            "weather/kathmandu",
            "reloop/v1/ktm-drop-02/ack",
            f"reloop/v1/{GATEWAY}/up",
            f"reloop/v1/{GATEWAY}/ack",
        )
    ):
        message = aiomqtt.Message(name, b"%d" % number, 1, False, number, None)
        link._client._queue.put_nowait(message)
    link._client._disconnected = asyncio.get_running_loop().create_future()
    assert await link.receive() == AckArrived(b"3")


@pytest.mark.parametrize(("taken_over", "error"), [(False, RoadError), (True, TakenOver)])
async def test_publishing_on_a_connection_that_is_gone_says_why(
    link: MqttLink, taken_over: bool, error: type[RoadError]
) -> None:
    link._client.taken_over = taken_over
    with pytest.raises(RoadError) as caught:
        await link.send(b"a frame")
    assert type(caught.value) is error


class Broken:
    """A connection whose writing fails."""

    def loop_write(self) -> None:
        raise OSError("broken pipe")


async def test_a_connection_that_breaks_while_it_writes_is_gone_once(link: MqttLink) -> None:
    client = link._client
    client._disconnected = asyncio.get_running_loop().create_future()
    near, far = socket.socketpair()
    with near, far:
        for _ in range(2):  # the second finds it gone already
            client._on_socket_register_write(Broken(), None, near)
            await until(client._disconnected.done)
            await asyncio.sleep(0)
        asyncio.get_running_loop().remove_writer(near)
    with pytest.raises(OSError, match="broken pipe"):
        await client._disconnected


@asynccontextmanager
async def answering(papers: Papers, suback: int, puback: int) -> AsyncIterator[int]:
    """A broker that speaks just enough MQTT 5 to answer with these reason codes; its port."""
    served: set[asyncio.Task[object] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        try:
            while True:
                (kind,) = await reader.readexactly(1)
                body = await reader.readexactly(await length(reader))
                match kind >> 4:
                    case 1:
                        writer.write(b"\x20\x03\x00\x00\x00")
                    case 8:
                        writer.write(b"\x90\x04" + body[:2] + bytes([0, suback]))
                    case 3:
                        at = 2 + int.from_bytes(body[:2])
                        writer.write(b"\x40\x04" + body[at : at + 2] + bytes([puback, 0]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=papers.server())
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.wait_for(asyncio.gather(*(each for each in served if each)), 10)  # each client hung up


async def length(reader: asyncio.StreamReader) -> int:
    value = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


async def test_a_puback_that_says_no_is_no_success(papers: Papers) -> None:
    async with answering(papers, 1, 0x97) as port, mqtt(papers, port).link(WILL, 3.0) as link:
        with pytest.raises(RoadRefused, match="0x97"):
            await link.send(b"a frame")
    async with answering(papers, 1, 0) as port, mqtt(papers, port).link(WILL, 3.0) as link:
        await link.send(b"a frame")


async def test_a_broker_that_lets_us_subscribe_to_nothing_is_a_refusal(papers: Papers) -> None:
    async with answering(papers, 0x87, 0) as port:
        with pytest.raises(RoadRefused, match="subscribe"):
            async with mqtt(papers, port).link(WILL, 3.0):
                raise AssertionError("opened all the same")
