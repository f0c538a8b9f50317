"""Thousands of gateways in one process: the production sync, sessions, roads and documents of each, over
a journal and a directory that live in memory.

`python -m tests.proof.processes.members` reads one line of JSON (`Orders`), says how many the cloud has
answered after every second, and with its last line, once its input ends, what everybody went through.
Does not own the fault: `herd` does.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.kit.authority import SERVER_NAME
from edge.clock import SystemClock
from edge.directory.directory import Applied
from edge.sync.credentials import Credentials
from edge.sync.downlink import Documents
from edge.sync.echoes import Echoes
from edge.sync.https import HttpsRoad
from edge.sync.mqtt import MqttRoad, MqttSettings
from edge.sync.outbox import Traffic, Wiring
from edge.sync.sync import Lane, Sync
from edge.tlskey import TlsKey
from protocol.bodies import Body, GatewayStarted
from protocol.breaker import Breaker
from protocol.bundle import Broker
from protocol.cose import SigningKey, key_id_of
from protocol.documents import Name, open_document
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest
from protocol.status import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edge.directory import Directory
    from edge.journal import AsyncJournal
    from edge.sync.roads import Link, Road
    from protocol.acks import Ack

SOFTWARE = "herd"
_BOOT_ID = "00000000-0000-0000-0000-000000000000"
_REPORT_S = 1.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: to load the system's certificates for each of thousands takes longer than all they do."""


class Orders(msgspec.Struct, frozen=True):
    """Which gateways of the herd, where broker and API are, the cloud's public keys; times in seconds.

    `shared` and `configs` are the digests of the documents that came with the claims, certificates (DER) what
    their `config` holds.
    """

    seed: int
    first: int
    count: int
    port: int
    http_port: int
    spread_s: float
    fade_in_s: float
    root_key: bytes
    ack_key: bytes
    document_key: bytes
    shared: dict[str, bytes]
    configs: list[bytes]
    root_certificate: bytes
    issuer_certificate: bytes
    certificates: list[bytes]


class Experience(msgspec.Struct):
    """What one gateway went through since its link was lost, on the monotonic clock of this machine.

    `delay_s` is its deliberate first delay, `tries_s` when it tried, `back_s` when the cloud first answered.
    """

    gateway: str
    records: int = 0
    acked: int = 0
    lost_s: float | None = None
    delay_s: float = 0.0
    tries_s: list[float] = []
    back_s: float | None = None


def name_of(number: int) -> str:
    """The id of one of the herd."""
    return f"herd-{number:06}"


def tls_key_of(seed: int, number: int) -> TlsKey:
    """Its TLS key, likewise."""
    digest = hashlib.sha256(f"{seed} TLS {name_of(number)}".encode()).digest()
    return TlsKey(ec.derive_private_key(int.from_bytes(digest) >> 1, ec.SECP256R1()))


def key_of(seed: int, number: int) -> SigningKey:
    """Its key: the same wherever it is asked for."""
    return SigningKey.from_seed(hashlib.sha256(f"{seed} {name_of(number)}".encode()).digest())


class MemoryJournal:
    """What sync asks of a journal, without its file: two threads and a file each are not for thousands."""

    def __init__(self, gateway: str, epoch: int, clock: SystemClock) -> None:
        self.gateway, self.epoch, self.boot, self.first_kept, self.acked = gateway, epoch, 1, 1, 0
        self.on_append: list[Callable[[int], None]] = []
        self._clock = clock
        self._records: list[bytes] = []
        self._digests = [genesis_digest(gateway, epoch)]

    @property
    def head(self) -> int:
        return len(self._records)

    @property
    def backlog(self) -> int:
        return self.head - self.acked

    async def append(self, body: Body) -> None:
        clock = self._clock
        record = Record(self.head + 1, 1, clock.mono_ms(), clock.wall_ms(), ClockQuality.SYNCED, body)
        data = encode_record(record)
        self._records.append(data)
        self._digests.append(next_digest(self._digests[-1], data))
        for announce in list(self.on_append):
            announce(self.head)

    async def read(self, first: int, bytes_max: int) -> list[bytes]:
        return self._records[first - 1 :]

    async def older(self) -> tuple[()]:
        return ()

    async def digest_at(self, seq: int) -> bytes | None:
        return self._digests[seq] if 0 <= seq < len(self._digests) else None

    async def acknowledge(self, through: int, server_time_ms: int = 0, epoch: int | None = None) -> None:
        self.acked = max(self.acked, through)


class MemoryDirectory:
    """Remembers which documents it holds, and what the cloud signed."""

    def __init__(self, orders: Orders, config: bytes) -> None:
        self._keys = {key_id_of(key): key for key in (orders.root_key, orders.document_key)}
        self._held = {**orders.shared, Name.CONFIG.value: config}

    def key_for_document(self) -> Callable[[bytes], bytes | None]:
        return self._keys.get

    def digests(self) -> dict[str, bytes]:
        return dict(self._held)

    def apply(self, name: str, data: bytes) -> Applied:
        document = open_document(data, name, self._keys.get)
        changed = self._held.get(name) != document.digest
        self._held[name] = document.digest
        return Applied(changed, document)

    def trust_time(self, server_time_ms: int) -> None:
        """Nobody asks."""


class Counted:
    """A road, and when it was tried."""

    def __init__(self, road: Road, tried: Callable[[], None]) -> None:
        self.name = road.name
        self._road, self._tried = road, tried

    @asynccontextmanager
    async def link(self, will: Status, silence_s_max: float) -> AsyncIterator[Link]:
        self._tried()
        async with self._road.link(will, silence_s_max) as link:
            yield link


@dataclass
class Member:
    """One gateway of the herd."""

    orders: Orders
    number: int
    clock: SystemClock
    answered: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        orders, clock = self.orders, self.clock
        gateway = name_of(self.number)
        self._random = random.Random(f"{orders.seed} {gateway}")
        self.lived = Experience(gateway)
        self.journal = MemoryJournal(gateway, self._random.randrange(1, 2**53), clock)
        self._directory = MemoryDirectory(orders, orders.configs[self.number - orders.first])
        traffic = Traffic()
        ack_keys = {key_id_of(orders.ack_key): orders.ack_key}
        journal = cast("AsyncJournal", self.journal)
        self._wiring = Wiring(
            journal=journal,
            documents=Documents(cast("Directory", self._directory), journal, traffic.alarm),
            clock=clock,
            key=key_of(orders.seed, self.number),
            ack_key_for=ack_keys.get,
            status=self._status,
            will=self._will,
            enrolment=lambda: None,
            acknowledged=self._acknowledged,
            traffic=traffic,
            echoes=Echoes(Path("/nonexistent")),
        )

    async def run(self) -> None:
        """Come up at its own time, and keep syncing until cancelled."""
        await asyncio.sleep(self._random.uniform(0, self.orders.fade_in_s))
        await self.journal.append(GatewayStarted(SOFTWARE, _BOOT_ID, "came up"))
        gateway, orders = self.journal.gateway, self.orders
        roads = (
            MqttRoad(MqttSettings(gateway, "127.0.0.1", orders.port, self._credentials())),
            HttpsRoad(f"http://127.0.0.1:{orders.http_port}", gateway, tls=_NO_TLS),
        )
        lanes = [Lane(Counted(road, self._tried), Breaker(road.name, self.clock.monotonic)) for road in roads]
        await Sync(self._wiring, lanes, self._uniform, orders.spread_s).run()

    def _credentials(self) -> Credentials:
        orders, clock = self.orders, self.clock
        broker = Broker("127.0.0.1", orders.port, SERVER_NAME, orders.root_certificate)
        chain = [orders.certificates[self.number - orders.first], orders.issuer_certificate]
        return Credentials(
            broker,
            tls_key_of(orders.seed, self.number),
            lambda: chain,
            clock,
            clock.wall_ms,
            earliest_ms=lambda: None,
        )

    def _uniform(self, low: float, high: float) -> float:
        """Sync's randomness; the draw over the whole spread is the deliberate first delay."""
        drawn = self._random.uniform(low, high)
        if high == self.orders.spread_s and self.lived.lost_s is None:
            self.lived.lost_s, self.lived.delay_s = self.clock.monotonic(), drawn
            work = self.journal.append(GatewayStarted(SOFTWARE, _BOOT_ID, "recorded while the link was down"))
            self.tasks.add(asyncio.create_task(work))
        return drawn

    def _tried(self) -> None:
        if self.lived.lost_s is not None and self.lived.back_s is None:
            self.lived.tries_s.append(self.clock.monotonic())

    async def _acknowledged(self, ack: Ack) -> None:
        self.answered = True
        if self.lived.lost_s is not None and self.lived.back_s is None:
            self.lived.back_s = self.clock.monotonic()

    def experience(self) -> Experience:
        """All of it, as it stands."""
        self.lived.records, self.lived.acked = self.journal.head, self.journal.acked
        return self.lived

    def _status(self) -> Status:
        journal = self.journal
        held = {name: digest.hex() for name, digest in self._directory.digests().items()}
        return Status(True, journal.gateway, journal.epoch, 1, journal.head, journal.acked, 1, SOFTWARE, held)

    def _will(self) -> Status:
        return Status(online=False, gateway=self.journal.gateway, epoch=self.journal.epoch, boot=1)


async def live(orders: Orders, ended: asyncio.Event) -> list[Experience]:
    """All of them, until `ended`."""
    clock = SystemClock()
    members = [Member(orders, orders.first + index, clock) for index in range(orders.count)]
    running = [asyncio.create_task(member.run()) for member in members]
    while not ended.is_set():
        for task in running:
            if task.done():
                task.result()
        _say({
            "answered": sum(member.answered and member.journal.backlog == 0 for member in members),
            "lost": sum(member.lived.lost_s is not None for member in members),
            "back": sum(member.lived.back_s is not None for member in members),
        })  # fmt: skip
        await asyncio.sleep(_REPORT_S)
    found = [member.experience() for member in members]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return found


def _say(line: Any) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


async def main() -> None:
    """See the top."""
    orders = msgspec.json.decode(sys.stdin.readline(), type=Orders)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    _say({"experiences": await live(orders, ended)})


if __name__ == "__main__":
    asyncio.run(main())
