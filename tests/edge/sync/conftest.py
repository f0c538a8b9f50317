from __future__ import annotations

import secrets
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from deploy.local.broker import Broker
from deploy.local.processes import free_port
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from protocol.acks import Ack

GATEWAY = "ktm-drop-01"
PASSWORD = secrets.token_urlsafe(12)
_ACL = """\
user cloud
topic readwrite reloop/v1/#
pattern write reloop/v1/%u/up
pattern write reloop/v1/%u/status
pattern read reloop/v1/%u/ack
pattern read reloop/v1/%u/doc/+
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", free_port())
    broker.auth.mkdir(parents=True)
    program = shutil.which("mosquitto_passwd")
    assert program, "mosquitto_passwd comes with the package mosquitto"
    (broker.auth / "passwd").touch(0o600)
    for name in ("cloud", GATEWAY):
        subprocess.run([program, "-b", str(broker.auth / "passwd"), name, PASSWORD], check=True)
    (broker.auth / "acl").write_text(_ACL)
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
