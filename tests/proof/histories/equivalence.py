"""The model store against Postgres: the same histories through the same ingest, compared after every batch.

And the ledger's own promise over those histories, as Postgres's own books say it at the end of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from cloud.kit.keyring import Keyring
from tests.proof.histories.databases import Database
from tests.proof.histories.world import World
from tests.proof.row import Figures, Part, Row, Task, Violation
from tests.proof.simulation.store_ledger import SETTLEMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proof.row import Tick

STEPS = 500
"""Of one world at least; the more, the more rows each comparison of the small tables looks at."""
_WORLDS = 20
_ROOM_BYTES = 4 << 30
"""Twice what two servers' logs can grow to before a checkpoint."""


def _split(count: int, seed: int) -> Sequence[Task]:
    worlds = -(-count // STEPS)
    share = min(_WORLDS, -(-worlds // 2))  # small counts too keep two cores busy
    shares = [(begin, min(begin + share, worlds)) for begin in range(0, worlds, share)]
    return [Task(STEPS * (end - begin), {"seed": seed, "worlds": (begin, end)}) for begin, end in shares]


def _run(task: Task, tick: Tick) -> Part:
    count, figures = 0, Counter[str]()
    violations: list[Violation] = []
    with database_and_keys() as (database, keyring):
        for number in range(*task.work["worlds"]):
            part = live(f"{task.work['seed']}.{number}", database, keyring)
            count += part.count
            violations += part.violations
            figures.update(part.figures)
            tick(part.count)
    return Part(count, violations, dict(figures))


def replay(key: str) -> Part:
    """One world again."""
    with database_and_keys() as (database, keyring):
        return live(key, database, keyring)


@contextlib.contextmanager
def database_and_keys() -> Iterator[tuple[Database, Keyring]]:
    """A server, and keys that are always the same: what is signed is part of what a seed replays."""
    with tempfile.TemporaryDirectory(prefix="r8-", dir=_memory()) as folder:
        keys = Path(folder) / "keys"
        keys.mkdir(mode=0o700)
        for name in ("root", "ack", "document", "card"):
            path = keys / f"{name}.key"
            path.touch(mode=0o600)
            path.write_bytes(hashlib.sha256(name.encode()).digest())
        with Database.running(Path(folder) / "pg") as database:
            yield database, Keyring.load_or_create(keys)


def _memory() -> str | None:
    """Where files cost least; None, and the usual place, where that has no room."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > _ROOM_BYTES
    return str(shared) if roomy else None


def live(key: str, database: Database, keyring: Keyring) -> Part:
    """One world, from its first step to the last comparison."""
    with capture_logs():
        return asyncio.run(_live(key, database, keyring))


async def _live(key: str, database: Database, keyring: Keyring) -> Part:
    world = World(key, database, keyring)
    violations = []
    try:
        while world.steps < STEPS:
            await world.round()
        await world.verify()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        what = f"after {world.steps} steps: {type(error).__name__}: {error}"
        violations.append(Violation(key, what[:2000]))
    finally:
        await world.close()
    return Part(world.steps, violations, figures_of(world))


def figures_of(world: World) -> Figures:
    """How much happened in a world: a history in which nothing does proves nothing."""
    tables = world.model.tables
    return {
        "records": sum(map(len, tables.records.values())),
        "carried": sum(row[7] is not None for there in tables.records.values() for row in there),
        "weighings": len(tables.weighings),
        "voided": sum(row.voided is not None for row in tables.weighings.values()),
        "quarantined": len(tables.quarantine),
        "retried": sum(held.state == "retried" for held in tables.quarantine.values()),
        "strays": sum(held.row.code == "record.stray" for held in tables.quarantine.values()),
        "transfers": len(tables.transfers),
        "debts paid": sum(row.code == SETTLEMENT for row in tables.transfers.values()),
        "of revoked cards": sum(row.key.startswith(b"card:") for row in tables.accounts.values()),
        "forks": sum(cursor.closed for cursor in tables.cursors.values()),
        "gaps": sum(map(len, tables.gaps.values())),
        "kilos handed over": len(tables.movements),
        "batches": world.batches,
        "stale decisions": world.stale,
        "frames that did not fit": world.unfit,
        "restores": world.restores,
    }


EQUIVALENCE = Row(
    id="R8",
    name="model store equals Postgres",
    unit="steps",
    covers=(
        "cloud/errors.py",
        "cloud/ingest",
        "cloud/kit",
        "cloud/ledger",
        "protocol",
        "tests/cloud/ingest/gateway.py",
        "tests/proof/histories",
        "tests/proof/simulation/store.py",
        "tests/proof/simulation/store_effects.py",
        "tests/proof/simulation/store_ledger.py",
        "tests/proof/simulation/store_tables.py",
    ),
    shallow=10_000,
    deep=1_000_000,
    split=_split,
    run=_run,
    replay=replay,
)
