"""The MQTT road: aiomqtt over mutual TLS, QoS 1, nothing that correctness needs from the broker.

A PUBACK means only that the bytes left us. aiomqtt hides refused publishes, so paho's reason codes
are read here; publishing while disconnected would queue without bound in paho, so it is never done.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY

from edge.sync.progress import moved_bytes
from edge.sync.roads import (
    AckArrived,
    Downlink,
    ManifestArrived,
    PartArrived,
    RoadError,
    RoadName,
    RoadRefused,
    TakenOver,
)
from protocol.documents import Name
from protocol.status import Status, write_status
from protocol.topics import Lane, TopicError, document_filter, parse_topic, topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge.config import CloudSettings
    from edge.identity import Identity
    from edge.sync.credentials import BrokerContext, Credentials

_INCOMING_MAX = 256
_OUTGOING_MAX = 16
# MQTT 5 reason codes, which paho also makes of the return codes of 3.1.1
_REFUSED = 0x80  # from here on: failures
_NOT_US = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}  # version, client id, password, rights, banned, method
_TAKEN_OVER = 0x8E
_LOGGER = logging.getLogger("reloop.mqtt")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and how we stand with it. `version` is 5 (with reason codes) or 4 (3.1.1)."""

    gateway: str
    host: str
    port: int
    credentials: Credentials
    version: int = 5
    keepalive_s: int = 30
    timeout_s: float = 10.0


def mqtt_settings(
    cloud: CloudSettings, identity: Identity, credentials: Credentials | None
) -> MqttSettings | None:
    """Where the broker is: as configured, else as the claim said; None if the claim named none to trust."""
    offered = identity.mqtt
    if offered is None or credentials is None:
        return None
    host, port = (cloud.mqtt_host, cloud.mqtt_port) if cloud.mqtt_host else (offered.host, offered.port)
    return MqttSettings(identity.gateway, host, port, credentials, version=cloud.mqtt_version)


class _Client(aiomqtt.Client):
    """aiomqtt that remembers how each publish was answered, and why the broker left us."""

    refusal: int | None = None
    taken_over = False
    _hung_up = False
    context: BrokerContext

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        self.taken_over = getattr(reason_code, "value", 0) == _TAKEN_OVER
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        self._loop.call_soon_threadsafe(
            self._wait_no_longer, reason_code
        )  # the connecting thread may tell us

    def _wait_no_longer(self, reason_code: Any) -> None:
        """aiomqtt would go on waiting for answers that can no longer come, until its timeout."""
        waits: list[asyncio.Future[Any]] = [self._connected, *self._pending_subscribes.values()]
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(aiomqtt.MqttError(f"closed while it was being opened: {reason_code}"))

    def _client_connect(self) -> None:
        """Runs in a thread that nobody can cancel: if nobody waits any more, what it opened is closed."""
        super()._client_connect()
        if self._hung_up:
            self._close()

    def hang_up(self) -> None:
        """Close the socket, with no farewell: the broker then says our last will, and nothing has to wait.

        aiomqtt itself would leave the socket open after a timeout. A handshake under way ends here, too.
        """
        self._hung_up = True
        self.context.give_up()
        self._close()
        if not self._disconnected.done():
            self._disconnected.set_result(None)

    def _close(self) -> None:
        """In the loop, behind what the connecting thread has asked of it: it may be told only now to watch
        this socket, whose number could be another connection's if it were closed already.
        """
        self._loop.call_soon_threadsafe(self._client._sock_close)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002 - as aiomqtt calls it
        """As aiomqtt's, but the socket is looked at when its turn comes.

        It may be closed by then, and its number another connection's, whose writing we would be told of.
        """

        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - whatever broke, this connection is gone
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def watch() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), write)

        self._loop.call_soon_threadsafe(watch)

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
                raise self._gone(f"the connection to the broker is gone: {error}") from error
            arrived = self._read(message)
            if arrived is not None:
                return arrived

    def moved_bytes(self) -> int:
        """As the kernel counts them."""
        sock: Any = self._client._client.socket()
        return moved_bytes(sock)

    def _gone(self, message: str) -> RoadError:
        if self._client.taken_over:
            return TakenOver("another connection under our name took our place at the broker")
        return RoadError(message)

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
                raise self._gone(f"publishing to {name} failed: {error}") from error
            refusal = self._client.refusal
        if refusal is not None:
            raise RoadRefused(f"the broker refuses {name} (0x{refusal:02x}); check this gateway's rights")


class MqttRoad:
    """The way through the broker."""

    name = RoadName.MQTT

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self.waits_for = settings.credentials.waits_for

    @asynccontextmanager
    async def link(self, will: Status, silence_s_max: float) -> AsyncIterator[MqttLink]:
        """Connect, subscribe to acks and documents, hand out the link. Raises RoadError, RoadRefused."""
        context = self._settings.credentials.context()
        client = self._client(will, silence_s_max, context)
        try:
            async with client:
                self._settings.credentials.accepted()
                try:
                    await self._subscribe(client)
                    yield MqttLink(client, self._settings)
                finally:
                    client.hang_up()
        except aiomqtt.exceptions.MqttConnectError as error:
            kind = RoadRefused if _code(error.rc) in _NOT_US else RoadError
            raise kind(f"the broker refuses the connection: {error}") from error
        except (aiomqtt.MqttError, UnicodeError) as error:  # UnicodeError: a host that is no host name
            raise self._settings.credentials.problem(context, error) from error
        finally:
            client.hang_up()

    async def _subscribe(self, client: _Client) -> None:
        gateway = self._settings.gateway
        for name in (topic(gateway, Lane.ACK), document_filter(gateway)):
            granted = await client.subscribe(name, qos=1)
            if any(_code(code) >= _REFUSED for code in granted):
                raise RoadRefused(f"the broker refuses to subscribe us to {name}")

    def _client(self, will: Status, silence_s_max: float, context: BrokerContext) -> _Client:
        settings = self._settings
        timeout_s = max(settings.timeout_s, silence_s_max)
        five = settings.version == aiomqtt.ProtocolVersion.V5.value
        context.silence_s_max = timeout_s
        client = _Client(
            settings.host,
            settings.port,
            logger=_LOGGER,
            identifier=settings.gateway,
            protocol=aiomqtt.ProtocolVersion(settings.version),
            clean_session=None if five else True,
            clean_start=True if five else MQTT_CLEAN_START_FIRST_ONLY,
            will=aiomqtt.Will(topic(settings.gateway, Lane.STATUS), write_status(will), 1, retain=True),
            keepalive=settings.keepalive_s,
            tls_context=context,
            timeout=timeout_s,
            max_queued_incoming_messages=_INCOMING_MAX,
            max_queued_outgoing_messages=_OUTGOING_MAX,
        )
        client.context = context
        return client


def _code(reason: Any) -> int:
    value = getattr(reason, "value", reason)
    return value if isinstance(value, int) else _REFUSED
