"""The MQTT road: aiomqtt, QoS 1, nothing that correctness needs from the broker.

A PUBACK means only that the bytes left us. aiomqtt hides refused publishes, so paho's reason codes
are read here; publishing while disconnected would queue without bound in paho, so it is never done.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY

from edge.sync.roads import (
    AckArrived,
    Downlink,
    ManifestArrived,
    PartArrived,
    RoadError,
    RoadName,
    RoadRefused,
)
from protocol.documents import Name
from protocol.status import Status, write_status
from protocol.topics import Lane, TopicError, document_filter, parse_topic, topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge.config import CloudSettings
    from edge.identity import Identity

_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes in the socket's send queue that the peer has not taken
_INCOMING_MAX = 256
_OUTGOING_MAX = 16
_REFUSED = 0x80  # MQTT 5: reason codes from here on are failures
_LOGGER = logging.getLogger("reloop.mqtt")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and who we are there. `version` is 5 (with reason codes) or 4 (3.1.1)."""

    gateway: str
    host: str
    port: int
    username: str | None
    password: str | None
    version: int = 5
    keepalive_s: int = 30
    timeout_s: float = 10.0


def mqtt_settings(cloud: CloudSettings, identity: Identity) -> MqttSettings | None:
    """Where the broker is: as configured, else as the claim said; None if neither names one."""
    offered = identity.mqtt
    host = cloud.mqtt_host or (offered.host if offered else "")
    if not host:
        return None
    username = cloud.mqtt_username or (offered.username if offered else "")
    file = cloud.mqtt_password_file
    password = file.read_text().strip() if file else (offered.password if offered else "")
    return MqttSettings(
        gateway=identity.gateway,
        host=host,
        port=cloud.mqtt_port if cloud.mqtt_host or offered is None else offered.port,
        username=username or None,
        password=password or None,
        version=cloud.mqtt_version,
    )


class _Client(aiomqtt.Client):
    """aiomqtt that remembers how each publish was answered."""

    refusal: int | None = None

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        self.refusal = reason_code.value if reason_code.value >= _REFUSED else None
        super()._on_publish(client, userdata, mid, reason_code, properties)


class MqttLink:
    """An open connection to the broker."""

    def __init__(self, client: _Client, settings: MqttSettings) -> None:
        self._client = client
        self._settings = settings
        self._messages = client.messages
        self._publishing = asyncio.Lock()  # one at a time, so that a refusal is known to be its own

    async def send(self, envelope: bytes) -> None:
        """Publish a frame or enrolment; returns at the PUBACK. Raises RoadError, RoadRefused."""
        await self._publish(topic(self._settings.gateway, Lane.UP), envelope, retain=False)

    async def announce(self, status: Status) -> None:
        """Publish the retained birth."""
        await self._publish(topic(self._settings.gateway, Lane.STATUS), write_status(status), retain=True)

    async def fetch(self, names: list[str], status: Status) -> None:  # noqa: ARG002 - the status tells
        """Announce again: the cloud sends whatever differs from the manifest."""
        await self.announce(status)

    async def receive(self) -> Downlink:
        """The next ack, manifest or document part. Raises RoadError when the connection is gone."""
        while True:
            try:
                message = await anext(self._messages)
            except aiomqtt.MqttError as error:
                raise RoadError(f"the connection to the broker is gone: {error}") from error
            arrived = self._read(message)
            if arrived is not None:
                return arrived

    def unsent_bytes(self) -> int:
        """Bytes in paho's and the kernel's send queues."""
        paho = self._client._client
        waiting = sum(packet["to_process"] for packet in list(paho._out_packet))
        sock = paho.socket()
        if sock is None:
            return waiting
        queued = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0]
        return waiting + int(queued)

    def _read(self, message: aiomqtt.Message) -> Downlink | None:
        data = bytes(message.payload) if isinstance(message.payload, (bytes, bytearray)) else b""
        try:
            gateway, lane = parse_topic(str(message.topic))
        except TopicError:
            return None
        if gateway != self._settings.gateway:
            return None
        if lane == Lane.ACK:
            return AckArrived(data)
        if lane == f"doc/{Name.MANIFEST}":
            return ManifestArrived(data)
        return PartArrived(lane.removeprefix("doc/"), data) if lane.startswith("doc/") else None

    async def _publish(self, name: str, data: bytes, *, retain: bool) -> None:
        async with self._publishing:
            self._client.refusal = None
            try:
                await self._client.publish(name, data, qos=1, retain=retain, timeout=math.inf)
            except aiomqtt.MqttError as error:
                raise RoadError(f"publishing to {name} failed: {error}") from error
            refusal = self._client.refusal
        if refusal is not None:
            raise RoadRefused(f"the broker refuses {name} (0x{refusal:02x}); check this gateway's rights")


class MqttRoad:
    """The way through the broker."""

    name = RoadName.MQTT

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def link(self, will: Status) -> AsyncIterator[MqttLink]:
        """Connect, subscribe to acks and documents, hand out the link. Raises RoadError, RoadRefused."""
        client = self._client(will)
        try:
            async with client:
                await self._subscribe(client)
                yield MqttLink(client, self._settings)
        except aiomqtt.exceptions.MqttConnectError as error:
            raise RoadRefused(f"the broker refuses the connection: {error}") from error
        except aiomqtt.MqttError as error:
            raise RoadError(f"no connection to the broker: {error}") from error

    async def _subscribe(self, client: _Client) -> None:
        gateway = self._settings.gateway
        for name in (topic(gateway, Lane.ACK), document_filter(gateway)):
            granted = await client.subscribe(name, qos=1)
            codes = [code if isinstance(code, int) else code.value for code in granted]
            if any(code >= _REFUSED for code in codes):
                raise RoadRefused(f"the broker refuses to subscribe us to {name}")

    def _client(self, will: Status) -> _Client:
        settings = self._settings
        five = settings.version == aiomqtt.ProtocolVersion.V5.value
        return _Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=settings.password,
            logger=_LOGGER,
            identifier=settings.gateway,
            protocol=aiomqtt.ProtocolVersion(settings.version),
            clean_session=None if five else True,
            clean_start=True if five else MQTT_CLEAN_START_FIRST_ONLY,
            will=aiomqtt.Will(topic(settings.gateway, Lane.STATUS), write_status(will), 1, retain=True),
            keepalive=settings.keepalive_s,
            timeout=settings.timeout_s,
            max_queued_incoming_messages=_INCOMING_MAX,
            max_queued_outgoing_messages=_OUTGOING_MAX,
        )
