"""What a gateway says first: until the cloud knows its key, and until its TLS key has a certificate."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import pytest

from edge.agent import make_sync
from edge.config import CloudSettings, JournalSettings, Settings
from edge.core import Core, open_core
from edge.identity import claim_by_bundle, enrolled, load_identity
from edge.sync.https import HttpsRoad
from edge.sync.roads import RoadName
from edge.sync.trust import NO_CHECK_TIME
from protocol.bundle import Access, write_bundle
from protocol.codes import new_gateway_code
from protocol.cose import SigningKey
from protocol.enrolment import open_enrolment
from protocol.errors import DocumentError, ProtocolError
from tests.edge.directory.signing_cloud import DAY_S, Cloud
from tests.edge.hand_clock import NOW_MS, HandClock
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.tls_broker import Papers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protocol.bundle import Broker

CLOUD = Cloud()
BOTH = ("mqtt", "https")


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "papers", GATEWAY)


def claimed(folder: Path, broker: Broker | None) -> None:
    """By a bundle."""
    documents = [CLOUD.keys(), CLOUD.config()]
    access = Access(GATEWAY, CLOUD.root.public, "https://cloud.test", broker, documents)
    bundle = folder / "one.bundle"
    bundle.write_bytes(write_bundle(new_gateway_code(secrets.token_bytes), access))
    claim_by_bundle(folder / "data", bundle, secrets.token_bytes)


def known_to_the_cloud(folder: Path) -> None:
    known = load_identity(folder / "data")
    assert known is not None
    enrolled(folder / "data", known[0])


@contextlib.asynccontextmanager
async def opened(folder: Path, roads: tuple[str, ...] = BOTH, **cloud: str) -> AsyncIterator[Core]:
    settings = Settings(
        data_dir=folder / "data",
        cloud=CloudSettings(roads=roads, **cloud),  # type: ignore[arg-type]
        journal=JournalSettings(ballast_bytes=0, free_bytes_min=0),
    )
    core = open_core(settings, HandClock())
    try:
        core.directory.apply("keys", CLOUD.keys())
        yield core
    finally:
        await core.close()


async def test_a_bundle_s_gateway_brings_its_key_and_asks_for_a_certificate(
    tmp_path: Path, papers: Papers
) -> None:
    claimed(tmp_path, papers.broker)
    async with opened(tmp_path) as core:
        said = core.wiring.enrolment()
        assert said is not None
        assert core.credentials is not None
        assert open_enrolment(said).csr == core.credentials.key.request()
        assert make_sync(core).lanes[0].waits_for() != ""


async def test_once_known_it_asks_for_the_certificate_alone_and_then_says_nothing(
    tmp_path: Path, papers: Papers
) -> None:
    claimed(tmp_path, papers.broker)
    known_to_the_cloud(tmp_path)
    async with opened(tmp_path) as core:
        assert core.credentials is not None
        said = core.wiring.enrolment()
        assert said is not None
        assert open_enrolment(said).csr == core.credentials.key.request()
        core.directory.apply("config", CLOUD.config(2, papers.certificates(key=core.credentials.key)))
        assert core.wiring.enrolment() is None
        assert make_sync(core).lanes[0].waits_for() == ""
        core.directory.apply("config", CLOUD.config(3, papers.certificates()))
        assert core.wiring.enrolment() is not None, "a certificate of another key is none"


async def test_what_the_cloud_signed_refutes_the_clock_on_every_road(tmp_path: Path, papers: Papers) -> None:
    claimed(tmp_path, papers.broker)
    async with opened(tmp_path) as core:
        assert core.credentials is not None
        core.directory.apply("config", CLOUD.config(2, papers.certificates(key=core.credentials.key)))
        https = make_sync(core).lanes[1].road
        assert isinstance(https, HttpsRoad)
        for late_ms, dated in ((0, True), (DAY_S * 1000, False)):
            core.directory.trust_time(NOW_MS + late_ms)
            for context in (core.credentials.context(), https._context()):
                assert context is not None
                assert bool(context.verify_flags & NO_CHECK_TIME) is not dated


async def test_a_stranger_cannot_close_a_kiosk(tmp_path: Path) -> None:
    claimed(tmp_path, None)
    async with opened(tmp_path) as core:
        assert core.intake_problem() is None
        stranger = Cloud()
        stranger.document = SigningKey.from_seed(bytes(32))
        with pytest.raises(ProtocolError):
            core.directory.apply("config", stranger.config(2, closed=True))
        with pytest.raises(DocumentError, match="a-neighbour's"):
            core.directory.apply("config", CLOUD.config(2, gateway="a-neighbour", closed=True))
        assert core.intake_problem() is None, "what a neighbour was told, passed on"
        core.directory.apply("config", CLOUD.config(3, gateway=GATEWAY, closed=True))
        assert core.intake_problem() == "gateway.revoked"
    async with opened(tmp_path) as core:
        assert core.intake_problem() == "gateway.revoked", "a restart forgets it not"
        core.directory.apply("config", CLOUD.config(4))
        assert core.intake_problem() is None


@pytest.mark.parametrize("reason", ["no broker is offered", "mqtt is no road here"])
async def test_who_does_not_go_to_the_broker_asks_for_no_certificate(
    tmp_path: Path, papers: Papers, reason: str
) -> None:
    offered = reason.startswith("mqtt")
    claimed(tmp_path, papers.broker if offered else None)
    async with opened(tmp_path, ("https",) if offered else BOTH, mqtt_host="broker.test") as core:
        said = core.wiring.enrolment()
        assert said is not None
        assert open_enrolment(said).csr == b""
        assert [lane.road.name for lane in make_sync(core).lanes] == [RoadName.HTTPS]
    known_to_the_cloud(tmp_path)
    async with opened(tmp_path, ("https",) if offered else BOTH) as core:
        assert core.wiring.enrolment() is None
