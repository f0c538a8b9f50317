"""How fast ingest credits weighings, against the same transaction fed with ready rows in bare SQL.

Both sides run on an embedded Postgres of their own with fsync on. The bare side copies payloads that were
packed beforehand and runs the very same statements: no signature, no inflating, no decision is in its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from cloud.ingest.decide import decide
from cloud.ingest.opening import Key, Refusal, open_frame, take_apart
from cloud.ingest.pack import Payloads, pack
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.ingest.store import Store
from cloud.ingest.views import CatalogView, GatewayView, Opened, View
from cloud.kit.clock import SystemClock
from cloud.kit.database import connect, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.ids import uuid7
from cloud.kit.keyring import Keyring
from protocol.frames import FRAME_BYTES_MAX, fitting
from tests.bench.figures import Figure, at_least, ratio_at_least
from tests.bench.visits import CITIZENS
from tests.cloud.ingest.gateway import RATES, WALL_MS, Gateway, add_catalog, add_gateway, serial_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud.ingest.effects import Effects
    from protocol.delivery import Cursor
    from tests.bench.setup import Setup

VISITS = 40_000
_GATEWAYS = 8
_FRAMES_IN_FLIGHT = 8
_FRAMES_A_BATCH = 4  # what ingest itself makes of frames of 64 KiB
_RECORDS_A_LOOK = 5_000
_COUNT = """
SELECT (SELECT count(*) FROM weighings), (SELECT count(*) FROM transfers),
       (SELECT sum(points) FROM weighings) = (SELECT sum(balance) FROM accounts)
"""

Ready = tuple["Effects", Payloads, View]


def measure(setup: Setup) -> list[Figure]:
    """Rounds alternate, each on fresh databases; every weighing is counted and summed up afterwards."""
    with Bench.running(setup.fresh_folder("ingest")) as bench:
        rounds = [(bench.bare(), bench.ours()) for _ in setup.rounds("ingest")]
    bare, ours = zip(*rounds, strict=True)
    aims = (at_least(12_000), ratio_at_least(0.5))
    return [Figure("ingest", "weighings/s", ours, "bare SQL, ready rows", bare, aims)]


@dataclass(frozen=True, slots=True)
class Load:
    """Frames of every gateway, in the order in which they arrive."""

    gateways: list[Gateway]
    frames: list[tuple[str, bytes]]


@dataclass(slots=True)
class Bench:
    """A Postgres for this bench alone; each measurement takes a database of its own."""

    server: EmbeddedPostgres
    keyring: Keyring
    _databases: int = 0

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path) -> Iterator[Bench]:
        """A running one."""
        with EmbeddedPostgres(folder / "postgres") as server:
            yield cls(server, Keyring.load_or_create(folder / "keys"))

    def ours(self) -> float:
        """Weighings a second through `Ingest`, fully credited."""
        url, load, _ = self._prepared()
        seconds = asyncio.run(_ingest(url, self.keyring, load))
        _check(url)
        return VISITS / seconds

    def bare(self) -> float:
        """Weighings a second of the statements alone."""
        url, load, catalog = self._prepared()
        ready = list(_ready(load, catalog))
        seconds = asyncio.run(_apply(url, ready))
        _check(url)
        return VISITS / seconds

    def _prepared(self) -> tuple[str, Load, bytes]:
        self._databases += 1
        name = f"bench_{self._databases}"
        with psycopg.connect(self.server.url_for("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        url = self.server.url_for(name)
        migrate(url)
        catalog = add_catalog(url, self.keyring)
        load = _load(catalog)
        for gateway in load.gateways:
            add_gateway(url, gateway)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        return url, load, catalog


def _load(catalog: bytes) -> Load:
    """Visits of three records, cut into frames of up to 64 KiB, gateways taking turns."""
    gateways = [Gateway(f"bench-gateway-{number}", catalog) for number in range(_GATEWAYS)]
    materials = sorted(RATES)
    for number in range(VISITS):
        holder = serial_of(number * 104_729 % CITIZENS)
        net_g = 50 + number * 7_919 % 20_000
        gateways[number % _GATEWAYS].visit(net_g, materials[number % 3], holder=holder)
    cut = [list(_cut(gateway)) for gateway in gateways]
    frames = [
        (gateway.id, frames[turn])
        for turn in range(max(map(len, cut)))
        for gateway, frames in zip(gateways, cut, strict=True)
        if turn < len(frames)
    ]
    return Load(gateways, frames)


def _cut(gateway: Gateway) -> Iterator[bytes]:
    first = 1
    while first <= gateway.head:
        count = fitting(gateway.records[first - 1 : first - 1 + _RECORDS_A_LOOK], FRAME_BYTES_MAX)
        yield gateway.frame(first, first + count - 1)
        first += count


async def _ingest(url: str, keyring: Keyring, load: Load) -> float:
    """Seconds until every frame is committed and acked."""
    window = asyncio.Semaphore(_FRAMES_IN_FLIGHT)

    async def send(ingest: Ingest, gateway: str, frame: bytes) -> None:
        try:
            reply = await ingest.submit(frame, "mqtt", gateway)
            assert reply.ack is not None, reply
        finally:
            window.release()

    async with Ingest(PostgresStorage(url), keyring, SystemClock(), secrets.token_bytes) as ingest:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for gateway, frame in load.frames:
                await window.acquire()
                group.create_task(send(ingest, gateway, frame))
        return time.perf_counter() - begun


def _ready(load: Load, catalog: bytes) -> Iterator[Ready]:
    """Decide and pack every batch beforehand."""
    keys = {each.key.key_id: Key(each.id, each.key.public) for each in load.gateways}
    cursors: dict[tuple[str, int], Cursor] = {}
    for start in range(0, len(load.frames), _FRAMES_A_BATCH):
        frames = load.frames[start : start + _FRAMES_A_BATCH]
        opened = [_opened(data, keys) for _, data in frames]
        view = View(
            received_ms=WALL_MS,
            cursors={each.key: cursors[each.key] for each in opened if each.key in cursors},
            gateways={name: GatewayView(name, None, False) for name, _ in frames},
            catalogs={catalog: CatalogView(RATES, None)},
            rates={},
        )
        effects = decide(opened, view)
        cursors.update(effects.cursors)
        yield effects, pack(effects, WALL_MS), view


def _opened(data: bytes, keys: dict[bytes, Key]) -> Opened:
    envelope = take_apart(data)
    assert not isinstance(envelope, Refusal), envelope
    opened = open_frame(envelope, keys.get, None)
    assert isinstance(opened, Opened), opened
    return opened


async def _apply(url: str, ready: list[Ready]) -> float:
    """Seconds of Postgres alone."""
    connection = await connect(url)
    store = Store(connection, lambda: uuid7(WALL_MS, secrets.token_bytes))
    await store.prepare()
    begun = time.perf_counter()
    for effects, payloads, view in ready:
        await store.apply(effects, payloads, view)
        await store.commit()
    seconds = time.perf_counter() - begun
    await connection.close()
    return seconds


def _check(url: str) -> None:
    """Every visit is credited, once."""
    with psycopg.connect(url) as connection:
        found = connection.execute(_COUNT).fetchone()
    assert found == (VISITS, VISITS, True), found
