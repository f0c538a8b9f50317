"""The real app on a real database, reached through httpx; no part of it is replaced."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cloud.api.app import Parts, create_app
from cloud.api.tokens import TokenResolver
from cloud.composition import Services, compose
from cloud.config import Settings
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.authority import Authority
from cloud.kit.clock import SystemClock, utc
from cloud.kit.keyring import Keyring
from protocol.bodies import HolderKind
from protocol.bundle import Access, check_access, read_access
from protocol.points import points_for
from tests.cloud.ingest.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(slots=True)
class Cloud:
    """An app and what a test needs around it. `operator` and `anyone` are clients; `told` counts calls."""

    app: FastAPI
    engine: AsyncEngine
    keyring: Keyring
    authority: Authority
    services: Services
    settings: Settings
    token: str
    anyone: httpx.AsyncClient
    operator: httpx.AsyncClient
    told: int = 0

    def client(self, token: str) -> httpx.AsyncClient:
        """A client with another token."""
        return client_of(self.app, token)

    async def gateway(self, name: str = "ktm-patan-01", site: str = "ktm-patan") -> str:
        """Create a drop point and a gateway; its one-time code."""
        await self.operator.post("/v1/drop-points", json={"code": site, "name": "Patan"})
        answer = await self.operator.post("/v1/gateways", json={"id": name, "drop_point": site})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    async def citizen(self, alias: str = "Maya", role: str = "citizen") -> dict[str, Any]:
        """Register a citizen and issue a card; the card as issued."""
        citizen = (await self.operator.post("/v1/citizens", json={"alias": alias})).json()
        answer = await self.operator.post(f"/v1/citizens/{citizen['id']}/cards", json={"role": role})
        assert answer.status_code == 201, answer.text
        card: dict[str, Any] = answer.json()
        return card


def client_of(app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
    """A client of the app in this process."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://cloud.test", headers=headers)


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.load_or_create(tmp_path_factory.mktemp("data") / "keys")


@pytest.fixture
async def cloud(engine: AsyncEngine, keyring: Keyring, tmp_path: Path) -> AsyncIterator[Cloud]:
    """The API for one test, with the seeded materials and an operator's token."""
    settings = Settings(data_dir=tmp_path, mqtt_public_host="broker.test", mqtt_public_port=8883)
    authority = Authority.load_or_create(settings.authority_dir, utc(SystemClock().wall_ms()))
    services = compose(settings, keyring, authority, SystemClock(), secrets.token_bytes)
    async with engine.begin() as connection:
        token = await services.tokens.make_first(connection)
        await services.materials.seed(connection)
    assert token is not None

    async def gateways_changed() -> None:
        made.told += 1

    app = create_app(
        Parts(
            engine,
            services.by_class(),
            TokenResolver(engine, services.tokens, services.citizens),
            SystemClock().monotonic,
            None,  # the fixture `intake` opens one where a test delivers
            gateways_changed,
            lambda: None,
        )
    )
    made = Cloud(
        app, engine, keyring, authority, services, settings, token, client_of(app), client_of(app, token)
    )
    async with made.anyone, made.operator:
        yield made


@pytest.fixture
async def site(database_url: str, cloud: Cloud) -> AsyncIterator[Site]:
    """A claimed gateway that delivers over HTTPS to a cloud that takes in."""
    async with Ingest(
        PostgresStorage(database_url), cloud.keyring, SystemClock(), secrets.token_bytes
    ) as ingest:
        cloud.app.state.intake = ingest
        yield await claimed_site(cloud)


@dataclass(slots=True)
class Site:
    """A gateway and its cloud."""

    cloud: Cloud
    gateway: Gateway
    access: Access

    def visit(self, holder_kind: HolderKind, holder: bytes, net_g: int = 1_234) -> int:
        """One visit with one weighing of PET at the seeded rate; its seq."""
        deposit = self.gateway.open(holder_kind, holder)
        points = points_for(net_g, PET_RATE)
        seq = self.gateway.weigh(deposit, net_g, "pet", holder_kind, holder, rate=PET_RATE, points=points)
        self.gateway.close(deposit, net_g, points)
        return seq

    async def deliver(self, first: int = 1, last: int | None = None) -> httpx.Response:
        """Post a frame as the gateway does."""
        return await self.cloud.anyone.post(
            f"/v1/gateways/{self.gateway.id}/frames",
            content=self.gateway.frame(first, last),
            headers={"content-type": "application/cose"},
        )


PET_RATE = 30
"""What the seeded materials say."""


async def claimed_site(cloud: Cloud, name: str = "ktm-patan-01") -> Site:
    """Create and claim a gateway that shows the present catalogue."""
    code = await cloud.gateway(name)
    gateway = Gateway(name)
    body = {"code": code, "public_key": base64.b64encode(gateway.key.public).decode()}
    access = read_access((await cloud.anyone.post("/v1/gateways/claim", json=body)).content)
    (catalog,) = (one for one in check_access(access) if one.name == "catalog")
    gateway.catalog = catalog.digest
    return Site(cloud, gateway, access)
