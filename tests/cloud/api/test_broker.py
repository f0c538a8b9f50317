"""Documents over a real mosquitto in the folder that the cloud keeps; who is revoked is thrown out of it."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from sqlalchemy import text

from cloud.config import MqttSettings, Settings
from cloud.kit.broker_door import BrokerDoor
from cloud.kit.broker_folder import BrokerFolder
from cloud.kit.clock import SystemClock
from cloud.worker.broker import ALARMS, BrokerKeeper, broker_keeper
from cloud.worker.broker_files import access_rules
from cloud.worker.publisher import Publisher
from deploy.local.broker import Broker
from deploy.local.processes import free_port
from protocol.bundle import Access, open_documents, read_access
from protocol.codes import gateway_code_secret
from protocol.documents import CatalogBody, PartJoiner
from protocol.enrolment import build_enrolment
from protocol.status import Status, write_status
from protocol.topics import Lane, document_filter, document_topic, topic
from tests.cloud.api.conftest import Cloud
from tests.cloud.ingest.gateway import Gateway
from tests.cloud.tls import TlsKey, certificates_of, config_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None,
    reason="mosquitto is not installed",
)
NAME, OTHER = "ktm-patan-01", "ktm-patan-02"


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
    folder = BrokerFolder(tmp_path, None)
    assert folder.replace("acl", b"rules\n")
    written = (tmp_path / "acl").stat()
    assert written.st_mode & 0o777 == 0o600
    assert not folder.replace("acl", b"rules\n")
    assert (tmp_path / "acl").stat().st_ino == written.st_ino


def test_a_folder_that_is_shared_gives_its_files_to_its_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o2750)
    BrokerFolder(tmp_path, None).replace("server.key", b"secret")
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o640


def test_a_stale_process_id_harms_nobody(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        pid_file = tmp_path / "broker.pid"
        folder = BrokerFolder(tmp_path, pid_file)
        for content in (f"{bystander.pid}\n", "999999999", "", "rubbish"):
            pid_file.write_text(content)
            assert not folder.tell()
        with pytest.raises(subprocess.TimeoutExpired):
            bystander.wait(0.3)
    finally:
        bystander.kill()
        bystander.wait()


@dataclass(slots=True)
class Member:
    """A claimed gateway: what its claim answered, its TLS key and the chain it was given."""

    access: Access
    tls: TlsKey
    chain: list[bytes]
    port: int

    def client(self) -> aiomqtt.Client:
        return self.tls.client(self.access, self.chain, self.port)


@dataclass(slots=True)
class Line:
    """A running broker with a publisher behind it."""

    cloud: Cloud
    broker: Broker
    keeper: BrokerKeeper
    publisher: Publisher
    members: dict[str, Member] = field(default_factory=dict)

    async def claim(self, name: str) -> Member:
        """Claim a gateway that asks for a certificate."""
        code, tls = await self.cloud.gateway(name), TlsKey.make()
        enrolment = build_enrolment(name, gateway_code_secret(code), Gateway(name).key, tls.csr)
        body = {"code": code, "enrolment": base64.b64encode(enrolment).decode()}
        answer = read_access((await self.cloud.anyone.post("/v1/gateways/claim", json=body)).content)
        self.members[name] = Member(answer, tls, certificates_of(config_of(answer)), self.broker.port)
        return self.members[name]

    @asynccontextmanager
    async def gateway(self, name: str) -> AsyncIterator[aiomqtt.Client]:
        """A gateway's connection with what its claim gave it."""
        async with self.members[name].client() as client:
            yield client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", free_port(), tmp_path)
    broker.start()
    yield broker
    broker.process.stop()


@pytest.fixture
async def line(cloud: Cloud, broker: Broker, tmp_path: Path) -> AsyncIterator[Line]:
    services = cloud.services
    mqtt = MqttSettings("127.0.0.1", broker.inside_port)
    settings = Settings(data_dir=tmp_path, mqtt=mqtt, broker_dir=broker.auth, broker_pid_file=broker.pid_file)
    keeper = broker_keeper(settings, cloud.authority, services.certificates, SystemClock())
    assert keeper is not None
    door = BrokerDoor(mqtt, cloud.authority, services.certificates.now)
    publisher = Publisher(cloud.engine, services.documents, services.gateways, door, SystemClock())
    task = asyncio.create_task(publisher.run())
    yield Line(cloud, broker, keeper, publisher)
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
    access = (await line.claim(NAME)).access
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
    member = await line.claim(NAME)
    await line.claim(OTHER)
    async with line.gateway(NAME) as client, line.gateway(OTHER) as other:
        await client.subscribe(document_filter(NAME), qos=1)
        await received(client, {"manifest"})
        await line.cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
        assert await line.keeper.sync(line.cloud.engine)
        with pytest.raises(aiomqtt.MqttError):
            await asyncio.wait_for(_listen_until_dropped(client), 20)
        await other.publish(topic(OTHER, Lane.STATUS), birth(OTHER), qos=1)
    with pytest.raises(aiomqtt.MqttError):
        await member.client().__aenter__()
    async with line.gateway(OTHER):
        pass


async def _listen_until_dropped(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass


@needs_mosquitto
async def test_whoever_is_revoked_while_the_broker_is_away_is_out_when_it_is_back(line: Line) -> None:
    member = await line.claim(NAME)
    line.broker.process.stop()
    await line.cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    assert not await line.keeper.sync(line.cloud.engine), "nobody has read it"
    line.broker.process.start()
    line.broker.pid_file.write_text(f"{line.broker.process.pid}\n")  # it may not listen yet

    async def done() -> bool:
        return await line.keeper.sync(line.cloud.engine)

    await eventually(done)
    with pytest.raises(aiomqtt.MqttError):
        await member.client().__aenter__()
    async with line.cloud.engine.begin() as connection:
        left = await connection.execute(
            text("select count(*) from gateway_certificates where evicted_at is null")
        )
    assert left.scalar_one() == 0


@needs_mosquitto
async def test_another_process_sees_that_nothing_is_left_to_do(line: Line) -> None:
    """Two processes that keep one folder must not wake the broker in turns."""
    assert await line.keeper.sync(line.cloud.engine, thorough=True)
    listed = (line.broker.auth / "revoked.pem").read_bytes()
    assert await line.keeper.sync(line.cloud.engine, thorough=True)
    assert await replace(line.keeper, confirmed=None).sync(line.cloud.engine)
    assert (line.broker.auth / "revoked.pem").read_bytes() == listed


@needs_mosquitto
async def test_the_list_and_the_brokers_certificate_are_renewed_in_time(line: Line) -> None:
    now = line.keeper.now()
    assert await line.keeper.sync(line.cloud.engine, thorough=True)
    files = {name: (line.broker.auth / name).read_bytes() for name in ("revoked.pem", "server.pem")}
    tomorrow = replace(line.keeper, now=lambda: now + timedelta(hours=25))
    await tomorrow.sync(line.cloud.engine)  # the broker, who lives today, does not believe tomorrow's canary
    assert (line.broker.auth / "revoked.pem").read_bytes() != files["revoked.pem"]
    assert (line.broker.auth / "server.pem").read_bytes() == files["server.pem"]
    later = replace(line.keeper, now=lambda: now + timedelta(days=61))
    await later.sync(line.cloud.engine)
    assert (line.broker.auth / "server.pem").read_bytes() != files["server.pem"]


@needs_mosquitto
async def test_nobody_comes_in_without_a_certificate_of_ours(line: Line) -> None:
    member = await line.claim(NAME)
    assert member.access.mqtt is not None
    plain = aiomqtt.Client("127.0.0.1", line.broker.port, timeout=2)
    with pytest.raises(aiomqtt.MqttError):
        await plain.__aenter__()
    inside = member.tls.client(member.access, member.chain, line.broker.inside_port)
    with pytest.raises(aiomqtt.MqttError):
        await inside.__aenter__()


@needs_mosquitto
async def test_an_operator_is_told_while_the_broker_lives_on_old_lists_or_has_not_read_the_new(
    line: Line, tmp_path: Path
) -> None:
    assert await line.keeper.sync(line.cloud.engine, thorough=True)
    assert await told(line, line.keeper) == []
    now = line.keeper.now()
    later = replace(line.keeper, now=lambda: now + timedelta(days=85))
    assert await told(line, later) == ["broker.certificate_old", "broker.revocations_old"]
    assert await told(line, later) == ["broker.certificate_old", "broker.revocations_old"], "once"
    line.broker.process.stop()
    clock = [now]
    lonely = replace(line.keeper, confirmed=None, now=lambda: clock[0])
    assert not await lonely.sync(line.cloud.engine, thorough=True)
    clock[0] += timedelta(minutes=11)
    assert await told(line, lonely) == ["broker.revocations_unread"]


async def told(line: Line, keeper: BrokerKeeper) -> list[str]:
    """The alarms that are open after these complaints."""
    alarms = line.cloud.services.alarms
    async with line.cloud.engine.begin() as connection:
        for code in ALARMS:
            await alarms.keep(connection, code, keeper.complaints().get(code))
    answer = await line.cloud.operator.get("/v1/alarms", params={"open": True})
    return sorted(each["code"] for each in answer.json()["items"])
