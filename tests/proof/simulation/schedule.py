"""One schedule: everything that happens between a seed and a verdict.

First people come while faults fall; nothing may be credited twice, forged or credited against what the
kiosk said. Then the faults stop, and all that was saved must be credited, with nobody's help.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import structlog

from edge.errors import EdgeError
from protocol.errors import RecordError
from protocol.records import ClockQuality, Record, decode_record, genesis_digest
from tests.proof.simulation.cloud import Cloud
from tests.proof.simulation.disk import simulated_disks
from tests.proof.simulation.gateway import Gateway
from tests.proof.simulation.loop import Standstill, VirtualLoop
from tests.proof.simulation.network import Network
from tests.proof.simulation.people import People
from tests.proof.simulation.reference import Chain, Credit, Load, Reference
from tests.proof.simulation.trace import Trace
from tests.proof.simulation.world import FAST, MATERIALS, poison

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from tests.proof.simulation.store_tables import Tables

SETTLE_S = 400.0
"""Breakers rest 30 s, refused roads 60 s, retries wait 60 s at most; a few of them in a row."""
DRAIN_S = 60.0
"""I7: from the first frame that is accepted, for a backlog of up to 1,000 records."""
_LOOK_S = 0.5


@dataclass(slots=True)
class Verdict:
    """What came of one schedule."""

    seed: str
    faults: list[str]
    digest: str
    figures: dict[str, int] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """How bad a schedule is, drawn from its seed."""

    gateways: int
    visits: int
    pause_s: float
    loss: float
    repeat: float
    stray: float
    spoil: float
    puback_lost: float
    delay_s: float
    kills: float
    disk_faults: float
    clock_jumps: bool
    goes_back: str
    """What is put back to an earlier state, at most: "cloud", "card" or nothing."""

    @classmethod
    def drawn(cls, chance: random.Random) -> Plan:
        """Some schedules are calm in some respect, so that faults are seen apart and together."""

        def maybe(share: float, most: float) -> float:
            return chance.uniform(0, most) if chance.random() < share else 0.0

        return cls(
            gateways=chance.choice((3, 3, 3, 4)),
            visits=chance.randint(2, 5),
            pause_s=chance.choice((1.0, 4.0)),
            loss=maybe(0.7, 0.3),
            repeat=maybe(0.7, 0.5),
            stray=maybe(0.4, 0.1),
            spoil=maybe(0.2, 0.05),
            puback_lost=maybe(0.3, 0.05),
            delay_s=chance.choice((0.01, 0.05, 0.4)),
            kills=maybe(0.7, 0.02),
            disk_faults=maybe(0.3, 0.05),
            clock_jumps=chance.random() < 0.3,
            goes_back=chance.choice(("cloud", "card", "", "")),
        )


class Schedule:
    """One run, inside a virtual loop."""

    def __init__(self, seed: str, root: Path) -> None:
        self.chance = random.Random(seed)
        self.plan = Plan.drawn(self.chance)
        self.trace = Trace()
        self.reference = Reference(MATERIALS)
        self.network = Network(self.chance, self.trace)
        names = {f"ktm-drop-{number}": self.chance.random() < 0.7 for number in range(self.plan.gateways)}
        self.cloud = Cloud(self.network, self.chance, names)
        self.gateways = [
            Gateway(name, root, self.network, self.chance, self.reference, self._moment, enrolled=enrolled)
            for name, enrolled in names.items()
        ]
        used: set[int] = set()
        self.people = [People(gateway, self.reference, self.chance, used) for gateway in self.gateways]
        self._backup: Tables | None = None
        self.figures: dict[str, int] = {}
        self._faulty = False
        self._poisoned: set[int] = set()

    async def run(self) -> None:
        """From the first start to the last check."""
        self._storm()
        self.cloud.start()
        for gateway in self.gateways:
            gateway.start()
        coming = [
            asyncio.ensure_future(each.come(self.plan.visits, self.plan.pause_s)) for each in self.people
        ]
        faults = asyncio.ensure_future(self._faults())
        await asyncio.wait(coming)
        for task in coming:
            task.result()
        faults.cancel()
        await asyncio.wait([faults])
        if not faults.cancelled():
            faults.result()
        self.reference.safe(self._credits())
        self._calm()
        await self._settle()
        self._judge()
        self.figures["virtual_s"] = int(self.network.now_s())
        self.figures["events"] = self.trace.count

    # Faults

    def _storm(self) -> None:
        plan, weather = self.plan, self.network.weather
        weather.loss, weather.repeat, weather.stray = plan.loss, plan.repeat, plan.stray
        weather.spoil, weather.puback_lost, weather.delay_s = plan.spoil, plan.puback_lost, plan.delay_s
        self._faulty = True
        for gateway in self.gateways:
            gateway.disk.fault = self._disk_fault

    def _calm(self) -> None:
        self._faulty = False
        self.network.note("world", "the faults stop")
        self.network.weather.calm()
        for gateway in self.gateways:
            # A clock that knows it is wrong may stay wrong; one that claims to be right is set right.
            if gateway.clock.trust is ClockQuality.SYNCED:
                gateway.clock.off_ms = 0
        if not self.cloud.up:
            self.cloud.start()

    def _moment(self, gateway: Gateway) -> None:
        """Work on the disk is done, nobody knows it yet: as good a moment to die as any."""
        if self._faulty and self.chance.random() < self.plan.kills:
            asyncio.get_running_loop().call_soon(self._kill, gateway)

    def _kill(self, gateway: Gateway) -> None:
        if gateway.machine is not None:
            self._count("deaths of gateways")
            gateway.crash(power=self.chance.random() < 0.6)

    def _disk_fault(self, what: str) -> apsw.Error | None:
        if not self._faulty or self.chance.random() >= self.plan.disk_faults:
            return None
        self._count("disk faults")
        if what == "write" and self.chance.random() < 0.5:
            return apsw.FullError("no room")
        return apsw.IOError("the disk refuses")

    async def _faults(self) -> None:
        """One after the other, at any moment, until cancelled."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 4.0))
            gateway = self.chance.choice(self.gateways)
            kind = self.chance.choice(_KINDS)
            if kind == "kill" and self.plan.kills:
                self._kill(gateway)
            elif kind == "cut":
                self._count("partitions")
                self.network.cut(gateway.name)
                self._after(self.network.weather.cut.discard, gateway.name)
            elif kind == "https":
                self.network.weather.cut_https.add(gateway.name)
                self._after(self.network.weather.cut_https.discard, gateway.name)
            elif kind == "broker" and self.network.weather.broker_up:
                self._count("deaths of the broker")
                self.network.broker_dies()
                self._after(self._broker_rises)
            elif kind == "cloud" and self.cloud.up:
                self._count("deaths of the cloud")
                self.cloud.crash()
                self._after(self._cloud_rises)
            elif kind == "database":
                self._count("deaths of the database")
                self.cloud.model.kill()
            elif kind == "restart":
                await gateway.stop()
            elif kind == "clock" and self.plan.clock_jumps:
                self._jump(gateway)
            elif kind == "poison":
                await self._poison(gateway)
            elif kind == "back":
                self._go_back(gateway)

    def _after(self, then: Any, *arguments: object) -> None:
        asyncio.get_running_loop().call_later(self.chance.expovariate(1 / 5.0), then, *arguments)

    def _broker_rises(self) -> None:
        self.network.weather.broker_up = True

    def _cloud_rises(self) -> None:
        if not self.cloud.up:
            self.cloud.start()

    def _jump(self, gateway: Gateway) -> None:
        self._count("clock jumps")
        clock = gateway.clock
        clock.off_ms = self.chance.choice(_JUMPS_MS)
        clock.trust = self.chance.choice(_QUALITIES)
        self.network.note(gateway.name, f"clock off by {clock.off_ms} ms, {clock.trust.name}")

    async def _poison(self, gateway: Gateway) -> None:
        mass_g = next(mass_g for mass_g in range(1, 100_000, 5) if mass_g not in self._poisoned)
        self._poisoned.add(mass_g)
        load = (gateway.name, mass_g)
        self.reference.perhaps_poison.add(load)
        if await gateway.poison(poison(mass_g)):
            self._count("poison records")
            self.reference.poison.add(load)

    def _go_back(self, gateway: Gateway) -> None:
        """Keep a copy of something, or go back to the copy that was kept."""
        if self.plan.goes_back == "cloud":
            if self._backup is None:
                self._backup = self.cloud.model.snapshot()
                return
            self._count("clouds restored")
            self.network.note("cloud", "is restored from a backup")
            self.cloud.model.restore(self._backup)
            self.plan.goes_back = ""
        elif self.plan.goes_back == "card" and gateway.machine is not None:
            if not gateway.put_back_card():
                gateway.copy_card()
                return
            self._count("cards put back")
            self.network.note(gateway.name, "goes on from an older card")
            self.reference.put_back(gateway.name, {credit.load for credit in self._credits()})
            self.plan.goes_back = ""

    def _count(self, what: str) -> None:
        self.figures[what] = self.figures.get(what, 0) + 1

    # Afterwards

    async def _settle(self) -> None:
        """Wait until everything is acknowledged; the time for that is bounded."""
        begun_s = self.network.now_s()
        heard: dict[str, tuple[float, int]] = {}
        while self.network.now_s() < begun_s + SETTLE_S:
            waiting = [gateway for gateway in self.gateways if not self._empty(gateway)]
            if not waiting:
                return
            for gateway in waiting:
                self._drains(gateway, heard)
            await asyncio.sleep(_LOOK_S)
        for gateway in self.gateways:
            if not self._empty(gateway):
                problem = gateway.sync.problem if gateway.sync is not None else "it does not run"
                self.reference.fault(f"I7: {gateway.name} still has a backlog: {problem}")

    def _empty(self, gateway: Gateway) -> bool:
        """Whether the gateway has nothing to send and the cloud has all of it: it may have been restored."""
        core = gateway.core
        if core is None or gateway.station is None:
            return False
        journal = core.journal
        cursor = self.cloud.model.tables.cursors.get((gateway.name, journal.epoch))
        return journal.acked == journal.head and cursor is not None and cursor.through == journal.head

    def _drains(self, gateway: Gateway, heard: dict[str, tuple[float, int]]) -> None:
        """From the first accepted frame on, the backlog has to go within a minute."""
        core = gateway.core
        if core is None:
            return
        acked = core.journal.acked
        since = heard.setdefault(gateway.name, (float("inf"), acked))
        if since[0] == float("inf") and acked > since[1]:
            heard[gateway.name] = (self.network.now_s(), acked)
        elif self.network.now_s() > heard[gateway.name][0] + DRAIN_S:
            self.reference.fault(f"I7: {gateway.name} drains for more than {DRAIN_S:.0f} s")

    def _judge(self) -> None:
        credits, tables = self._credits(), self.cloud.model.tables
        held = [_load_of(row.row.gateway, row.row.data) for row in tables.quarantine.values()]
        points = sum(
            account.balance * (-1 if account.kind == "receivable" else 1)
            for account in tables.accounts.values()
            if account.kind != "issuer"
        )
        self.reference.settled(credits, held, points)
        self.reference.moved([row.net_g for row in tables.movements.values() if row.kind == "handed_over"])
        for fault in self.cloud.model.faults():
            self.reference.fault(f"I4: {fault}")
        for gateway in self.gateways:
            self._judge_chain(gateway)
            if gateway.core is not None and gateway.core.journal.journal.birth.lost:
                self.reference.fault(f"{gateway.name}: a journal was salvaged that nobody damaged")
        self.figures["weighings"] = len(credits)
        self.figures["saved"] = sum(state == "saved" for state in self.reference.state.values())
        self.figures["visits"] = sum(each.visits for each in self.people)

    def _judge_chain(self, gateway: Gateway) -> None:
        core = gateway.core
        if core is None:
            self.reference.fault(f"{gateway.name} does not run at the end")
            return
        journal = core.journal.journal
        genesis = genesis_digest(gateway.name, journal.epoch)
        own = [(entry.seq, entry.data, entry.digest) for entry in journal.entries()]
        ours = Chain(f"{gateway.name} epoch {journal.epoch}", genesis, own, journal.acked)
        records = self.cloud.model.tables.records
        cursor = self.cloud.model.tables.cursors.get((gateway.name, journal.epoch))
        through = cursor.through if cursor is not None else 0
        stored = [
            (seq, row[6], row[5])
            for seq in range(1, through + 1)
            for row in records.get((gateway.name, journal.epoch, seq), ())
            if row[7] is None
        ]
        theirs = Chain(f"{gateway.name} in the cloud", genesis, stored, through)
        self.reference.chained(ours)
        self.reference.chained(theirs)
        self.reference.agree(ours, theirs)

    def _credits(self) -> list[Credit]:
        rows = self.cloud.model.tables.weighings.values()
        return [
            Credit((row.place[0], row.net_g), row.material, row.points, not row.voided, row.pending)
            for row in rows
        ]


def _load_of(gateway: str, data: bytes) -> Load:
    try:
        record: Record = decode_record(data)
    except RecordError:
        return gateway, 0
    return gateway, getattr(record.body, "net_g", 0)


_KINDS = (
    "kill", "kill", "cut", "https", "broker", "cloud", "database", "restart", "clock", "poison",
    "back", "back",
)  # fmt: skip
_YEAR_MS = 365 * 86_400_000


_QUALITIES = tuple(ClockQuality)
_JUMPS_MS = (-10 * _YEAR_MS, -1_000, 1_000, 3_600_000, 10 * _YEAR_MS, 0)


# Running one


def run_seed(seed: str) -> Verdict:
    """Run the schedule of this seed, here and now. Whatever goes wrong is a finding."""
    root = Path(tempfile.mkdtemp(prefix="rl-", dir=FAST if FAST.is_dir() else None))
    schedule = Schedule(seed, root)
    loop = VirtualLoop(schedule.chance)
    try:
        with _quiet(schedule.reference), simulated_disks():
            try:
                loop.run_until_complete(schedule.run())
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
                where = "".join(traceback.format_exception(error)[-3:])
                schedule.reference.fault(f"{type(error).__name__}: {error} {where}")
            for what in loop.unhandled:
                schedule.reference.fault(what)
            _end(loop, schedule)
    finally:
        loop.close()
        shutil.rmtree(root, ignore_errors=True)
    faults = list(schedule.reference.faults)
    return Verdict(seed, faults, schedule.trace.digest, schedule.figures, list(schedule.trace.tail))


def _end(loop: VirtualLoop, schedule: Schedule) -> None:
    for gateway in schedule.gateways:
        gateway.bury()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(Standstill):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


class _Listener(logging.Handler):
    """Hears of exceptions that a supervisor of the product caught and logged."""

    def __init__(self, reference: Reference) -> None:
        super().__init__(logging.WARNING)
        self._reference = reference

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and not _expected(record.exc_info[1]):
            where = traceback.format_exception(record.exc_info[1])[-2:]
            self._reference.fault(f"{record.name}: {record.getMessage()}: {record.exc_info[1]!r} {where}")


def _expected(error: BaseException) -> bool:
    from cloud.errors import UnavailableError
    from tests.proof.simulation.loop import MachineDied

    return isinstance(error, UnavailableError | EdgeError | MachineDied)


@contextlib.contextmanager
def _quiet(reference: Reference) -> Iterator[None]:
    """Nothing is printed; what the product's supervisors caught unexpectedly is a finding."""

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        error = sys.exc_info()[1]
        if event.get("exc_info") and error is not None and not _expected(error):
            where = traceback.format_exception(error)[-2:]
            reference.fault(f"cloud: {event.get('event')}: {error!r} {where}")
        raise structlog.DropEvent

    listener, logger = _Listener(reference), logging.getLogger("reloop")
    propagate, logger.propagate = logger.propagate, False
    kept = structlog.get_config()
    structlog.configure(processors=[hear])
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagate
        structlog.configure(**kept)
