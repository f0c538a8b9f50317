"""How fast ingest credits weighings, beside the same transaction fed with ready rows in bare SQL.

    python -m tests.bench.ingest [--visits 40000] [--rounds 3] [--gateways 4]

A visit is deposit.opened + weighing.recorded + deposit.closed. Both sides run on an embedded Postgres of their
own with fsync on; the bare side copies payloads that were packed beforehand and runs the very same statements.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cloud.ingest.decide import decide
from cloud.ingest.opening import Key, open_frame, take_apart
from cloud.ingest.pack import pack
from cloud.ingest.service import Ingest
from cloud.ingest.store import Store
from cloud.ingest.views import CatalogView, GatewayView, Opened, View
from cloud.kit.clock import SystemClock
from cloud.kit.database import connect, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.ids import uuid7
from cloud.kit.keyring import Keyring
from protocol.frames import FRAME_BYTES_MAX, fitting
from tests.cloud.ingest.gateway import RATES, WALL_MS, Gateway, add_catalog, add_gateway, serial_of

CITIZENS = 5_000


@dataclass(frozen=True, slots=True)
class Load:
    """Frames of every gateway, in the order in which they arrive."""

    gateways: list[Gateway]
    frames: list[tuple[str, bytes]]
    visits: int


def build_load(gateways: int, visits: int, catalog: bytes) -> Load:
    """Seeded visits of CITIZENS citizens, cut into frames of up to 64 KiB, gateways taking turns."""
    made = [Gateway(f"bench-gateway-{number}", catalog) for number in range(gateways)]
    materials = sorted(RATES)
    for number in range(visits):
        gateway = made[number % gateways]
        net_g = 50 + number * 7919 % 20_000
        gateway.visit(net_g, materials[number % 3], holder=serial_of(number * 104_729 % CITIZENS))
    cut = [_cut(gateway) for gateway in made]
    frames = [
        (gateway.id, frames[turn])
        for turn in range(max(map(len, cut)))
        for gateway, frames in zip(made, cut, strict=True)
        if turn < len(frames)
    ]
    return Load(made, frames, visits)


def _cut(gateway: Gateway) -> list[bytes]:
    frames, first = [], 1
    while first <= gateway.head:
        count = fitting(gateway.records[first - 1 : first + 4999], FRAME_BYTES_MAX)
        frames.append(gateway.frame(first, first + count - 1))
        first += count
    return frames


async def run_ingest(url: str, keyring: Keyring, load: Load) -> float:
    """Seconds to credit the load through `Ingest`, at most 8 frames in flight."""
    window = asyncio.Semaphore(8)

    async def send(ingest: Ingest, gateway: str, frame: bytes) -> None:
        try:
            reply = await ingest.submit(frame, "mqtt", gateway)
            assert reply.ack is not None, reply
        finally:
            window.release()

    async with Ingest(url, keyring, SystemClock(), secrets.token_bytes) as ingest:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for gateway, frame in load.frames:
                await window.acquire()
                group.create_task(send(ingest, gateway, frame))
        return time.perf_counter() - started


async def run_bare(url: str, keyring: Keyring, load: Load, catalog: bytes, batch: int) -> float:
    """Seconds for the same statements with payloads that were packed beforehand."""
    keys = {each.key.key_id: Key(each.id, each.key.public) for each in load.gateways}
    view = View(WALL_MS, {}, {}, {catalog: CatalogView(RATES, None)}, {})
    ready = []
    cursors: dict[tuple[str, int], object] = {}
    for start in range(0, len(load.frames), batch):
        opened = []
        for _, data in load.frames[start : start + batch]:
            envelope = take_apart(data)
            outcome = open_frame(envelope, keys.get, None)  # type: ignore[arg-type]
            assert isinstance(outcome, Opened)
            opened.append(outcome)
        wanted = {each.key for each in opened}
        here = View(
            WALL_MS,
            {key: cursors[key] for key in wanted if key in cursors},  # type: ignore[misc]
            {each.frame.gateway: GatewayView(each.frame.gateway, None, False) for each in opened},
            view.catalogs,
            {},
        )
        effects = decide(opened, here)
        cursors.update(effects.cursors)
        ready.append((effects, pack(effects, WALL_MS), here))
    connection = await connect(url)
    store = Store(connection, lambda: uuid7(WALL_MS, secrets.token_bytes))
    await store.prepare()
    started = time.perf_counter()
    for effects, payloads, here in ready:
        await store.apply(effects, payloads, here)
        await store.commit()
    elapsed = time.perf_counter() - started
    await connection.close()
    return elapsed


def check(url: str, visits: int) -> None:
    """Every visit is credited, once."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM weighings), (SELECT count(*) FROM transfers),"
            " (SELECT sum(points) FROM weighings) = (SELECT sum(balance) FROM accounts)"
        ).fetchone()
    assert row == (visits, visits, True), row


def measure(server: EmbeddedPostgres, keyring: Keyring, arguments: argparse.Namespace) -> dict[str, object]:
    """Alternate both sides, each round on fresh databases; figures are weighings a second."""
    figures: dict[str, list[float]] = {"ingest": [], "bare": []}
    for number in range(arguments.rounds):
        for side in ("bare", "ingest"):
            name = f"bench_{side}_{number}"
            with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            url = server.url_for(name)
            migrate(url)
            catalog = add_catalog(url, keyring)
            load = build_load(arguments.gateways, arguments.visits, catalog)
            for gateway in load.gateways:
                add_gateway(url, gateway)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            if side == "bare":
                seconds = asyncio.run(run_bare(url, keyring, load, catalog, arguments.batch))
            else:
                seconds = asyncio.run(run_ingest(url, keyring, load))
            check(url, load.visits)
            figures[side].append(load.visits / seconds)
    ratios = [ours / bare for ours, bare in zip(figures["ingest"], figures["bare"], strict=True)]
    return {
        "weighings_per_s": [round(each) for each in figures["ingest"]],
        "bare_sql_per_s": [round(each) for each in figures["bare"]],
        "ratio": [round(each, 2) for each in ratios],
        "ratio_median": round(statistics.median(ratios), 2),
        "weighings_per_s_median": round(statistics.median(figures["ingest"])),
    }


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser(description="ingest against bare SQL")
    parser.add_argument("--visits", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gateways", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reloop-bench-")))
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        keyring = Keyring.load_or_create(folder / "keys")
        print(json.dumps(measure(server, keyring, arguments)))


if __name__ == "__main__":
    main()
