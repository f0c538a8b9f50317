"""A cloud that knows 5,000 citizens, and drop points with a backlog: real processes, real links."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.ids import uuid7
from deploy.local.stack import Devices, Site, Stack
from tests.bench.visits import CITIZENS, fill, serial_of

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAIN_S = 180.0
_LOOK_S = 0.025


@dataclass(frozen=True, slots=True)
class Drained:
    """How long the outbox took from its first frame, and the bytes both ways from the connection on."""

    seconds: float
    wire_bytes: int


def add_citizens(stack: Stack) -> None:
    """Register citizens with a card each, as if by the API, in one go."""
    url = EmbeddedPostgres(stack.folder / "cloud" / "postgres").url
    now_ms = int(time.time() * 1000)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for number in range(CITIZENS):
            serial = serial_of(number)
            identity = uuid7(now_ms, _random_of(number))
            cursor.execute("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", (identity, serial[:8]))
            cursor.execute(
                "INSERT INTO cards (serial, citizen_id, expires_at, text)"
                " VALUES (%s, %s, now() + interval '1 year', '')",
                (serial, identity),
            )


def _random_of(number: int) -> Callable[[int], bytes]:
    return lambda length: number.to_bytes(length, "big")


def backlogged(stack: Stack, name: str, visits: int, devices: Devices | None = None) -> Site:
    """A claimed drop point, its agent not running, with `visits` in its outbox."""
    site = stack.add_site(name, devices or Devices(), roads=("mqtt",))
    stack.claim(site)
    fill(site.config, visits)
    return site


def drain(site: Site) -> Drained:
    """Start the agent and wait until the cloud has acknowledged everything."""
    assert site.link is not None
    before = site.link.bytes_up + site.link.bytes_down
    site.agent.start()
    begun = _when(site, lambda status: status["frames"] > 0)
    seconds = _when(site, lambda status: status["backlog"] == 0) - begun
    return Drained(seconds, site.link.bytes_up + site.link.bytes_down - before)


def _when(site: Site, true: Callable[[dict[str, Any]], bool]) -> float:
    """The time at which the agent's status is so. Raises TimeoutError, at once if the agent has ended."""
    deadline = time.perf_counter() + _DRAIN_S
    while (now := time.perf_counter()) < deadline and site.agent.running:
        with contextlib.suppress(OSError):  # it is starting
            if true(site.status()):
                return now
        time.sleep(_LOOK_S)
    how = f"within {_DRAIN_S:.0f} s" if site.agent.running else "before it ended"
    raise TimeoutError(f"{site.name} did not drain {how}:\n{site.agent.tail()}")
