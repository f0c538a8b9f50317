"""One schedule: everything that happens between a seed and a verdict.

First people come while faults fall; nothing may be credited twice, forged or credited against what the
kiosk said. Then the faults stop, and all that was saved must be credited, with nobody's help.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.records import genesis_digest
from tests.proof.simulation.disk import simulated_disks
from tests.proof.simulation.faults import Storm
from tests.proof.simulation.listening import listening
from tests.proof.simulation.loop import Standstill, VirtualLoop
from tests.proof.simulation.reference import Chain
from tests.proof.simulation.site import Site
from tests.proof.simulation.world import FAST

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.proof.simulation.gateway import Gateway

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


class Schedule:
    """One run, inside a virtual loop."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._storm = Storm(site)
        self._reference, self._network, self._cloud = site.reference, site.network, site.cloud

    async def run(self) -> None:
        """From the first start to the last check."""
        self._storm.begin()
        self._cloud.start()
        for gateway in self._site.gateways:
            gateway.start()
        coming = [
            asyncio.ensure_future(each.come(self._site.plan.visits, self._site.plan.pause_s))
            for each in self._site.people
        ]
        if self._site.plan.goes_back:
            coming[0] = asyncio.ensure_future(self._first(coming[0], self._storm.go_back()))
        coming.append(asyncio.ensure_future(self._storm.outage()))
        faults = asyncio.ensure_future(self._storm.fall())
        await asyncio.wait(coming)
        for task in coming:
            task.result()
        faults.cancel()
        await asyncio.wait([faults])
        if not faults.cancelled():
            faults.result()
        self._reference.safe(self._site.credits())
        self._storm.end()
        await self._settle()
        self._judge()
        self._site.figures["virtual_s"] = int(self._network.now_s())
        self._site.figures["events"] = self._site.trace.count

    async def _first(self, coming: asyncio.Future[None], back: Coroutine[Any, Any, None]) -> None:
        await asyncio.gather(coming, back)
        await self._site.people[0].come(1, self._site.plan.pause_s)

    async def _settle(self) -> None:
        """Wait until everything is acknowledged; the time for that is bounded."""
        begun_s = self._network.now_s()
        heard: dict[str, tuple[float, int]] = {}
        while self._network.now_s() < begun_s + SETTLE_S:
            waiting = [gateway for gateway in self._site.gateways if not self._site.empty(gateway)]
            if not waiting:
                return
            for gateway in waiting:
                self._drains(gateway, heard)
            await asyncio.sleep(_LOOK_S)
        for gateway in self._site.gateways:
            if not self._site.empty(gateway):
                problem = gateway.sync.problem if gateway.sync is not None else "it does not run"
                self._reference.fault(f"I7: {gateway.name} still has a backlog: {problem}")

    def _drains(self, gateway: Gateway, heard: dict[str, tuple[float, int]]) -> None:
        """From the first accepted frame on, the backlog has to go within a minute."""
        core = gateway.core
        if core is None:
            return
        acked = core.journal.acked
        since = heard.setdefault(gateway.name, (float("inf"), acked))
        if since[0] == float("inf") and acked > since[1]:
            heard[gateway.name] = (self._network.now_s(), acked)
        elif self._network.now_s() > heard[gateway.name][0] + DRAIN_S:
            self._reference.fault(f"I7: {gateway.name} drains for more than {DRAIN_S:.0f} s")

    def _judge(self) -> None:
        credits, tables = self._site.credits(), self._cloud.model.tables
        held = self._site.held()
        points = sum(
            account.balance * (-1 if account.kind == "receivable" else 1)
            for account in tables.accounts.values()
            if account.kind != "issuer"
        )
        self._reference.settled(credits, held, points)
        self._reference.moved(self._site.handed_over())
        for fault in self._cloud.model.faults():
            self._reference.fault(f"I4: {fault}")
        for gateway in self._site.gateways:
            self._site.check_acked(gateway)
            self._judge_chain(gateway)
            # A power cut in a long transaction can look like damage at the end of the log: then what is
            # whole is salvaged, in case it was saved. Whether anything saved is missing is judged above.
            if gateway.core is not None and gateway.core.journal.journal.birth.reason == "damaged":
                self._site.count("journals salvaged")
        self._site.figures["weighings"] = len(credits)
        self._site.figures["saved"] = sum(state == "saved" for state in self._reference.state.values())
        self._site.figures["visits"] = sum(each.visits for each in self._site.people)

    def _judge_chain(self, gateway: Gateway) -> None:
        core = gateway.core
        if core is None:
            self._reference.fault(f"{gateway.name} does not run at the end")
            return
        journal = core.journal.journal
        genesis = genesis_digest(gateway.name, journal.epoch)
        first = journal.first_kept
        own = [(entry.seq, entry.data, entry.digest) for entry in journal.entries()]
        before = journal.digest_at(first - 1) or b""
        ours = Chain(f"{gateway.name} epoch {journal.epoch}", first, before, own, journal.acked)
        records = self._cloud.model.tables.records
        cursor = self._cloud.model.tables.cursors.get((gateway.name, journal.epoch))
        through = cursor.through if cursor is not None else 0
        stored = [
            (seq, row[6], row[5])
            for seq in range(1, through + 1)
            for row in records.get((gateway.name, journal.epoch, seq), ())
            if row[7] is None
        ]
        theirs = Chain(f"{gateway.name} in the cloud", 1, genesis, stored, through)
        self._reference.chained(ours)
        self._reference.chained(theirs)
        self._reference.agree(ours, theirs)


def run_seed(seed: str) -> Verdict:
    """Run the schedule of this seed, here and now. Whatever goes wrong is a finding."""
    root = Path(tempfile.mkdtemp(prefix="rl-", dir=FAST if FAST.is_dir() else None))
    site = Site(seed, root)
    loop = VirtualLoop(site.chance)
    try:
        with listening(site.reference), simulated_disks():
            try:
                loop.run_until_complete(Schedule(site).run())
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
                where = "".join(traceback.format_exception(error)[-3:])
                site.reference.fault(f"{type(error).__name__}: {error} {where}")
            for what in loop.unhandled:
                site.reference.fault(what)
            _end(loop, site)
    finally:
        loop.close()
        shutil.rmtree(root, ignore_errors=True)
    faults = list(site.reference.faults)
    return Verdict(seed, faults, site.trace.digest, site.figures, list(site.trace.tail))


def _end(loop: VirtualLoop, site: Site) -> None:
    for gateway in site.gateways:
        gateway.bury()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(Standstill):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
