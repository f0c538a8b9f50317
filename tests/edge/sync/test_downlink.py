"""Documents on their way down, into a real directory, signed by real keys, over both roads."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from starlette.responses import Response

from edge.clock import SystemClock
from edge.directory import Directory
from edge.sync.courier import import_courier
from edge.sync.downlink import Documents
from edge.sync.https import HttpsRoad
from edge.sync.roads import DocumentArrived, ManifestArrived, PartArrived
from protocol.bodies import DocumentApplied
from protocol.courier import Direction, Header, Item, write_header, write_item
from protocol.documents import ManifestBody, ManifestEntry, build_document, document_digest, split_document
from protocol.topics import Lane, document_topic, lane_filter
from tests.edge.directory.signing_cloud import Cloud
from tests.edge.hand_clock import NOW_MS
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import DEADLINE_S, cloud_answer, mqtt, syncing, until, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.requests import Request

    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.tls_broker import TlsBroker

CARD = b"\x07" * 9
MANY = b"".join(number.to_bytes(9, "big") for number in range(30_000))
"""Revoked serials that take five parts."""


class Publisher(Cloud):
    """The signing cloud with something to offer."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: dict[str, bytes] = {}
        self.offer(self.keys(), self.catalog(), self.revocations(CARD + MANY), self.config())

    def offer(self, *documents: bytes) -> None:
        from protocol.bundle import peek_name

        self.offered |= {peek_name(data): data for data in documents}

    @property
    def manifest(self) -> bytes:
        entries = [
            ManifestEntry(name, 1, 1, document_digest(data), len(data)) for name, data in self.offered.items()
        ]
        return build_document("manifest", 1, 1, NOW_MS, ManifestBody(entries), self.document)

    def digests(self) -> dict[str, bytes]:
        return {name: document_digest(data) for name, data in self.offered.items()}

    def parts(self, name: str) -> list[PartArrived]:
        return [PartArrived(name, part) for part in split_document(name, self.offered[name])]

    @contextlib.asynccontextmanager
    async def on_broker(self, broker: TlsBroker) -> AsyncIterator[None]:
        """The retained manifest, and all that it names to whoever says hello."""
        async with broker.inside() as client:
            await client.publish(document_topic(GATEWAY, "manifest"), self.manifest, qos=1, retain=True)
            await client.subscribe(lane_filter(Lane.STATUS), qos=1)
            telling = asyncio.create_task(self._tell(client))
            try:
                yield
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, client: aiomqtt.Client) -> None:
        async for _ in client.messages:
            for name, data in self.offered.items():
                for part in split_document(name, data):
                    await client.publish(document_topic(GATEWAY, name), part, qos=1)

    def on_web(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        data = self.manifest if name == "manifest" else self.offered.get(name)
        if data is None:
            return Response(status_code=404)
        return Response(data, media_type="application/cose")


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def directory(publisher: Publisher, tmp_path: Path) -> Iterator[Directory]:
    directory = Directory.open(tmp_path / "directory.db", publisher.root.public, SystemClock(), GATEWAY)
    yield directory
    directory.close()


@pytest.fixture
def documents(gateway: Gateway, publisher: Publisher, directory: Directory) -> Documents:
    """Knowing the keys already, as after a claim."""
    directory.apply("keys", publisher.offered["keys"])
    return Documents(directory, gateway.journal, gateway.wiring.traffic.alarm)


async def journalled(gateway: Gateway) -> list[str]:
    bodies = [entry.record.body for entry in await gateway.journal.entries(1, gateway.journal.head)]
    return [body.name for body in bodies if isinstance(body, DocumentApplied)]


async def until_applied(gateway: Gateway, directory: Directory, publisher: Publisher) -> None:
    """All is in force, and so is what the journal says of it, which is written a moment later."""
    await until(lambda: directory.digests() == publisher.digests())
    async with asyncio.timeout(DEADLINE_S):
        while len(await journalled(gateway)) < len(publisher.offered) - 1:  # the keys were known
            await asyncio.sleep(0.02)


async def test_documents_come_in_parts_over_mqtt(
    gateway: Gateway, broker: TlsBroker, publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    assert len(publisher.parts("revocations")) > 3, "or nothing is joined"
    gateway = replace(gateway, wiring=replace(gateway.wiring, documents=documents))
    async with publisher.on_broker(broker), syncing(gateway, mqtt(broker)):
        await until_applied(gateway, directory, publisher)
    assert directory.revoked(CARD)
    assert sorted(await journalled(gateway)) == ["catalog", "config", "revocations"]
    assert documents.wanted == []


async def test_documents_come_whole_over_https(
    gateway: Gateway, publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    gateway = replace(gateway, wiring=replace(gateway.wiring, documents=documents))
    frames = cloud_answer(gateway.cloud)

    def answer(request: Request, body: bytes) -> Response:
        return frames(request, body) if body else publisher.on_web(request)

    async with web(answer) as url, syncing(gateway, HttpsRoad(url, GATEWAY)):
        await until_applied(gateway, directory, publisher)
    assert sorted(await journalled(gateway)) == ["catalog", "config", "revocations"]


async def test_a_document_that_is_missing_keeps_back_no_other(
    gateway: Gateway, publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    config = publisher.offered.pop("config")
    manifest = publisher.manifest
    publisher.offer(config)
    await documents.arrived(ManifestArrived(manifest))
    assert documents.wanted == ["revocations", "catalog"], "what nobody offers is not wanted; keys are held"
    await documents.arrived(DocumentArrived("catalog", publisher.offered["catalog"]))
    assert documents.wanted == ["revocations"]


async def test_lost_doubled_and_mixed_up_parts_are_joined_once_all_are_there(
    publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    parts = publisher.parts("revocations")
    for part in [parts[2], parts[0], parts[0], *reversed(parts[3:])]:
        await documents.arrived(part)
    assert not directory.revoked(CARD)
    for part in publisher.parts("catalog"):
        await documents.arrived(part)
    assert directory.catalog() is not None, "another document does not wait for the lost part"
    await documents.arrived(parts[1])
    assert directory.revoked(CARD)


async def test_a_newer_version_in_the_middle_of_an_older_one_wins(
    publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    old = publisher.parts("revocations")
    publisher.offer(publisher.revocations(MANY, version=2))
    new = publisher.parts("revocations")
    for part in [*old[:-1], *new]:
        await documents.arrived(part)
    held = directory.document("revocations")
    assert held is not None
    assert held.version == 2
    for part in old:
        await documents.arrived(part)
    held = directory.document("revocations")
    assert held is not None
    assert held.version == 2, "an older one is refused"


async def test_what_cannot_be_used_is_counted_and_leaves_all_as_it_was(
    gateway: Gateway, publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    before = directory.digests()
    stranger = Cloud()
    stranger.document = stranger.card  # signs with a key that is no document key
    forged = stranger.catalog()
    whole = publisher.offered["catalog"]
    for item in (
        ManifestArrived(b""),
        ManifestArrived(whole),
        DocumentArrived("catalog", forged),
        DocumentArrived("catalog", whole[:-1] + bytes([whole[-1] ^ 1])),
        DocumentArrived("revocations", whole),
        DocumentArrived("firmware", whole),
        PartArrived("catalog", b"\xff" * 100),
        PartArrived("firmware", b""),
    ):
        alarms = sum(gateway.wiring.traffic.alarms.values())
        await documents.arrived(item)
        assert sum(gateway.wiring.traffic.alarms.values()) == alarms + 1, item
    assert directory.digests() == before
    assert await journalled(gateway) == []


async def test_the_same_document_again_is_no_news(
    gateway: Gateway, publisher: Publisher, documents: Documents
) -> None:
    for _ in range(3):
        await documents.arrived(DocumentArrived("catalog", publisher.offered["catalog"]))
    assert await journalled(gateway) == ["catalog"]


async def test_readers_see_what_was_or_what_is_while_documents_are_swapped(
    publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    done = asyncio.Event()

    async def swap() -> None:
        for version in range(1, 40):
            await documents.arrived(DocumentArrived("catalog", publisher.catalog(version=version)))
            await documents.trust_time(NOW_MS + version * 1_000_000)
        done.set()

    swapping = asyncio.create_task(swap())
    seen: set[int] = set()
    while not done.is_set():
        view = directory.catalog()
        if view is not None:
            version = view.body.materials[0].rate_version
            assert view.digest == document_digest(publisher.catalog(version=version))
            seen.add(version)
        await asyncio.sleep(0)
    await swapping
    assert max(seen, default=0) >= 1


async def test_documents_come_by_courier_too(
    gateway: Gateway, documents: Documents, directory: Directory, publisher: Publisher, tmp_path: Path
) -> None:
    """Keys first, as the cloud writes them; a manifest among them only says what there is."""
    gateway = replace(gateway, wiring=replace(gateway.wiring, documents=documents))
    path = tmp_path / "answer.rlc"
    with path.open("wb") as stream:
        write_header(stream, Header(Direction.DOWN, GATEWAY, 1))
        for data in (publisher.manifest, *publisher.offered.values(), b"none of ours"):
            write_item(stream, Item.DOCUMENT, data)
    imported = await import_courier(gateway.wiring, path)
    assert (imported.documents, imported.refused) == (5, 1)
    assert directory.digests() == publisher.digests()
    assert documents.wanted == []


async def test_what_an_enrolment_brings_is_fetched_at_once(
    gateway: Gateway, publisher: Publisher, directory: Directory, documents: Documents
) -> None:
    """A certificate, as a rule: an idle session would ask a minute later."""
    request, certificate = b"an enrolment, as far as this cloud goes", b"a certificate"

    def answer(asked: Request, body: bytes) -> Response:
        if asked.method == "GET":
            return publisher.on_web(asked)
        if body == request:
            publisher.offer(publisher.config(2, [certificate]))
            return Response(b"", media_type="application/cose")
        return cloud_answer(gateway.cloud)(asked, body)

    for name, data in publisher.offered.items():
        directory.apply(name, data)
    wiring = replace(gateway.wiring, documents=documents, enrolment=lambda: request)
    gateway = replace(gateway, wiring=wiring)
    await gateway.fill(3)
    async with web(answer) as url, syncing(gateway, HttpsRoad(url, GATEWAY)):
        await until(lambda: gateway.journal.acked >= 3)
        await until(lambda: (held := directory.config()) is not None and held.certificates == [certificate])
