"""A cloud of forty lines for the gateway's side: the protocol's own receiver, real signatures, real roads."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiomqtt

from protocol import VERSION
from protocol.acks import Ack, Echo, build_ack
from protocol.cose import SigningKey
from protocol.delivery import Cursor, Received, receive
from protocol.errors import ProtocolError
from protocol.frames import Frame, open_frame
from protocol.topics import Lane, lane_filter, parse_topic, topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.edge.sync.tls_broker import TlsBroker

WINDOW = 4


@dataclass
class PlainCloud:
    """Commits in memory. `answers` may replace the acks of a frame: none, other ones, several."""

    key: SigningKey
    gateway_key: bytes
    cursors: dict[tuple[str, int], Cursor] = field(default_factory=dict)
    applied: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    digests: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    frames: int = 0
    envelopes: list[bytes] = field(default_factory=list)
    answers: Callable[[bytes], list[bytes]] = field(default=lambda ack: [ack])
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> list[bytes]:
        """Receive an envelope; the acks to send."""
        self.envelopes.append(data)
        try:
            frame = open_frame(data, lambda _: self.gateway_key)
        except ProtocolError:
            return []
        self.frames += 1
        return self.answers(build_ack(self.ack_for(frame, self._receive(frame)), self.key))

    def _receive(self, frame: Frame) -> Received:
        at = (frame.gateway, frame.epoch)
        cursor = self.cursors.get(at) or Cursor.start(*at)
        received = receive(cursor, frame, lambda seq: self.digests.get((*at, seq)))
        self.cursors[at] = received.cursor
        for fresh in received.fresh:
            assert (*at, fresh.seq) not in self.applied
            self.applied[*at, fresh.seq] = fresh.data
            self.digests[*at, fresh.seq] = fresh.digest
        return received

    def ack_for(self, frame: Frame, received: Received) -> Ack:
        """The ack that a cloud with this decision would sign."""
        return Ack(
            VERSION,
            frame.gateway,
            frame.epoch,
            received.cursor.through,
            received.cursor.digest,
            received.expect,
            received.verdict,
            [],
            WINDOW,
            1_700_000_000_000,
            Echo(frame.sample.boot, frame.sample.mono_ms),
        )

    @contextlib.asynccontextmanager
    async def on_broker(self, broker: TlsBroker) -> AsyncIterator[None]:
        """Consume from the broker while in this context, reconnecting when it comes back."""
        task = asyncio.create_task(self._consume(broker))
        try:
            await asyncio.wait_for(self.connected.wait(), 10)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _consume(self, broker: TlsBroker) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with broker.inside() as client:
                    await client.subscribe(lane_filter(Lane.UP), qos=1)
                    self.connected.set()
                    async for message in client.messages:
                        gateway, _ = parse_topic(str(message.topic))
                        assert isinstance(message.payload, bytes)
                        for ack in self.take(message.payload):
                            await client.publish(topic(gateway, Lane.ACK), ack, qos=1)
            self.connected.clear()
            await asyncio.sleep(0.1)
