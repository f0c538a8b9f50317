"""Mutual TLS: whom we believe, who lets us in, and that none of it keeps a weighing from the cloud."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.responses import Response

from edge.sync.https import HttpsRoad
from edge.sync.roads import BrokerUnknown, CertificateRefused, RoadError, RoadRefused
from protocol.bundle import Broker
from protocol.records import ClockQuality
from protocol.status import Status
from tests.edge.hand_clock import HandClock
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import DEADLINE_S, cloud_answer, mqtt, syncing, until, web
from tests.edge.sync.tls_broker import Papers, TlsBroker

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from edge.sync.credentials import Credentials
    from tests.edge.sync.conftest import Gateway

YEAR = timedelta(days=365)
WILL = Status(False, GATEWAY, 1, 1)
VERSIONS = pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


async def refusal(papers: Papers, credentials: Credentials, port: int | None = None) -> RoadError:
    with pytest.raises(RoadError) as caught:
        async with mqtt(papers, port, credentials=credentials).link(WILL, 3.0):
            pass
    return caught.value


async def test_without_a_certificate_the_broker_is_not_asked(papers: Papers) -> None:
    standing = papers.credentials([])
    assert "certificate" in standing.waits_for()
    assert standing.word() == "asked for"
    assert isinstance(await refusal(papers, standing, 1), RoadRefused)


@pytest.mark.parametrize("junk", [[b""], [b"\x30\x00"], [b"\xff" * 500]], ids=["empty", "short", "noise"])
def test_what_is_no_certificate_is_as_good_as_none(papers: Papers, junk: list[bytes]) -> None:
    assert papers.credentials(junk).waits_for()
    assert papers.credentials([*papers.certificates(), *junk]).waits_for()


def test_a_certificate_of_another_key_is_as_good_as_none(papers: Papers, tmp_path: Path) -> None:
    other = Papers(tmp_path / "other", GATEWAY)
    assert papers.credentials(papers.certificates(key=other.key)).waits_for()


def test_the_word_says_until_when_it_is_valid_and_that_it_is_over(papers: Papers) -> None:
    end = datetime.now(UTC) + timedelta(days=90)
    assert papers.credentials().word() in {
        f"valid until {end:%Y-%m-%d}",
        f"valid until {end - timedelta(seconds=60):%Y-%m-%d}",
    }
    assert papers.credentials(papers.certificates(ago=YEAR)).word().startswith("expired on ")


async def test_a_certificate_that_was_revoked_is_refused_with_that_word(broker: TlsBroker) -> None:
    certificates = broker.certificates()
    broker.revoke(certificates)
    standing = broker.credentials(certificates)
    refused = await refusal(broker, standing)
    assert isinstance(refused, CertificateRefused)
    assert str(refused) == "the broker refuses our certificate: certificate revoked"
    assert standing.word() == "refused: certificate revoked"


async def test_an_expired_certificate_is_refused_with_that_word_and_a_new_one_let_in(
    broker: TlsBroker,
) -> None:
    held = [broker.certificates(ago=YEAR)]
    standing = broker.credentials()
    standing._certificates = lambda: held[0]
    assert isinstance(await refusal(broker, standing), CertificateRefused)
    assert standing.word() == "refused: certificate expired"
    held[0] = broker.certificates()
    assert standing.word().startswith("valid until")
    async with mqtt(broker, credentials=standing).link(WILL, 3.0):
        pass


async def test_a_certificate_of_a_strange_authority_is_refused(broker: TlsBroker, tmp_path: Path) -> None:
    strange = Papers(tmp_path / "strange", GATEWAY)
    standing = strange.credentials(broker=broker.broker)
    assert isinstance(await refusal(broker, standing), CertificateRefused)


@VERSIONS
async def test_a_broker_of_a_strange_authority_is_never_told_anything(
    papers: Papers, tmp_path: Path, tls: ssl.TLSVersion
) -> None:
    context = Papers(tmp_path / "strange", GATEWAY).server()
    context.maximum_version = tls
    heard = await what_a_server_hears(papers, papers.credentials(), context, BrokerUnknown)
    assert heard == b""


@pytest.mark.parametrize(("name", "believed"), [("broker.reloop.internal", True), ("elsewhere", False)])
async def test_the_broker_s_name_is_the_claim_s_whatever_host_it_is(
    papers: Papers, name: str, believed: bool
) -> None:
    broker = Broker("127.0.0.1", 1, name, papers.broker.root_certificate)
    kind = RoadError if believed else BrokerUnknown
    heard = await what_a_server_hears(papers, papers.credentials(broker=broker), papers.server(), kind)
    assert (GATEWAY.encode() in heard) is believed


@pytest.mark.parametrize("quality", list(ClockQuality))
async def test_the_broker_s_dates_count_only_while_the_clock_is_synchronised(
    papers: Papers, quality: ClockQuality
) -> None:
    synced = quality is ClockQuality.SYNCED
    standing = papers.credentials(clock=HandClock(worth=quality))
    server = papers.server(ago=YEAR)
    heard = await what_a_server_hears(papers, standing, server, BrokerUnknown if synced else RoadError)
    assert (GATEWAY.encode() in heard) is not synced


async def test_tls_below_1_2_is_not_spoken(papers: Papers) -> None:
    assert papers.credentials().context().minimum_version is ssl.TLSVersion.TLSv1_2


async def what_a_server_hears(
    papers: Papers, credentials: Credentials, server: ssl.SSLContext, kind: type[RoadError]
) -> bytes:
    """What the gateway's side says to a server that then hangs up, which must be taken for `kind`."""
    heard = bytearray()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.transport.abort()

    listening = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        assert type(await refusal(papers, credentials, port)) is kind
    return bytes(heard)


@pytest.mark.parametrize("root", [b"\x30\x00", b"no certificate at all"])
async def test_a_root_that_cannot_be_used_is_said(papers: Papers, root: bytes) -> None:
    standing = papers.credentials(broker=Broker("127.0.0.1", 1, "broker", root))
    assert "claim anew" in str(await refusal(papers, standing, 1))


def weak_authority() -> bytes:
    """A certificate with a key that is too short for TLS today, as nobody should have signed it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is what is refused
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    start = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + YEAR)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


async def test_a_chain_that_tls_will_not_show_rests_the_broker_and_https_goes_on(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill(3)
    standing = broker.credentials([*broker.certificates(), weak_authority()])
    async with (
        web(cloud_answer(gateway.cloud)) as url,
        syncing(gateway, mqtt(broker, credentials=standing), HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 3)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
        assert sync.lanes[0].rests_until_s > gateway.wiring.clock.monotonic()
    refused = await refusal(broker, standing)
    assert isinstance(refused, CertificateRefused)
    assert str(refused).startswith("our own certificate cannot be used")


async def test_a_refused_certificate_opens_no_breaker_and_https_goes_on(
    gateway: Gateway, broker: TlsBroker
) -> None:
    certificates = broker.certificates()
    broker.revoke(certificates)
    await gateway.fill(3)
    standing = broker.credentials(certificates)
    async with (
        web(cloud_answer(gateway.cloud)) as url,
        syncing(gateway, mqtt(broker, credentials=standing), HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 3)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
    assert gateway.wiring.traffic.alarms["sync.certificate_refused"] == 1


async def test_a_gateway_without_a_certificate_asks_over_https_once_a_session_and_then_goes_over(
    gateway: Gateway, broker: TlsBroker
) -> None:
    held: list[bytes] = []
    standing = broker.credentials()
    standing._certificates = lambda: held
    request = b"an enrolment, as far as this cloud goes"
    wiring = replace(gateway.wiring, enrolment=lambda: request if standing.waits_for() else None)
    gateway = replace(gateway, wiring=wiring)
    await gateway.fill(3)
    async with (
        web(cloud_answer(gateway.cloud)) as url,
        gateway.cloud.on_broker(broker),
        syncing(gateway, mqtt(broker, credentials=standing), HttpsRoad(url, GATEWAY)) as sync,
    ):
        await until(lambda: gateway.journal.acked == 3)
        await gateway.fill(3)
        await until(lambda: gateway.journal.acked == 6)
        assert sync.road == "https"
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0
        held = broker.certificates()
        await until(lambda: sync.road == "mqtt")
    assert gateway.cloud.envelopes.count(request) == 1
    assert gateway.cloud.envelopes[0] == request


async def test_a_gateway_that_has_mqtt_alone_waits_and_says_for_what(
    gateway: Gateway, broker: TlsBroker
) -> None:
    standing = broker.credentials([])
    async with syncing(gateway, mqtt(broker, credentials=standing)) as sync:
        await until(lambda: "certificate" in sync.problem)
        assert sync.lanes[0].breaker.snapshot()["failures"] == 0


async def test_a_request_that_the_cloud_refuses_holds_no_weighing_back(gateway: Gateway) -> None:
    wiring = replace(gateway.wiring, enrolment=lambda: b"refused")
    gateway = replace(gateway, wiring=wiring)
    await gateway.fill(3)
    take = cloud_answer(gateway.cloud)

    def answer(request: Request, body: bytes) -> Response:
        return Response(status_code=422) if body == b"refused" else take(request, body)

    async with (
        web(answer) as url,
        syncing(gateway, HttpsRoad(url, GATEWAY)),
    ):
        await until(lambda: gateway.journal.acked == 3)
    assert gateway.wiring.traffic.alarms["sync.enrolment_refused"] == 1


async def test_an_agent_that_is_stopped_waits_for_no_handshake(papers: Papers) -> None:
    held = list[asyncio.StreamWriter]()
    listening = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    link = mqtt(papers, port, timeout_s=10 * DEADLINE_S).link(WILL, 3.0)
    async with listening, asyncio.timeout(DEADLINE_S):
        opening = asyncio.create_task(link.__aenter__())
        await until(lambda: bool(held))
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()
    for writer in held:
        writer.close()


async def test_an_agent_that_is_stopped_before_its_connection_is_open_leaves_none_open(
    papers: Papers,
) -> None:
    """A name is looked up in a thread that nobody can cancel: it connects when the agent waits no more."""
    opened, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        closed.set()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=papers.server())
    async with listening, asyncio.timeout(DEADLINE_S):
        road = mqtt(papers, listening.sockets[0].getsockname()[1])
        client = road._client(WILL, 3.0, papers.credentials().context())
        faults = list[dict[str, object]]()
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        client.hang_up()
        await asyncio.to_thread(client._client_connect)
        await opened.wait()
        await closed.wait()
    assert faults == []


def test_a_key_reaches_tls_without_a_file_on_the_disk(papers: Papers) -> None:
    standing = papers.credentials()
    shutil.rmtree(papers.folder)
    before = os.listdir("/proc/self/fd")
    assert standing.context().cert_store_stats()["x509_ca"] == 1
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert not papers.folder.exists()
