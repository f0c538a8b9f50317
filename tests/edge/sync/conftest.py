from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from edge.clock import SystemClock
from edge.config import JournalSettings
from edge.journal import AsyncJournal, Journal
from edge.sync.downlink import Documents
from edge.sync.echoes import Echoes
from edge.sync.outbox import Traffic, Wiring
from protocol.bodies import ScaleZeroed
from protocol.cose import SigningKey
from protocol.status import Status
from tests.edge.sync.plain_cloud import PlainCloud
from tests.edge.sync.tls_broker import Papers, TlsBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from protocol.acks import Ack

GATEWAY = "ktm-drop-01"


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "papers", GATEWAY)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TlsBroker]:
    broker = TlsBroker(tmp_path / "broker", GATEWAY)
    broker.start()
    yield broker
    broker.process.stop()


class NoDocuments(Documents):
    """A cloud that offers nothing: the directory is not asked."""

    def __init__(self) -> None:
        self._offered = {}

    @property
    def wanted(self) -> list[str]:
        return []


@dataclass
class Gateway:
    """The gateway's side of the delivery session, on a real journal."""

    journal: AsyncJournal
    wiring: Wiring
    cloud: PlainCloud
    acks: list[Ack]

    async def fill_noise(self, count: int) -> None:
        """Records of about 60 bytes each that nothing can compress."""
        for _ in range(count):
            await self.journal.append(ScaleZeroed(secrets.token_hex(60)))

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.journal.append(ScaleZeroed("B123456789"))

    @property
    def delivered(self) -> list[bytes]:
        """What the cloud applied of the present epoch, by seq."""
        epoch = self.journal.epoch
        return [data for (_, of, _), data in sorted(self.cloud.applied.items()) if of == epoch]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    clock, key, ack_key = (
        SystemClock(),
        SigningKey(secrets.token_bytes(32)),
        SigningKey(secrets.token_bytes(32)),
    )
    settings = JournalSettings(ballast_bytes=0, free_bytes_min=0)
    journal = AsyncJournal(Journal.open(tmp_path / "journal", GATEWAY, clock, secrets.token_bytes, settings))
    acks: list[Ack] = []
    keys = {ack_key.key_id: ack_key.public}

    async def keep(ack: Ack) -> None:
        acks.append(ack)

    wiring = Wiring(
        journal=journal,
        documents=NoDocuments(),
        clock=clock,
        key=key,
        ack_key_for=keys.get,
        status=lambda: Status(online=True, gateway=GATEWAY, epoch=journal.epoch, boot=journal.boot),
        will=lambda: Status(online=False, gateway=GATEWAY, epoch=journal.epoch, boot=journal.boot),
        enrolment=lambda: None,
        acknowledged=keep,
        traffic=Traffic(),
        echoes=Echoes(tmp_path / "courier.json"),
    )
    yield Gateway(journal, wiring, PlainCloud(ack_key, key.public), acks)
    await journal.close()
