"""Documents over MQTT: a retained manifest for each gateway, and the parts it does not have.

A gateway announces the digests it holds in its status; what differs is sent. When a document changes,
those who are there get it at once. Nothing here is relied upon: a gateway asks again until it has all.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cloud.errors import NotFoundError
from protocol.documents import Name, split_document
from protocol.errors import ProtocolError
from protocol.status import Status, read_status
from protocol.topics import Lane, document_topic, lane_filter, parse_topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.documents.models import StoredDocument
    from cloud.documents.service import Documents
    from cloud.gateways.service import Gateways
    from cloud.kit.broker_door import BrokerDoor
    from cloud.kit.clock import Clock

LOOK_S = 2.0
"""How often the database is asked whether anything was published."""
RECONNECT_S_MAX = 30.0
QUEUED_MAX = 10_000
RESEND_S = 20.0
"""The same document is not sent to the same gateway again sooner."""
_STAMP = """
select (select count(*) from documents), (select count(*) from gateways where state <> 'revoked'),
       (select max(issued_at) from documents), (select max(csr_at) from gateways)
"""


@dataclass(slots=True)
class Publisher:
    """Publishes documents for as long as `run` runs; reconnects for ever."""

    engine: AsyncEngine
    documents: Documents
    gateways: Gateways
    door: BrokerDoor
    clock: Clock
    connected: bool = False
    _statuses: dict[str, Status] = field(default_factory=dict)
    _manifests: dict[str, bytes] = field(default_factory=dict)
    _sent: dict[tuple[str, str], tuple[bytes, float]] = field(default_factory=dict)

    def published(self, gateway: str) -> bool:
        """Whether this connection has published a gateway's manifest."""
        return gateway in self._manifests

    async def run(self) -> None:
        """Connect, publish, and begin again when the broker or the database goes away."""
        log, attempt = structlog.get_logger(), 0
        while True:
            try:
                async with self._client() as client:
                    self.connected, attempt = True, 0
                    self._manifests.clear()
                    await client.subscribe(lane_filter(Lane.STATUS), qos=1)
                    await self._serve(client)
            except* (aiomqtt.MqttError, SQLAlchemyError, OSError) as group:
                log.warning("publisher.interrupted", error=str(group.exceptions[0]))
            except* Exception as group:  # ingest beside it must not end for a document's sake
                log.exception("publisher.failed", exc_info=group)
            finally:
                self.connected = False
            attempt += 1
            await self.clock.sleep(random.uniform(0.1, min(RECONNECT_S_MAX, 2.0**attempt)))

    async def _serve(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(client))
            tasks.create_task(self._look(client))

    def _client(self) -> aiomqtt.Client:
        clean: dict[str, Any] = {} if self.door.settings.version == 5 else {"clean_session": True}
        return self.door.client(
            identifier=f"reloop-publisher-{random.randbytes(4).hex()}",
            max_queued_incoming_messages=QUEUED_MAX,
            max_queued_outgoing_messages=QUEUED_MAX,
            **clean,
        )

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            if not isinstance(payload, bytes) or not payload:
                continue
            try:
                gateway, _ = parse_topic(str(message.topic))
                status = read_status(payload)
            except ProtocolError as error:
                structlog.get_logger().warning("status.unreadable", topic=str(message.topic), code=error.code)
                continue
            await self._announced(client, gateway, status)

    async def _announced(self, client: aiomqtt.Client, gateway: str, status: Status) -> None:
        known = self._statuses.get(gateway)
        if (
            not status.online
            and known is not None
            and (known.epoch, known.boot) != (status.epoch, status.boot)
        ):
            return  # the will of an earlier connection, come late
        try:
            async with self.engine.begin() as connection:
                if not status.online and known is not None:
                    status = msgspec.structs.replace(known, online=False)
                await self.gateways.announced(connection, gateway, msgspec.to_builtins(status))
                offered = await self.documents.offered(connection, gateway)
        except NotFoundError:
            return  # revoked or never ours: the broker's rules keep it out, and nothing is kept of it
        self._statuses[gateway] = status
        if status.online:
            await self._send_missing(client, gateway, offered)

    async def _look(self, client: aiomqtt.Client) -> None:
        """Publish what changed, whoever changed it: another process may have."""
        seen: object = None
        while True:
            async with self.engine.begin() as connection:
                stamp = tuple((await connection.execute(text(_STAMP))).one())
            if stamp != seen:
                await self._publish_all(client)
                seen = stamp
            await self.clock.sleep(LOOK_S)

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        async with self.engine.begin() as connection:
            gateways = await self.documents.live_gateways(connection)
        for gateway in gateways:
            async with self.engine.begin() as connection:
                offered = await self.documents.offered(connection, gateway)
            await self._publish(client, gateway, offered)

    async def _publish(self, client: aiomqtt.Client, gateway: str, offered: list[StoredDocument]) -> None:
        manifest = offered[-1]
        if self._manifests.get(gateway) == manifest.digest:
            return
        status = self._statuses.get(gateway)
        if status is not None and status.online:
            await self._send_missing(client, gateway, offered)
        await client.publish(document_topic(gateway, Name.MANIFEST), manifest.data, qos=1, retain=True)
        self._manifests[gateway] = manifest.digest

    async def _send_missing(
        self, client: aiomqtt.Client, gateway: str, offered: Iterable[StoredDocument]
    ) -> None:
        held = self._statuses[gateway].documents
        for document in offered:
            if document.name == Name.MANIFEST or held.get(document.name) == document.digest.hex():
                continue
            if self._just_sent(gateway, document):
                continue
            for part in split_document(document.name, document.data):
                await client.publish(document_topic(gateway, document.name), part, qos=1)
            self._sent[gateway, document.name] = (document.digest, self.clock.monotonic())

    def _just_sent(self, gateway: str, document: StoredDocument) -> bool:
        digest, at_s = self._sent.get((gateway, document.name), (b"", 0.0))
        return digest == document.digest and self.clock.monotonic() - at_s < RESEND_S
