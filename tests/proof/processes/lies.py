"""Brokers that say "taken" and lose, double, delay, mix up or spoil it, between real agents and the real
cloud; once they are honest again everything is credited, once.

Two kinds in turn: our own liar, and a real mosquitto with hardly any memory, whose consumer hangs
and which is then killed. Owns which lies are told, and when.
"""

from __future__ import annotations

import os
import random
import signal
import ssl
import time
from typing import TYPE_CHECKING

from deploy.local.broker import Broker
from deploy.local.processes import wait_until
from tests.proof.processes.kills import hash_of, merge
from tests.proof.processes.liar import HONEST, Liar, Lies
from tests.proof.processes.town import DRAIN_S, FAILURES, Kept, Town, open_town
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deploy.local.stack import Stack
    from tests.proof.row import Tick

LIES = 2_000
"""Of one town."""
ROADS = (("mqtt",), ("mqtt", "https"), ("mqtt",))
"""Two sites have nothing but the liar; the other may look for another road."""
PHASE_S = (1.0, 4.0)
_LOOK_S = 0.1
_SECONDS_A_LIE = 2.0
_SECONDS_A_LOSS = 15.0
_HANGS_S = (0.5, 2.0)
_MOSQUITTO_SHARE = 20
"""One lie of so many is mosquitto's: each costs the restart of a process or two."""


class LyingBroker(Broker):
    """Our liar where the stack expects its broker: with its certificates, behind both of its doors."""

    liar: Liar

    def __init__(self, folder: Path, port: int, data_dir: Path, seed: str) -> None:
        super().__init__(folder, port, data_dir)
        self._seed = seed

    def start(self) -> None:
        self.configure()
        doors = {self.port: self._door("gateways-ca.pem"), self.inside_port: self._door("inside-ca.pem")}
        self.liar = Liar(doors, self._seed)
        self.liar.start()

    def _door(self, trusted: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.auth / "server.pem", self.auth / "server.key")
        context.load_verify_locations(self.auth / trusted)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class ForgetfulBroker(Broker):
    """mosquitto that holds one message in flight and one behind it, and nothing on disk."""

    def configure(self) -> None:
        super().configure()
        file = self.auth / "mosquitto.conf"
        text = file.read_text().replace("max_inflight_messages 20", "max_inflight_messages 1")
        file.write_text(text.replace("max_queued_messages 1000", "max_queued_messages 1"))


def _split(count: int, seed: int) -> Sequence[Task]:
    mosquitto = max(1, count // _MOSQUITTO_SHARE)
    tasks = []
    for kind, share in (("liar", count - mosquitto), ("mosquitto", mosquitto)):
        towns = -(-share // (LIES if kind == "liar" else LIES // _MOSQUITTO_SHARE))
        for number in range(towns):
            part = share // towns + (number < share % towns)
            tasks.append(Task(part, {"key": f"{seed}.{number}.{kind}.{part}"}))
    return tasks


def _lie(key: str, tick: Tick) -> Part:
    """One town. The lies repeat with the key as far as the messages do."""
    _, _, kind, wanted = key.split(".")
    storm = _among_lies if kind == "liar" else _among_losses
    with Kept() as kept:
        told, found = 0, list[str]()
        figures: dict[str, int | float | str] = {}
        try:
            with open_town(
                kept.path, "all" if kind == "liar" else "apart", sites=len(ROADS), seed=hash_of(key),
                change=_exchange(kind, key), roads=ROADS if kind == "liar" else ROADS[:1],
            ) as town:  # fmt: skip
                told = storm(town, int(wanted), random.Random(key), tick, figures)
                town.send_people_home()
                figures["drain_s_max"] = round(town.drain(DRAIN_S), 1)
                figures["weighings"] = town.saved
                found = town.judge()
        except FAILURES as error:
            found.append(f"{type(error).__name__}: {error}")
        kept.broken = bool(found)
        where = f" (logs and journals are kept in {kept.path})"
        return Part(told, [Violation(key, each + where) for each in found], figures)


def _exchange(kind: str, seed: str) -> Callable[[Stack], None]:
    def change(stack: Stack) -> None:
        honest = stack.cloud.broker
        place = stack.folder / "broker", honest.port, stack.folder / "cloud"
        if kind == "liar":
            stack.cloud.broker = LyingBroker(*place, seed)
        else:
            stack.cloud.broker = ForgetfulBroker(*place)
        stack.cloud.broker.inside_port = honest.inside_port

    return change


def draw(chance: random.Random) -> Lies:
    """Some kinds of lies, each seldom or often."""

    def share(most: float) -> float:
        return chance.uniform(0, most) if chance.random() < 0.5 else 0.0

    return Lies(
        drop=share(0.5), double=share(0.6), delay=share(0.6), delay_s=chance.uniform(0.1, 5.0),
        replay=share(0.6), corrupt=share(0.2), misroute=share(0.2), mute=share(0.02),
        forget_s=chance.uniform(2.0, 15.0) if chance.random() < 0.5 else None,
    )  # fmt: skip


def _among_lies(
    town: Town, wanted: int, chance: random.Random, tick: Tick, figures: dict[str, int | float | str]
) -> int:
    """Lie until enough was told, or for so long as that may take; then be honest."""
    broker = town.stack.cloud.broker
    assert isinstance(broker, LyingBroker)
    liar, ends_s, told = broker.liar, time.monotonic() + 60 + wanted * _SECONDS_A_LIE, 0
    while told < wanted and time.monotonic() < ends_s:
        liar.lies, phase_s = draw(chance), time.monotonic() + chance.uniform(*PHASE_S)
        while told < wanted and time.monotonic() < phase_s:
            time.sleep(_LOOK_S)
            more = liar.told.total() - told
            told += more
            tick(more)
        town.look_after_people()
    liar.lies = HONEST
    figures |= dict(liar.told) | {"messages": liar.taken}
    return told


def _among_losses(
    town: Town, wanted: int, chance: random.Random, tick: Tick, figures: dict[str, int | float | str]
) -> int:
    """Lose frames that the broker took, until enough were lost, or for so long as that may take."""
    lost, ends_s = 0, time.monotonic() + 60 + wanted * _SECONDS_A_LOSS
    while lost < wanted and time.monotonic() < ends_s:
        acked = _acked(town)
        wait_until(lambda acked=acked: _acked(town) > acked, DRAIN_S, "nothing was acknowledged")  # type: ignore[misc]
        more = _lose(town, chance)
        lost += more
        tick(more)
        town.look_after_people()
    figures["lost after PUBACK"] = lost
    return lost


def _lose(town: Town, chance: random.Random) -> int:
    """Let frames be taken while their consumer hangs, then kill the broker; how many frames that lost.

    The one in flight is not counted: the consumer may find it when it goes on.
    """
    broker, ingest = town.stack.cloud.broker, town.parts["ingest"]
    os.kill(ingest.pid, signal.SIGSTOP)
    try:
        before = _frames(town)
        time.sleep(chance.uniform(*_HANGS_S))
        lost = _frames(town) - before - 1
        broker.process.kill()
    finally:
        os.kill(ingest.pid, signal.SIGCONT)
    time.sleep(chance.uniform(0, 0.5))
    broker.start()
    return max(0, lost)


def _acked(town: Town) -> int:
    return sum(int(site.status()["acked"]) for site in town.stack.sites)


def _frames(town: Town) -> int:
    return sum(int(site.status()["frames"]) for site in town.stack.sites)


LIED_TO = Row(
    id="R11",
    name="brokers that lose, double, mix up and spoil what they took",
    unit="lies",
    covers=(
        *PROGRAMS, "tests/proof/processes/kills.py", "tests/proof/processes/liar.py",
        "tests/proof/processes/lies.py", "tests/proof/processes/people.py",
        "tests/proof/processes/recovery.py", "tests/proof/processes/town.py",
        "tests/proof/processes/victims.py", "tests/system/exports.py",
    ),
    shallow=20,
    deep=1_000,
    split=_split,
    run=Keyed(_lie).run,
    replay=Keyed(_lie).replay,
    merge=merge,
    at_once=2,
)  # fmt: skip
