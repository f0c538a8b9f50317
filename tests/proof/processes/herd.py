"""The broker dies under thousands of connected gateways and comes back: all of them return, in good order.

Real mosquitto and everybody's certificates, the real cloud on a real Postgres, and in a few processes the
production sync of every gateway (`members`). Owns the fault and the verdict.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import psycopg
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.kit.authority import Authority
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.keyring import Keyring
from deploy.local.broker import Broker
from deploy.local.processes import Process, StartError, free_port, listening, program, wait_until
from protocol.cose import key_id_of
from protocol.documents import Name
from tests.proof.processes.members import Experience, Orders, key_of, name_of, tls_key_of
from tests.proof.processes.recovery import percentile
from tests.proof.processes.town import Kept
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation, keep_last

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.proof.row import Tick

BACK_S = 30.0
"""After its deliberate first delay everybody is back within this time."""
TRIES_MEAN_MAX = 1.5
STORM_MAX = 3.0
"""In no second do more try than this many times what an even spread makes, and a handful."""
HANDFUL = 20
SPREAD_A_GATEWAY_S = 0.0121
"""5,000 have the product's minute; fewer come back as densely."""
SPREAD_MIN_S = 7.3
FADE_IN_A_GATEWAY_S = 0.02
"""They come up one by one: a handshake costs gateway and broker some milliseconds, here on the same cores."""
DOWN_S = (0.5, 2.0)
SETTLE_S = 120.0
_MEMBERS_MAX = 1_700
"""In one process."""
_FILES = 20_000


def data_of(folder: Path) -> Path:
    """Where the cloud's data and keys are."""
    return folder / "cloud"


class Cloud:
    """Ingest, worker and API beside each other, on a Postgres of their own."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.data = data_of(folder)
        self.http_port = free_port()
        environment = {
            "RELOOP_DATA_DIR": str(self.data),
            "RELOOP_HTTP_PORT": str(self.http_port),
            "RELOOP_MQTT_URL": f"mqtts://127.0.0.1:{broker.inside_port}",
        }
        self.parts = [
            Process(role, [program("reloop-cloud"), role], folder / f"{role}.log", environment)
            for role in ("ingest", "worker", "api")
        ]

    def start(self) -> None:
        """Start all; returns when all run."""
        for part in self.parts:
            part.start()
        for part in self.parts:
            part.await_ready(lambda part=part: b"ReLoop cloud runs" in part.log.read_bytes(), 120.0)  # type: ignore[misc]

    def stop(self) -> None:
        for part in reversed(self.parts):
            part.stop()

    def connect(self) -> psycopg.Connection:
        """To its database."""
        return psycopg.connect(EmbeddedPostgres(self.data / "postgres").url)

    def enrol(self, seed: int, count: int) -> None:
        """Make the gateways known, as if each had been claimed."""
        with self.connect() as connection, connection.cursor() as cursor:
            with cursor.copy("COPY gateways (id, state, claimed_at) FROM STDIN") as rows:
                for number in range(count):
                    rows.write_row((name_of(number), "claimed", "2026-01-01T00:00:00Z"))
            with cursor.copy("COPY gateway_keys (key_id, gateway_id, public_key) FROM STDIN") as rows:
                for number in range(count):
                    public = key_of(seed, number).public
                    rows.write_row((key_id_of(public), name_of(number), public))

    def documents(self, count: int) -> dict[str, bytes]:
        """Digests by shelf, once the worker has made everybody's: gateways had them with their claims."""
        wait_until(lambda: self._manifests() == count, SETTLE_S, "the worker did not make every manifest")
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT name, digest FROM documents ORDER BY generation, version"
            ).fetchall()
        return {str(name): bytes(digest) for name, digest in rows}

    def _manifests(self) -> int:
        with self.connect() as connection:
            row = connection.execute("SELECT count(*) FROM documents WHERE name LIKE 'manifest/%'").fetchone()
        return int(row[0]) if row else 0

    def delivered(self) -> Counter[str]:
        """Records by gateway."""
        with self.connect() as connection:
            rows = connection.execute("SELECT gateway_id, count(*) FROM records GROUP BY 1").fetchall()
        return Counter({str(gateway): int(count) for gateway, count in rows})


@dataclass
class Members:
    """One process of gateways: told its orders, heard line by line."""

    orders: Orders
    state: dict[str, int] = field(default_factory=lambda: {"answered": 0, "lost": 0, "back": 0})
    failed: bool = False

    def start(self, log: Path) -> None:
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.proof.processes.members"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._last: queue.SimpleQueue[list[Experience]] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(self.orders) + b"\n")
        self._child.stdin.flush()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            heard = json.loads(line)
            if "experiences" in heard:
                self._last.put(msgspec.convert(heard["experiences"], list[Experience]))
                return
            self.state = heard
        self.failed = True

    def end(self) -> list[Experience]:
        """Let it tell, and end."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        return self._last.get(timeout=60)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        self._listener.join()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _split(count: int, seed: int) -> Sequence[Task]:
    return [Task(count, {"key": f"{seed}.{count}"})]


def _herd(key: str, tick: Tick) -> Part:
    seed, count = (int(each) for each in key.split("."))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    with Kept() as kept:
        try:
            with _gathered(kept.path, seed, count) as (broker, cloud, members):
                wait_until(lambda: _sum(members, "answered") == count, _patience_s(count), "not all came up")
                began_s = time.monotonic()
                broker.process.kill()
                time.sleep(random.Random(key).uniform(*DOWN_S))
                broker.process.start()
                broker.process.await_ready(lambda: listening(broker.port))
                _watch(members, count, tick)
                lived = [each for one in members for each in one.end()]
                found = judge(lived, cloud.delivered(), spread_s(count), count)
                figures = figures_of(lived, began_s)
        except (TimeoutError, StartError) as error:
            lived, found, figures = [], [f"{type(error).__name__}: {error}"], {}
        kept.broken = bool(found)
        where = f" (logs are kept in {kept.path})"
        return Part(len(lived), [Violation(key, each + where) for each in found], figures)


def spread_s(count: int) -> float:
    """The deliberate first delay is anywhere up to this."""
    return max(SPREAD_MIN_S, count * SPREAD_A_GATEWAY_S)


def fade_in_s(count: int) -> float:
    """All have come up after this."""
    return count * FADE_IN_A_GATEWAY_S


def _patience_s(count: int) -> float:
    return SETTLE_S + spread_s(count) + fade_in_s(count)


@contextlib.contextmanager
def _gathered(folder: Path, seed: int, count: int) -> Iterator[tuple[Broker, Cloud, list[Members]]]:
    """Everything runs and the members are coming up."""
    broker = Broker(folder / "broker", free_port(), data_of(folder))
    cloud = Cloud(folder, broker)
    members: list[Members] = []
    try:
        broker.start()
        cloud.start()
        cloud.enrol(seed, count)
        keys = Keyring.load_or_create(cloud.data / "keys")
        authority = Authority.load_or_create(cloud.data / "keys" / "authority", datetime.now(UTC))
        documents = cloud.documents(count)
        shared = {str(name): documents[name] for name in (Name.KEYS, Name.CATALOG, Name.REVOCATIONS)}
        for first in range(0, count, _share(count)):
            size, spread = min(_share(count), count - first), spread_s(count)
            orders = Orders(
                seed, first, size, broker.port, cloud.http_port, spread, fade_in_s(count),
                keys.root.public, keys.ack.public, keys.document.public, shared,
                [documents[f"{Name.CONFIG}/{name_of(first + index)}"] for index in range(size)],
                authority.root.der, authority.issuer.der,
                [_certificate(authority, seed, first + index) for index in range(size)],
            )  # fmt: skip
            members.append(Members(orders))
            members[-1].start(folder / "members.log")
        yield broker, cloud, members
    finally:
        for one in members:
            one.kill()
        cloud.stop()
        broker.process.stop()


def _certificate(authority: Authority, seed: int, number: int) -> bytes:
    """As its claim would have brought it."""
    certificate = authority.certify(tls_key_of(seed, number).request(), name_of(number), datetime.now(UTC))
    return certificate.public_bytes(Encoding.DER)


def _share(count: int) -> int:
    """Members of one process."""
    return min(_MEMBERS_MAX, -(-count // 2))


def _sum(members: Sequence[Members], name: str) -> int:
    if any(one.failed for one in members):
        raise StartError("a process of members ended by itself; see members.log")
    return sum(one.state[name] for one in members)


def _watch(members: Sequence[Members], count: int, tick: Tick) -> None:
    """Until all are back, or should be."""
    told, ends_s = 0, time.monotonic() + spread_s(count) + BACK_S + _patience_s(count) / 4
    while told < count and time.monotonic() < ends_s:
        back = _sum(members, "back")
        tick(back - told)
        told = back
        time.sleep(0.2)


def judge(lived: Sequence[Experience], delivered: Counter[str], spread: float, count: int) -> list[str]:
    """What is broken, in words."""
    found = [f"{len(lived)} of {count} told what they went through"] if len(lived) != count else []
    unmet = [each.gateway for each in lived if each.lost_s is None]
    late = [each.gateway for each in lived if each.lost_s is not None and _late(each)]
    differ = [each.gateway for each in lived if not each.records == each.acked == delivered[each.gateway]]
    tries = sum(len(each.tries_s) for each in lived) / max(1, len(lived))
    if unmet:
        found.append(f"{len(unmet)} never noticed that their link was lost, {unmet[0]} for one")
    if late:
        found.append(f"{len(late)} were not back {BACK_S:.0f} s after their first delay, {late[0]} for one")
    if differ:
        found.append(f"{len(differ)} hold other records than the cloud, {differ[0]} for one")
    if tries > TRIES_MEAN_MAX:
        found.append(f"{tries:.2f} tries each: more than {TRIES_MEAN_MAX}")
    allowed = STORM_MAX * len(lived) / spread + HANDFUL
    if busiest(lived) > allowed:
        found.append(f"a storm: {busiest(lived)} tries in one second, {allowed:.0f} would do")
    return found


def _late(each: Experience) -> bool:
    return each.back_s is None or _return_s(each) > BACK_S


def _return_s(each: Experience) -> float:
    """From the end of its first delay until the cloud answered."""
    return (each.back_s or 0.0) - (each.lost_s or 0.0) - each.delay_s


def busiest(lived: Sequence[Experience]) -> int:
    """Most tries in one second."""
    return max(Counter(int(at_s) for each in lived for at_s in each.tries_s).values(), default=0)


def figures_of(lived: Sequence[Experience], began_s: float) -> dict[str, int | float | str]:
    """How it went."""
    returns = [_return_s(each) for each in lived if each.back_s is not None]
    tries = [len(each.tries_s) for each in lived]
    return {
        "tries mean": round(sum(tries) / max(1, len(tries)), 3),
        "tries max": max(tries, default=0),
        "back p50 s": round(percentile(returns, 0.5), 2),
        "back p99 s": round(percentile(returns, 0.99), 2),
        "back max s": round(max(returns, default=0.0), 2),
        "busiest second": busiest(lived),
        "all back s": round(max((each.back_s or 0.0 for each in lived), default=0.0) - began_s, 1),
    }


HERD = Row(
    id="R16",
    name="the broker restarts under a herd of connected gateways",
    unit="connections",
    covers=(
        *PROGRAMS, "tests/proof/processes/herd.py", "tests/proof/processes/members.py",
        "tests/proof/processes/people.py", "tests/proof/processes/recovery.py",
        "tests/proof/processes/town.py", "tests/system/exports.py",
    ),
    shallow=500,
    deep=5_000,
    split=_split,
    run=Keyed(_herd).run,
    replay=Keyed(_herd).replay,
    merge=keep_last,
    at_once=1,
)  # fmt: skip
