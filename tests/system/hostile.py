"""A gateway in hostile hands: it is claimed like any other, then signs, bends and repeats what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomqtt
import httpx

from cloud.kit.broker_door import broker_context
from edge.identity import load_identity
from edge.tlskey import keep_tls_key
from protocol.acks import Ack, Echo, open_ack
from protocol.cose import SigningKey, key_id_of, parse
from protocol.documents import CatalogBody, KeysBody, Name, document_digest, read_document
from protocol.points import points_for
from protocol.topics import Lane, topic
from tests.cloud.ingest.gateway import Gateway
from tests.cloud.tls import certificates_of, pem_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloud.kit.broker_door import BrokerContext
    from deploy.local.stack import Site, Stack
    from edge.identity import Identity

ANSWER_S = 20.0
MATERIAL = "pet"


@dataclass(slots=True)
class Citizen:
    """Somebody with a card, and the token to ask for their balance."""

    serial: bytes
    token: str


@dataclass(slots=True)
class Hostile:
    """A claimed gateway with a journal in memory. `sent_g` is what its good visits weighed."""

    url: str
    mqtt_version: int
    identity: Identity
    tls: BrokerContext
    journal: Gateway
    rate: int
    ack_keys: dict[bytes, bytes]
    citizen: Citizen
    sent_g: int = 0
    samples: set[Echo] = field(default_factory=set)

    @property
    def id(self) -> str:
        """The gateway's id."""
        return self.journal.id

    def visit(self, net_g: int = 1_000, **faults: Any) -> int:
        """One visit with one weighing, good unless `faults` bend it; the weighing's seq."""
        journal, serial = self.journal, self.citizen.serial
        deposit = journal.open(holder=serial)
        values: dict[str, Any] = {"rate": self.rate, "points": points_for(net_g, self.rate), **faults}
        seq = journal.weigh(deposit, net_g, MATERIAL, holder=serial, **values)
        journal.close(deposit, net_g, points_for(net_g, self.rate))
        if not faults:
            self.sent_g += net_g
        return seq

    def branch(self, through: int, epoch: int | None = None) -> Gateway:
        """The journal of a twin: the same key, the same records up to `through`."""
        twin = self.journal.branch(through, epoch)
        twin.key = self.journal.key
        return twin

    def frame(self, first: int, key: SigningKey | None = None) -> bytes:
        """Everything from `first` on, with a clock sample of its own so that its ack can be told."""
        self.journal.mono_ms += 1
        return self.journal.frame(first, key=key)

    @contextlib.asynccontextmanager
    async def uplink(self) -> AsyncIterator[Uplink]:
        """A connection to the broker under this gateway's name."""
        broker = self.identity.mqtt
        assert broker is not None
        version = aiomqtt.ProtocolVersion.V5 if self.mqtt_version == 5 else aiomqtt.ProtocolVersion.V311
        async with aiomqtt.Client(
            broker.host, broker.port, tls_context=self.tls, identifier=self.id, protocol=version,
        ) as client:  # fmt: skip
            await client.subscribe(topic(self.id, Lane.ACK), qos=1)
            yield Uplink(self, client)

    def post(self, data: bytes) -> httpx.Response:
        """Deliver over HTTPS."""
        return httpx.post(
            f"{self.url}/v1/gateways/{self.id}/frames",
            content=data, headers={"content-type": "application/cose"}, timeout=ANSWER_S,
        )  # fmt: skip

    def refused(self, data: bytes) -> str:
        """Deliver over HTTPS what must be refused; the problem's code."""
        answer = self.post(data)
        assert answer.status_code in {403, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        return str(answer.json()["code"])

    def open_ack(self, data: bytes) -> Ack:
        """An ack, verified with the keys that the claim brought."""
        return open_ack(data, self.ack_keys.get)

    def balance(self) -> int:
        """What its citizen has."""
        mine = {"authorization": f"Bearer {self.citizen.token}"}
        answer = httpx.get(f"{self.url}/v1/me/balance", headers=mine, timeout=ANSWER_S)
        return int(answer.raise_for_status().json()["points"])

    def earned(self) -> int:
        """What its citizen must have: the good visits', and nothing else."""
        return points_for(self.sent_g, self.rate)


@dataclass(slots=True)
class Uplink:
    """What `Hostile.uplink` yields."""

    gateway: Hostile
    client: aiomqtt.Client

    async def publish(self, data: bytes) -> None:
        """Publish to the gateway's own uplink topic."""
        await self.client.publish(topic(self.gateway.id, Lane.UP), data, qos=1)

    async def send(self, data: bytes) -> Ack:
        """Publish and wait for the next ack. Frames before it that earn none leave none to mix up."""
        await self.publish(data)
        async with asyncio.timeout(ANSWER_S):
            message = await anext(aiter(self.client.messages))
        assert isinstance(message.payload, bytes)
        return self.gateway.open_ack(message.payload)


def claimed(stack: Stack, site: Site) -> Hostile:
    """Claim a site by the command lines and take its key file into hostile hands."""
    stack.claim(site)
    known = load_identity(site.folder / "data")
    assert known is not None
    identity, key = known
    with stack.cloud.api() as api:
        path = f"/v1/gateways/{identity.gateway}/documents"
        catalog = api.get(f"{path}/{Name.CATALOG}").raise_for_status().content
        keys = api.get(f"{path}/{Name.KEYS}").raise_for_status().content
        config = api.get(f"{path}/{Name.CONFIG}").raise_for_status().content
        citizen = api.post("/v1/citizens", json={"alias": "Maya"}).raise_for_status().json()
        card = api.post(f"/v1/citizens/{citizen['id']}/cards", json={}).raise_for_status().json()
    materials = read_document(parse(catalog).payload, Name.CATALOG, catalog).body(CatalogBody).materials
    announced = read_document(parse(keys).payload, Name.KEYS, keys).body(KeysBody).keys
    journal = Gateway(identity.gateway, document_digest(catalog), epoch=int.from_bytes(key.key_id) >> 1)
    journal.key = key
    return Hostile(
        stack.cloud.url,
        stack.cloud.broker.mqtt_version,
        identity,
        tls_of(site, identity, config),
        journal,
        next(each.points_per_kg for each in materials if each.code == MATERIAL),
        {key_id_of(each.public_key): each.public_key for each in announced},
        Citizen(bytes.fromhex(card["serial"]), card["token"]),
    )


def tls_of(site: Site, identity: Identity, config: bytes) -> BrokerContext:
    """What lets a claimed site in at the broker: the key in its folder, the chain in its config."""
    assert identity.mqtt is not None
    key = keep_tls_key(site.folder / "data", secrets.token_bytes).pem
    chain = b"".join(map(pem_of, certificates_of(config)))
    return broker_context(pem_of(identity.mqtt.root_certificate), key, chain)


def quarantined(stack: Stack, gateway: str) -> list[tuple[int, str]]:
    """Seq and code of what the operator's command lists as held of this gateway."""
    held = [json.loads(line) for line in stack.cloud.run("quarantine", "list", "--json").splitlines()]
    return sorted((line["seq"], line["code"]) for line in held if line["gateway"] == gateway)


def refusals(stack: Stack) -> dict[tuple[str, str, str], int]:
    """What the operator is told of refused deliveries: how many by gateway, road and code."""
    status = json.loads(stack.cloud.run("status", "--json"))
    return {(each["gateway"], each["road"], each["code"]): each["count"] for each in status["refusals"]}


def alarms(stack: Stack) -> list[tuple[str, str]]:
    """Gateway and code of every open alarm."""
    with stack.cloud.api() as api:
        found = api.get("/v1/alarms", params={"open": True}).raise_for_status().json()["items"]
    return [(each["gateway"], each["code"]) for each in found]
