"""The MQTT road: listens on every gateway's uplink, hands frames to ingest, publishes acks after the commit.

The broker may lose, repeat and reorder what it likes, and may be away for days: gateways send again whatever
was not acked. So nothing here is retried but the connection itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiomqtt
import structlog

from cloud.ingest.views import Road
from protocol.topics import Lane, TopicError, lane_filter, parse_topic, topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloud.ingest.service import Ingest, IngestReply
    from cloud.kit.broker_door import BrokerDoor
    from cloud.kit.clock import Clock

RETRY_S_MIN = 0.5
RETRY_S_MAX = 2.0
"""We are one and they are thousands: what a broker takes while we are away is lost, and all try again."""
ACKS_MAX = 1024
"""Acks waiting to be published; one that does not fit is dropped, and the gateway asks again."""
INCOMING_MAX = 2048
KEEPALIVE_S = 30
_log = structlog.get_logger(__name__)

OnStatus = "Callable[[str, bytes], Awaitable[None]]"


class MqttWorker:
    """Runs for ever; `connected` says whether it listens now, `sessions` how often it began to.

    `on_status(gateway, payload)` is told what gateways say of themselves.
    """

    def __init__(
        self,
        door: BrokerDoor,
        ingest: Ingest,
        clock: Clock,
        random: Callable[[], float],
        on_status: Callable[[str, bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._door = door
        self._ingest = ingest
        self._clock = clock
        self._random = random
        self._on_status = on_status
        self._acks: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(ACKS_MAX)
        self.connected = asyncio.Event()
        self.sessions = 0
        self.acks_dropped = 0

    async def run(self) -> None:
        """Connect, listen, and when the broker goes away connect again, with full jitter; never returns."""
        delay_s = RETRY_S_MIN
        while True:
            try:
                await self._session()
                delay_s = RETRY_S_MIN
            except (aiomqtt.MqttError, OSError) as error:
                _log.warning("broker away", error=str(error), sessions=self.sessions)
            if self.connected.is_set():
                delay_s = RETRY_S_MIN
            self.connected.clear()
            await self._clock.sleep(delay_s * self._random())
            delay_s = min(RETRY_S_MAX, delay_s * 2)

    async def _session(self) -> None:
        async with self._client() as client:
            await client.subscribe(lane_filter(Lane.UP), qos=1)
            if self._on_status is not None:
                await client.subscribe(lane_filter(Lane.STATUS), qos=1)
            self.sessions += 1
            self.connected.set()
            publisher = asyncio.create_task(self._publish(client), name="ack-publisher")
            try:
                async for message in client.messages:
                    await self._receive(str(message.topic), message.payload)
            finally:
                publisher.cancel()
                await asyncio.gather(publisher, return_exceptions=True)

    def _client(self) -> aiomqtt.Client:
        return self._door.client(
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=INCOMING_MAX,
            max_queued_outgoing_messages=ACKS_MAX,
        )

    async def _receive(self, name: str, payload: object) -> None:
        try:
            gateway, lane = parse_topic(name)
        except TopicError:
            return
        if not isinstance(payload, bytes):
            return
        if lane == Lane.STATUS and self._on_status is not None:
            await self._on_status(gateway, payload)
        elif lane == Lane.UP:
            self._take(gateway, payload)
            await asyncio.sleep(0)  # let ingest run while a backlog pours in

    def _take(self, gateway: str, payload: bytes) -> None:
        reply = self._ingest.offer(payload, Road.MQTT, gateway)
        if reply is not None:
            reply.add_done_callback(lambda done: self._acknowledge(gateway, done))

    def _acknowledge(self, gateway: str, done: asyncio.Future[IngestReply]) -> None:
        if done.cancelled() or done.exception() is not None or done.result().ack is None:
            return
        try:
            self._acks.put_nowait((topic(gateway, Lane.ACK), done.result().ack or b""))
        except asyncio.QueueFull:
            self.acks_dropped += 1

    async def _publish(self, client: aiomqtt.Client) -> None:
        """Publish acks as they come.

        One that the broker does not take in time is dropped, and its gateway asks again. Ending here would
        leave every gateway waiting on a link that still works.
        """
        while True:
            name, ack = await self._acks.get()
            try:
                await client.publish(name, ack, qos=1)
            except aiomqtt.MqttError as error:
                self.acks_dropped += 1
                _log.warning("ack dropped", topic=name, error=str(error))
