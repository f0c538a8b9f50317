"""Documents over a real mosquitto, with the password and access files that the cloud writes."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from cloud.config import MqttSettings, Settings
from cloud.kit.broker_access import BrokerAccess, check_password, hash_password
from cloud.kit.clock import SystemClock
from cloud.worker.broker import BrokerFiles, access_rules, broker_files
from cloud.worker.publisher import Publisher
from deploy.local.broker import Broker
from deploy.local.processes import free_port
from protocol.bundle import Access, open_documents
from protocol.documents import CatalogBody, PartJoiner
from protocol.status import Status, write_status
from protocol.topics import Lane, document_filter, document_topic, topic
from tests.cloud.api.conftest import Cloud, claimed_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None,
    reason="mosquitto is not installed",
)
NAME, OTHER = "ktm-patan-01", "ktm-patan-02"


def test_passwords_are_hashed_as_mosquitto_does() -> None:
    hashed = hash_password("secret", secrets.token_bytes)
    assert hashed.startswith("$7$101$")
    assert check_password("secret", hashed)
    assert not check_password("other", hashed)
    assert hash_password("secret", secrets.token_bytes) != hashed


def test_the_rules_let_a_gateway_speak_on_its_own_topics_only() -> None:
    assert access_rules("cloud").splitlines() == [
        "user cloud",
        "topic read reloop/v1/+/up",
        "topic read reloop/v1/+/status",
        "topic read reloop/v1/+/telemetry",
        "topic read reloop/v1/+/result",
        "topic write reloop/v1/+/ack",
        "topic write reloop/v1/+/command",
        "topic write reloop/v1/+/doc/+",
        "",
        "pattern write reloop/v1/%u/up",
        "pattern write reloop/v1/%u/status",
        "pattern write reloop/v1/%u/telemetry",
        "pattern write reloop/v1/%u/result",
        "pattern read reloop/v1/%u/ack",
        "pattern read reloop/v1/%u/command",
        "pattern read reloop/v1/%u/doc/+",
    ]


def test_files_that_say_the_same_are_left_alone(tmp_path: Path) -> None:
    access = BrokerAccess(tmp_path / "auth", None)
    assert access.write({"a": "$7$1"}, "rules\n")
    written = (tmp_path / "auth" / "passwd").stat()
    assert written.st_mode & 0o777 == 0o600
    assert not access.write({"a": "$7$1"}, "rules\n")
    assert (tmp_path / "auth" / "passwd").stat().st_ino == written.st_ino
    assert access.login_of("a") == "$7$1"
    assert access.login_of("b") is None


def test_a_stale_process_id_harms_nobody(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        pid_file = tmp_path / "broker.pid"
        access = BrokerAccess(tmp_path / "auth", pid_file)
        for number, content in enumerate((f"{bystander.pid}\n", "999999999", "", "rubbish")):
            pid_file.write_text(content)
            assert access.write({"a": f"$7${number}"}, "rules\n")
        with pytest.raises(subprocess.TimeoutExpired):
            bystander.wait(0.3)
    finally:
        bystander.kill()
        bystander.wait()


@dataclass(slots=True)
class Line:
    """A running broker with a publisher behind it."""

    cloud: Cloud
    broker: Broker
    files: BrokerFiles
    publisher: Publisher
    access: dict[str, Access] = field(default_factory=dict)

    async def claim(self, name: str) -> Access:
        """Claim a gateway and put its login into the broker's files."""
        self.access[name] = (await claimed_site(self.cloud, name)).access
        await self.files.sync(self.cloud.engine)
        return self.access[name]

    @asynccontextmanager
    async def gateway(self, name: str, password: str | None = None) -> AsyncIterator[aiomqtt.Client]:
        """A gateway's connection with what its claim gave it; waits until the broker knows it."""
        mqtt = self.access[name].mqtt
        assert mqtt is not None
        client = await _connected(self.broker.port, name, password or mqtt.password)
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)


async def _connected(port: int, name: str, password: str) -> aiomqtt.Client:
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        client = aiomqtt.Client("127.0.0.1", port, username=name, password=password, timeout=5)
        try:
            return await client.__aenter__()
        except aiomqtt.MqttError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", free_port())
    broker.start()
    yield broker
    broker.process.stop()


@pytest.fixture
async def line(cloud: Cloud, broker: Broker, tmp_path: Path) -> AsyncIterator[Line]:
    mqtt = MqttSettings("127.0.0.1", broker.port, "cloud", "cloud-password")
    settings = Settings(
        data_dir=tmp_path, mqtt=mqtt, broker_auth_dir=broker.auth, broker_pid_file=broker.pid_file
    )
    files = broker_files(settings, cloud.services.gateways, secrets.token_bytes)
    assert files is not None
    await files.sync(cloud.engine)
    publisher = Publisher(
        cloud.engine, cloud.services.documents, cloud.services.gateways, mqtt, SystemClock()
    )
    task = asyncio.create_task(publisher.run())
    yield Line(cloud, broker, files, publisher)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def eventually(happened: Callable[[], Awaitable[bool]], timeout_s: float = 15) -> None:
    """Look until it happened."""
    async with asyncio.timeout(timeout_s):
        while not await happened():
            await asyncio.sleep(0.05)


async def received(client: aiomqtt.Client, wanted: set[str], timeout_s: float = 20) -> dict[str, bytes]:
    """Join the parts that arrive until these documents are whole; the manifest comes in one piece."""
    joiners: dict[str, PartJoiner] = {}
    found: dict[str, bytes] = {}
    async with asyncio.timeout(timeout_s):
        async for message in client.messages:
            name, payload = str(message.topic).rpartition("/")[2], message.payload
            assert isinstance(payload, bytes)
            whole = payload if name == "manifest" else joiners.setdefault(name, PartJoiner()).add(payload)
            if whole is not None:
                found[name] = whole
            if wanted <= found.keys():
                return found
    raise AssertionError("the connection ended")


def birth(name: str, documents: dict[str, str] | None = None) -> bytes:
    return write_status(Status(True, name, 7, 1, head=9, acked=4, documents=documents or {}))


@needs_mosquitto
async def test_a_gateway_with_nothing_gets_everything(line: Line) -> None:
    await line.claim(NAME)
    async with line.gateway(NAME) as client:
        await client.subscribe(document_filter(NAME), qos=1)
        await client.publish(topic(NAME, Lane.STATUS), birth(NAME), qos=1, retain=True)
        found = await received(client, {"manifest", "keys", "catalog", "revocations", "config"})
    documents = open_documents(list(found.values()), line.cloud.keyring.root.public)
    assert len(documents) == 5
    shown = (await line.cloud.operator.get(f"/v1/gateways/{NAME}")).json()
    assert (shown["backlog"], shown["birth"]["online"]) == (5, True)


@needs_mosquitto
async def test_a_new_rate_reaches_those_who_are_there(line: Line) -> None:
    access = await line.claim(NAME)
    held = {one.name: one for one in open_documents(access.documents, access.root_public_key)}
    digests = {name: one.digest.hex() for name, one in held.items()}
    async with line.gateway(NAME) as client:
        await client.subscribe(document_filter(NAME), qos=1)
        await received(client, {"manifest"})
        await client.publish(topic(NAME, Lane.STATUS), birth(NAME, digests), qos=1, retain=True)

        async def announced() -> bool:
            shown = (await line.cloud.operator.get(f"/v1/gateways/{NAME}")).json()
            return shown["birth"] is not None

        await eventually(announced)
        await line.cloud.operator.post("/v1/materials/pet/rates", json={"points_per_kg": 41})
        found = await received(client, {"catalog", "manifest"})
    assert set(found) == {"catalog", "manifest"}, "what it holds already is not sent again"
    keys = next(data for data in access.documents if data == held["keys"].data)
    (catalog,) = (
        one
        for one in open_documents([keys, found["catalog"]], access.root_public_key)
        if one.name == "catalog"
    )
    assert {one.code: one.points_per_kg for one in catalog.body(CatalogBody).materials}["pet"] == 41


@needs_mosquitto
async def test_the_manifest_waits_retained_for_a_gateway_that_was_away(line: Line) -> None:
    await line.claim(NAME)

    async def published() -> bool:
        return line.publisher.published(NAME)

    await eventually(published)
    async with line.gateway(NAME) as client:
        await client.subscribe(document_topic(NAME, "manifest"), qos=1)
        message = await asyncio.wait_for(anext(aiter(client.messages)), 10)
        assert message.retain


@needs_mosquitto
async def test_a_gateway_hears_and_speaks_as_itself_only(line: Line) -> None:
    await line.claim(NAME)
    await line.claim(OTHER)
    async with line.gateway(NAME) as one, line.gateway(OTHER) as other:
        await one.subscribe(document_filter(NAME), qos=1)
        await one.subscribe(document_filter(OTHER), qos=1)
        await other.publish(topic(NAME, Lane.STATUS), birth(NAME), qos=1)
        await other.publish(topic(OTHER, Lane.STATUS), birth(OTHER), qos=1)

        async def other_announced() -> bool:
            return (await line.cloud.operator.get(f"/v1/gateways/{OTHER}")).json()["birth"] is not None

        await eventually(other_announced)
        assert (await line.cloud.operator.get(f"/v1/gateways/{NAME}")).json()["birth"] is None
        await one.publish(topic(NAME, Lane.STATUS), birth(NAME), qos=1)
        heard: set[str] = set()
        async with asyncio.timeout(20):
            async for message in one.messages:
                heard.add(str(message.topic))
                if document_topic(NAME, "config") in heard:
                    break
    assert {name.split("/")[2] for name in heard} == {NAME}


@needs_mosquitto
async def test_a_revoked_gateway_is_dropped_and_stays_out(line: Line) -> None:
    access = await line.claim(NAME)
    assert access.mqtt is not None
    async with line.gateway(NAME) as client:
        await client.subscribe(document_filter(NAME), qos=1)
        await received(client, {"manifest"})
        await line.cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
        assert await line.files.sync(line.cloud.engine)
        with pytest.raises(aiomqtt.MqttError):
            await asyncio.wait_for(_listen_until_dropped(client), 20)
    refused = aiomqtt.Client("127.0.0.1", line.broker.port, username=NAME, password=access.mqtt.password)
    with pytest.raises(aiomqtt.MqttError):
        await refused.__aenter__()


async def _listen_until_dropped(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass


@needs_mosquitto
async def test_nobody_comes_in_without_a_password(line: Line) -> None:
    for login in ({}, {"username": "cloud", "password": "guess"}, {"username": NAME, "password": "x"}):
        values: dict[str, Any] = login
        with pytest.raises(aiomqtt.MqttError):
            await aiomqtt.Client("127.0.0.1", line.broker.port, **values).__aenter__()
