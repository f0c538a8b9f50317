"""A stack with people at several kiosks, opened quickly, and judged at the end.

The cloud runs as one process (`all`) or as three (`api`, `ingest`, `worker`). Owns no fault.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from deploy.local.people import make_people
from deploy.local.processes import Process, StartError, program, wait_until
from deploy.local.stack import Cloud, CommandError, Devices, Stack
from tests.proof.processes.people import PATIENCE_S, Person
from tests.system.exports import assert_agree, assert_sound, weighings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx

    from deploy.local.stack import Site

Shape = Literal["all", "apart"]
ROLES = ("api", "ingest", "worker")
DRAIN_S = 90.0
"""The outboxes are empty at the latest this long after the last fault, with nobody's help.

The longest legal wait is a minute between two tries (an open breaker asks for 36 s at most, a refusal by one
road for a minute of that road), and before it a frame that the last fault swallowed: three seconds.
"""
_CITIZENS = 12
_OPENING = 4


class CloudApart(Cloud):
    """The cloud as three processes beside each other; whoever starts first looks after Postgres."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.parts = {
            role: Process(role, [program("reloop-cloud"), role], folder / f"{role}.log", self.environment)
            for role in ROLES
        }

    def start_cloud(self) -> None:
        for part in self.parts.values():
            part.start()
        self.parts["api"].await_ready(self._ready, timeout_s=120.0)

    def stop(self) -> None:
        for part in reversed(self.parts.values()):
            part.stop()
        super().stop()


@dataclass
class Town:
    """A cloud, a broker, gateways and their people. Use `open_town`."""

    stack: Stack
    people: list[Person] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, Process]:
        """The cloud's processes by role."""
        cloud = self.stack.cloud
        return cloud.parts if isinstance(cloud, CloudApart) else {"cloud": cloud.process}

    @property
    def saved(self) -> int:
        """Weighings that people saw shown as saved."""
        return sum(len(person.seen) for person in self.people)

    def look_after_people(self) -> None:
        """Raise what somebody met who could not go on."""
        for person in self.people:
            if person.failure is not None:
                raise person.failure

    def send_people_home(self) -> None:
        """Let everybody finish their visit."""
        for person in self.people:
            person.ended.set()
        for person in self.people:
            person.join(PATIENCE_S)
        self.look_after_people()

    def drain(self, drain_s: float = DRAIN_S) -> float:
        """Wait until every outbox is empty; seconds that took. Raises TimeoutError naming who is stuck."""
        begun = time.monotonic()
        for site in self.stack.sites:
            left_s = max(1.0, begun + drain_s - time.monotonic())
            try:
                wait_until(lambda site=site: _empty(site), left_s, site.name)  # type: ignore[misc]
            except TimeoutError:
                raise TimeoutError(
                    f"the outbox of {site.name} is not empty after {drain_s:.0f} s: {_plain_status(site)}"
                ) from None
        return time.monotonic() - begun

    def judge(self) -> list[str]:
        """What is broken, in words; empty if the promise was kept. Ends the agents."""
        for site in self.stack.sites:
            site.agent.stop()
        findings = [finding for person in self.people for finding in _unsaved(person)]
        for check in (assert_sound, assert_agree):
            try:
                check(self.stack.sites, self.stack.cloud)
            except (AssertionError, CommandError) as error:
                findings.append(str(error) or f"{check.__name__} failed")
        if not self.saved:
            findings.append("nobody got to weigh anything, so nothing was shown")
        return findings


def _empty(site: Site) -> bool:
    try:
        return bool(site.status()["backlog"] == 0)
    except OSError:
        return False


def _plain_status(site: Site) -> str:
    try:
        status = site.status()
    except OSError as error:
        return f"its agent does not answer ({error})"
    names = ("head", "acked", "road", "problem", "breakers", "alarms")
    return ", ".join(f"{name} {status[name]!r}" for name in names)


def _unsaved(person: Person) -> list[str]:
    journal = {(line["seq"], line["net_g"]) for line in weighings_of([person.site]).values()}
    missing = sorted(person.seen - journal)
    return [
        f"{person.site.name} showed {net_g} g as saved (seq {seq}) and its journal does not hold it"
        for seq, net_g in missing
    ]


@contextlib.contextmanager
def open_town(
    folder: Path,
    shape: Shape,
    *,
    sites: int,
    seed: int,
    change: Callable[[Stack], None] = lambda _: None,
    roads: Sequence[tuple[str, ...]] = (("mqtt", "https"),),
) -> Iterator[Town]:
    """Start everything and let people come. `change` may exchange parts of the stack before it starts.

    `roads` are those of the sites, in turn.
    """
    stack = Stack(folder)
    if shape == "apart":
        stack.cloud = CloudApart(folder)
    change(stack)
    with stack:
        town = Town(stack)
        with stack.cloud.api() as api:
            cards = make_people(api, folder / "people", _CITIZENS).cards.read_text().splitlines()
            codes = [_create(api, f"site-{number:04}") for number in range(1, sites + 1)]
        with ThreadPoolExecutor(_OPENING) as pool:
            town.people = list(
                pool.map(
                    lambda at: _open(stack, codes[at], roads[at % len(roads)], cards, seed + at),
                    range(sites),
                )
            )
        try:
            yield town
        finally:
            for person in town.people:
                person.ended.set()


def _create(api: httpx.Client, name: str) -> tuple[str, str]:
    api.post("/v1/drop-points", json={"code": name, "name": name}).raise_for_status()
    created = api.post("/v1/gateways", json={"id": name, "drop_point": name}).raise_for_status().json()
    return name, str(created["code"])


def _open(
    stack: Stack, created: tuple[str, str], roads: tuple[str, ...], cards: list[str], seed: int
) -> Person:
    name, code = created
    folder = stack.folder / name / "devices"
    devices = Devices("and", folder / "scale", folder / "scanner")
    site = stack.add_site(name, devices, spread_s=1.0, roads=roads)
    site.edge("claim", code)
    person = Person(site, cards, seed)
    site.start()
    person.start()
    return person


class Kept:
    """A temporary folder that goes when all was well, and stays when it was not: `broken`, or an error.

    Being told to end is no error.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="rl-"))
        self.broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        if not self.broken and not failed:
            shutil.rmtree(self.path, ignore_errors=True)


FAILURES = (TimeoutError, StartError, CommandError, AssertionError)
"""What a run of real processes may end with that is a finding, not a mistake of the proof."""
