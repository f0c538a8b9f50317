"""Puts the modules together: the one place where siblings meet, by functions handed in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from cloud.access.service import OperatorTokens
from cloud.alarms.service import Alarms
from cloud.citizens.service import Citizens
from cloud.clocks.service import Clocks
from cloud.config import PUBLIC_PORT
from cloud.custody.service import Custody
from cloud.documents.archive import Archive
from cloud.documents.service import Documents, Source
from cloud.drop_points.service import DropPoints
from cloud.gateways.certificates import Certificates
from cloud.gateways.service import Endpoints, Gateways
from cloud.kit.authority import SERVER_NAME
from cloud.kit.clock import utc
from cloud.kit.ids import uuid7
from cloud.materials.service import Materials
from cloud.quarantine.service import Quarantine
from cloud.weighings.service import Weighings
from protocol.bundle import Broker
from protocol.documents import CloudKey, ConfigBody, KeysBody, KeyUse, Name

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.config import Settings
    from cloud.kit.authority import Authority
    from cloud.kit.clock import Clock
    from cloud.kit.keyring import Keyring

_ALWAYS_S = 2**32 - 1
"""A key is announced as valid until a successor is announced; a gateway asks for `keys` like for the rest."""


@dataclass(frozen=True, slots=True)
class Services:
    """Every module's service."""

    tokens: OperatorTokens
    drop_points: DropPoints
    materials: Materials
    documents: Documents
    gateways: Gateways
    certificates: Certificates
    citizens: Citizens
    weighings: Weighings
    custody: Custody
    quarantine: Quarantine
    alarms: Alarms
    clocks: Clocks

    def by_class(self) -> dict[type, object]:
        """The services as routes ask for them."""
        services = [getattr(self, field.name) for field in fields(self)]
        return {type(service): service for service in services}


def compose(
    settings: Settings,
    keyring: Keyring,
    authority: Authority,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> Services:
    """The modules' services, wired to each other."""

    def now() -> datetime:
        return utc(clock.wall_ms())

    def new_id() -> UUID:
        return uuid7(clock.wall_ms(), random_bytes)

    async def publish_catalog(connection: AsyncConnection) -> None:
        await documents.publish(connection, Name.CATALOG)

    async def publish_revocations(connection: AsyncConnection) -> None:
        await documents.publish(connection, Name.REVOCATIONS)

    async def keys(connection: AsyncConnection) -> KeysBody:  # noqa: ARG001 - as every source
        return announced_keys(keyring)

    async def config_of(connection: AsyncConnection, gateway: str) -> ConfigBody:
        found = await gateways.find(connection, gateway)
        chain = await certificates.chain(connection, gateway)
        return ConfigBody(
            found.drop_point, found.drop_point_name, "", chain, gateway, found.state == "revoked"
        )

    async def publish_configs(connection: AsyncConnection, drop_point: UUID) -> None:
        for gateway in await gateways.at_drop_point(connection, drop_point):
            await documents.publish_config(connection, gateway.id)

    async def documents_for(connection: AsyncConnection, gateway: str) -> list[bytes]:
        return [one.data for one in await documents.offered(connection, gateway)]

    async def drop_point_id(connection: AsyncConnection, code: str) -> UUID:
        return (await drop_points.find(connection, code)).id

    drop_points = DropPoints(now, new_id, publish_configs)
    materials = Materials(now, publish_catalog)
    citizens = Citizens(now, new_id, random_bytes, keyring.card, publish_revocations)
    sources: dict[str, Source] = {
        Name.KEYS: keys,
        Name.CATALOG: materials.catalog,
        Name.REVOCATIONS: citizens.revocations,
    }
    archive = Archive(settings.documents_dir)
    certificates = Certificates(now, authority)
    documents = Documents(
        now, keyring.root, keyring.document, sources, config_of, certificates.is_due, archive
    )
    gateways = Gateways(
        now,
        random_bytes,
        certificates,
        keyring.root.public,
        _endpoints(settings, authority),
        documents_for,
        documents.publish_config,
        drop_point_id,
    )
    return Services(
        OperatorTokens(now, random_bytes),
        drop_points,
        materials,
        documents,
        gateways,
        certificates,
        citizens,
        Weighings(),
        Custody(),
        Quarantine(now),
        Alarms(now, new_id),
        Clocks(new_id),
    )


def announced_keys(keyring: Keyring) -> KeysBody:
    """The body of the `keys` document."""
    uses = (
        (KeyUse.ACK, keyring.ack),
        (KeyUse.DOCUMENT, keyring.document),
        (KeyUse.CARD, keyring.card),
    )
    return KeysBody([CloudKey(use, key.public, 0, _ALWAYS_S) for use, key in uses])


def _endpoints(settings: Settings, authority: Authority) -> Endpoints:
    host, port = settings.mqtt_public_host, settings.mqtt_public_port or PUBLIC_PORT
    broker = None if host is None else Broker(host, port, SERVER_NAME, authority.root.der)
    return Endpoints(settings.https_public_url, broker)
