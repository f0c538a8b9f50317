"""What the agent and the offline commands share: identity, journal, directory, and moving the outbox.

One composition, used by the running agent and by a command that works in its absence.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.directory import Directory
from edge.errors import EdgeError
from edge.identity import Identity, enrolled, load_identity
from edge.journal import AsyncJournal, Journal
from edge.journal.filesystem import LOCAL
from edge.sync.credentials import Credentials
from edge.sync.downlink import Documents
from edge.sync.echoes import Echoes
from edge.sync.outbox import Traffic, Wiring
from edge.sync.roads import RoadName
from edge.tlskey import keep_tls_key
from edge.version import VERSION
from protocol.documents import KeyUse
from protocol.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.clock import Clock
    from edge.config import Settings
    from edge.journal.filesystem import FileSystem
    from protocol.acks import Ack
    from protocol.cose import SigningKey


_LOGGER = logging.getLogger("reloop.core")
_NONE: list[bytes] = []


class UnclaimedError(EdgeError):
    """This gateway belongs to no cloud yet."""

    code = "gateway.unclaimed"

    def __init__(self) -> None:
        super().__init__("this gateway was never claimed; run: reloop-edge claim CODE, or --bundle FILE")


@dataclass(slots=True)
class Member:
    """The identity as it stands: the one-time secret is forgotten at the first ack."""

    identity: Identity
    key: SigningKey
    folder: Path

    async def acknowledged(self) -> None:
        """An ack proves that the cloud knows our key. A disk that refuses is asked again at the next ack."""
        if self.identity.enrolment_secret is None:
            return
        try:
            self.identity = await asyncio.to_thread(enrolled, self.folder, self.identity)
        except OSError as error:
            _LOGGER.warning("the one-time secret cannot be forgotten yet: %s", error)

    def enrolment(self, csr: bytes | None) -> bytes | None:
        """What to send first: a certificate is asked for with `csr`. None if there is nothing to say."""
        if self.identity.enrolment_secret is None and csr is None:
            return None
        return self.identity.enrolment(self.key, csr or b"")


class Core:
    """A claimed gateway's lasting parts, open. Needs a running event loop only when used.

    `random_bytes(n)` gives n secret bytes; `boot_id` is the kernel's if None; the
    journal reaches its files through `disk`.
    """

    def __init__(  # noqa: PLR0917 - what the composition root hands in
        self,
        settings: Settings,
        clock: Clock,
        member: Member,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        boot_id: str | None = None,
        disk: FileSystem = LOCAL,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.member = member
        folder = settings.data_dir
        self.directory = Directory.open(
            folder / "directory.db", member.identity.root_public_key, clock, member.identity.gateway
        )
        journal = Journal.open(
            folder / "journal",
            member.identity.gateway,
            clock,
            random_bytes,
            settings.journal,
            boot_id=boot_id,
            disk=disk,
        )
        self.journal = AsyncJournal(journal, settings.journal.queue_max)
        self.traffic = Traffic()
        self.credentials = self._credentials(random_bytes)
        self.documents = Documents(self.directory, self.journal, self.traffic.alarm)
        self.wiring = Wiring(
            journal=self.journal,
            documents=self.documents,
            clock=clock,
            key=member.key,
            ack_key_for=self.directory.key_for(KeyUse.ACK),
            status=self.status,
            will=self.will,
            enrolment=self._enrolment,
            acknowledged=self._acknowledged,
            traffic=self.traffic,
            echoes=Echoes(folder / "courier.json"),
        )

    def _credentials(self, random_bytes: Callable[[int], bytes]) -> Credentials | None:
        """How we stand with the broker; None if there is none, or none that we would go to."""
        broker, cloud = self.member.identity.mqtt, self.settings.cloud
        if RoadName.MQTT not in cloud.roads:
            return None
        if broker is None:
            if cloud.mqtt_host:
                _LOGGER.warning("the claim named no broker that could be trusted; `mqtt_host` is not used")
            return None
        key = keep_tls_key(self.settings.data_dir, random_bytes)
        if not key.kept:
            self.traffic.alarm("identity.unkept")
        directory = self.directory
        return Credentials(
            broker,
            key,
            self._certificates,
            self.clock,
            directory.surely_ms,
            earliest_ms=directory.earliest_ms,
        )

    def _certificates(self) -> list[bytes]:
        config = self.directory.config()
        return _NONE if config is None else config.certificates

    def intake_problem(self) -> str | None:
        """Why nothing may be taken in, a code; None if all is well.

        That the operator closed this gateway is the cloud's signed word, kept with the documents: no stranger
        can say it, nor pass on what was said to a neighbour, and no restart forgets it.
        """
        config = self.directory.config()
        closed = config is not None and config.closed
        return self.journal.intake_problem() or ("gateway.revoked" if closed else None)

    def _enrolment(self) -> bytes | None:
        standing = self.credentials
        return self.member.enrolment(standing.key.request() if standing and standing.waits_for() else None)

    def status(self) -> Status:
        """The birth: what we hold now."""
        journal = self.journal
        return Status(
            online=True,
            gateway=journal.gateway,
            epoch=journal.epoch,
            boot=journal.boot,
            head=journal.head,
            acked=journal.acked,
            first_kept=journal.first_kept,
            software=VERSION,
            documents={name: digest.hex() for name, digest in self.directory.digests().items()},
        )

    def will(self) -> Status:
        """What the broker says for us if we vanish."""
        journal = self.journal
        return Status(online=False, gateway=journal.gateway, epoch=journal.epoch, boot=journal.boot)

    async def _acknowledged(self, ack: Ack) -> None:
        await self.member.acknowledged()
        await self.documents.trust_time(ack.server_time_ms)

    async def close(self) -> None:
        """Let appends finish, close the files."""
        await self.journal.close()
        self.directory.close()


def open_core(
    settings: Settings,
    clock: Clock,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    boot_id: str | None = None,
    disk: FileSystem = LOCAL,
) -> Core:
    """Open a claimed gateway; see `Core`.

    Raises UnclaimedError, IdentityError, JournalError or DirectoryError.
    """
    known = load_identity(settings.data_dir)
    if known is None:
        raise UnclaimedError
    identity, key = known
    member = Member(identity, key, settings.data_dir)
    return Core(settings, clock, member, random_bytes, boot_id, disk)
