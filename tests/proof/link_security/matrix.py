"""Every gateway on every topic, in every way there is to speak or listen: nothing crosses over.

A cell is one gateway trying one thing. What it should have been allowed is said here once more, by hand.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.proof.link_security.arena import VERSIONS, Arena, Caller
from tests.proof.link_security.crowd import CROWD, check_crowd
from tests.proof.link_security.stories import CASES, town_stories
from tests.proof.link_security.strangers import STRANGERS, check_strangers
from tests.proof.row import PROGRAMS, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proof.row import Tick

_UP = ("up", "status", "telemetry", "result")
_DOWN = ("ack", "command", "doc/manifest", "doc/catalog")
_ODD = ("$SYS/broker/uptime", "reloop/v1", "reloop/v2/x/up", "up", "reloop/v1/cloud/up", "/reloop/v1/x/up")
_FILTERS = ("#", "+/+/+/+", "reloop/v1/+/up", "reloop/v1/+/ack", "reloop/v1/+/doc/+", "reloop/#", "$SYS/#")
_REFUSED = 0x80
GATEWAYS = 4
"""In a ring: each attacks the next."""


@dataclass(slots=True)
class _Bout:
    """One gateway against one neighbour, under one version; `cloud` and `victim` watch."""

    arena: Arena
    version: str
    name: str
    other: str
    cloud: Caller
    victim: Caller
    count: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.version}/{self.name}/{self.other}"

    def run(self) -> None:
        with self._caller() as attacker:
            self._listen(attacker)
            self._speak(attacker)
        for number, topic in enumerate(self._topics()):
            self._will(number, topic)
        self._settle("wills")
        self._nothing_crossed("wills")

    def _caller(self, will: tuple[str, bytes, bool] | None = None) -> Caller:
        return self.arena.gateway(self.name, version=VERSIONS[self.version], will=will)

    def _topics(self) -> Iterator[str]:
        for name in (self.name, self.other):
            for lane in (*_UP, *_DOWN):
                yield f"reloop/v1/{name}/{lane}"
        yield from _ODD

    def _own(self, topic: str) -> bool:
        return topic in {f"reloop/v1/{self.name}/{lane}" for lane in _UP}

    def _speak(self, attacker: Caller) -> None:
        for retain in (False, True):
            for number, topic in enumerate(self._topics()):
                self.count += 1
                payload = f"{self.key}/{'retain' if retain else 'publish'}/{number}".encode()
                code = attacker.publish(topic, payload, retain=retain)
                if self._own(topic):
                    self._expect(payload, f"{topic} is the gateway's own")
                elif self.version == "5" and (code is None or code < _REFUSED):
                    self._broken(f"publishing to {topic} was answered with {code}, not refused")
        self._settle("publishes")
        self._nothing_crossed("publishes")

    def _will(self, number: int, topic: str) -> None:
        for retain in (False, True):
            self.count += 1
            payload = f"{self.key}/will{'-retain' if retain else ''}/{number}".encode()
            caller = self._caller((topic, payload, retain))
            if not caller.connect():
                if self._own(topic):
                    self._broken(f"a will on the gateway's own {topic} kept it out")
                caller.close()
                continue
            caller.vanish()
            if self._own(topic):
                self._expect(payload, f"the will on {topic}")

    def _listen(self, attacker: Caller) -> None:
        filters = [*_FILTERS, *(f"$share/thief/{each}" for each in _FILTERS[:6])]
        filters += [f"reloop/v1/{self.other}/#", f"reloop/v1/{self.other}/+/+"]
        filters += [f"reloop/v1/{self.other}/{lane}" for lane in (*_UP, *_DOWN)]
        for each in filters:
            self.count += 1
            attacker.subscribe(each)
        mark = f"{self.key}/listen"
        for lane in _DOWN:
            self.cloud.publish(f"reloop/v1/{self.other}/{lane}", f"{mark}/secret/{lane}".encode())
        for lane in _UP:
            self.victim.publish(f"reloop/v1/{self.other}/{lane}", f"{mark}/secret/{lane}".encode())
        self.cloud.publish(f"reloop/v1/{self.name}/ack", f"{mark}/own".encode())
        self.victim.await_heard(f"{mark}/secret/{_DOWN[-1]}".encode(), "the neighbour hears its own")
        try:
            attacker.await_heard(f"{mark}/own".encode(), "a gateway hears its own ack")
        except TimeoutError as error:
            self._broken(str(error))
        for topic, payload in attacker.heard:
            if not topic.startswith(f"reloop/v1/{self.name}/") or topic.rpartition("/")[2] in _UP:
                self._broken(f"{self.name} heard {topic}: {payload!r}")

    def _expect(self, payload: bytes, what: str) -> None:
        try:
            self.cloud.await_heard(payload, what)
        except TimeoutError as error:
            self._broken(f"not delivered: {error}")

    def _settle(self, what: str) -> None:
        """After a message sent last has arrived, whatever was sent before it has, too."""
        last = f"{self.key}/last/{what}".encode()
        with self._caller() as caller:
            caller.publish(f"reloop/v1/{self.name}/up", last)
            self._expect(last, "the gateway's own message")
        self.cloud.publish(f"reloop/v1/{self.other}/ack", last)
        self.victim.await_heard(last, "the neighbour's own ack")

    def _nothing_crossed(self, what: str) -> None:
        mine = f"{self.key}/".encode()
        for topic, payload in list(self.cloud.heard):
            if payload.startswith(mine) and b"/listen/" not in payload and not self._own(topic):
                self._broken(f"{what}: the cloud heard {payload!r} on {topic}")
        for topic, payload in list(self.victim.heard):
            if payload.startswith(mine) and not _from_the_cloud(payload):
                self._broken(f"{what}: the neighbour heard {payload!r} on {topic}")

    def _broken(self, what: str) -> None:
        self.violations.append(Violation(self.key, f"MQTT {self.version}, {self.name}: {what}"))


def _from_the_cloud(payload: bytes) -> bool:
    return b"/listen/" in payload or b"/last/" in payload


def bout(arena: Arena, version: str, name: str, other: str) -> _Bout:
    """Run one gateway against one neighbour."""
    with arena.cloud() as cloud, arena.gateway(other) as victim:
        for lane in _UP:
            cloud.subscribe(f"reloop/v1/+/{lane}")
        for each in ("ack", "command", "doc/+"):
            victim.subscribe(f"reloop/v1/{other}/{each}")
        it = _Bout(arena, version, name, other, cloud, victim)
        it.run()
        return it


def _names() -> list[str]:
    return [f"drop-point-{number:02}" for number in range(GATEWAYS)]


def _split(count: int, seed: int) -> Sequence[Task]:
    """The matrix is whole or not at all, and nothing in it is left to chance."""
    names = _names()
    pairs = list(zip(names, names[1:] + names[:1], strict=True))
    tasks = [Task(CELLS, {"version": version, "pair": pair}) for version in VERSIONS for pair in pairs]
    crowd = Task(CROWD, {"crowd": CROWD})
    return [Task(len(CASES), {"town": seed}), *tasks, Task(STRANGERS, {}), crowd]


def _run(task: Task, tick: Tick) -> Part:
    if "town" in task.work:
        return town_stories(tick, task.work["town"])
    folder = Path(tempfile.mkdtemp(prefix="reloop-sec-"))
    try:
        with Arena(folder) as arena:
            if not task.work:
                part = check_strangers(arena)
            elif "crowd" in task.work:
                part = check_crowd(arena)
            else:
                found = bout(arena, task.work["version"], *task.work["pair"])
                part = Part(found.count, found.violations)
        tick(part.count)
        return part
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replay(key: str) -> Part:
    if key == "town":
        return _run(Task(len(CASES), {"town": 1}), lambda _: None)
    if "/" not in key:
        work = {"crowd": CROWD} if key == "crowd" else {}
        return _run(Task(STRANGERS, work), lambda _: None)
    version, name, other = key.split("/")
    return _run(Task(CELLS, {"version": version, "pair": (name, other)}), lambda _: None)


CELLS = 4 * (2 * (len(_UP) + len(_DOWN)) + len(_ODD)) + len(_FILTERS) + 6 + 2 + len(_UP) + len(_DOWN)
WHOLE = 2 * GATEWAYS * CELLS + STRANGERS + CROWD + len(CASES)
LINK_SECURITY = Row(
    id="SEC",
    name="strangers at the broker: topics, certificates, revocation",
    unit="cells",
    covers=(
        *PROGRAMS,
        "tests/proof/link_security",
        "tests/proof/processes/people.py",
        "tests/proof/processes/town.py",
        "tests/system/exports.py",
    ),
    shallow=WHOLE,
    deep=WHOLE,
    split=_split,
    run=_run,
    replay=_replay,
    at_once=2,
)
