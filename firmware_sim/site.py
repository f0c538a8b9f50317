"""A simulated drop point: one scale, one scanner, one tag reader, people and a fault plan against one kiosk.

Owns the order of things and the diary of what people saw saved; devices and people are their own.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from firmware_sim.errors import KioskError, LinkError
from firmware_sim.fault_plan import Device, FaultEvent, timeline
from firmware_sim.faults import Fault
from firmware_sim.indication import Condition
from firmware_sim.kiosk import Kiosk
from firmware_sim.people import PLATE_REST_S, visits
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from firmware_sim.scenario import Scenario
from firmware_sim.visitor import PATIENCE_S, Outcome, Visitor

KIOSK_DEADLINE_S = 60.0
# More than this off zero on an empty plate is nothing that zero tracking will mend.
ZERO_LOST_DIVISIONS = 2
MAX_DIARY_BYTES = 64 * 1024 * 1024


class SimulatedSite:
    """A drop point with the ports scale, scanner and tags in `data`. Async context manager, then `run`.

    What people saw is written to `data`/visits.jsonl, one line per visit, at most 64 MiB.
    """

    def __init__(
        self,
        scenario: Scenario,
        kiosk: Kiosk,
        data: Path,
        *,
        patience_s: float = PATIENCE_S,
        kiosk_deadline_s: float = KIOSK_DEADLINE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scenario = scenario
        self.data = data
        self.counts: Counter[str] = Counter()
        self._kiosk = kiosk
        self._now = now
        self._kiosk_deadline_s = kiosk_deadline_s
        try:
            data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LinkError(f"cannot make the folder {data}: {error.strerror}") from error
        self.scale = SimulatedScale(
            scenario.scale.dialect,
            link=data / "scale",
            control=data / "scale.sock",
            seed=scenario.seed,
            baud=scenario.scale.baud,
            profile=scenario.scale.profile,
            checksum=scenario.scale.checksum,
        )
        self.scanner = SimulatedScanner(
            terminator=scenario.scanner.terminator,
            aim=scenario.scanner.aim,
            link=data / "scanner",
            control=data / "scanner.sock",
            seed=scenario.seed,
            baud=scenario.scanner.baud,
        )
        self.tag_reader = SimulatedScanner(link=data / "tags", control=data / "tags.sock", seed=scenario.seed)
        self._visitor = Visitor(kiosk, self.scale, self.scanner, self.tag_reader, patience_s=patience_s)

    async def __aenter__(self) -> Self:
        await self.scale.__aenter__()
        await self.scanner.__aenter__()
        await self.tag_reader.__aenter__()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.tag_reader.__aexit__()
        await self.scanner.__aexit__()
        await self.scale.__aexit__()

    async def run(self, stop: asyncio.Event | None = None) -> dict[str, object]:
        """Wait for the kiosk, then let people come until the scenario ends or `stop` is set.

        The visit under way is finished. Returns the summary; KioskError if the kiosk never answers.
        """
        stop = stop or asyncio.Event()
        await self._await_kiosk(stop)
        start_s = self._now()
        faults = asyncio.create_task(self._befall(start_s))
        try:
            await self._receive_people(start_s + self.scenario.duration_s, stop)
        finally:
            faults.cancel()
            await asyncio.gather(faults, return_exceptions=True)
            self._heal()
        return self.summary()

    def summary(self) -> dict[str, object]:
        """How many visits ended how, what was seen as saved, and the seed that repeats it all."""
        names = ("visits", "finished", "cancelled", "gave_up", "saved", "saved_g", "faults", "attended")
        counts = {name: self.counts[name] for name in names}
        return {"scenario": self.scenario.name, "seed": self.scenario.seed, **counts}

    async def _await_kiosk(self, stop: asyncio.Event) -> None:
        deadline_s = self._now() + self._kiosk_deadline_s
        while not stop.is_set():
            try:
                await self._kiosk.screen()
                return
            except KioskError:
                if self._now() >= deadline_s:
                    raise
            await asyncio.sleep(0.5)

    async def _receive_people(self, end_s: float, stop: asyncio.Event) -> None:
        arrival_s = self._now()
        for visit in visits(self.scenario.people, self.scenario.seed):
            arrival_s += visit.after_s
            if await _set_within(stop, min(arrival_s, end_s) - self._now()) or self._now() >= end_s:
                return
            self._record(await self._visitor.perform(visit))
            await self._attend()

    async def _attend(self) -> None:
        """What a shopkeeper does with an empty scale that no longer shows zero: switch it off and on again.

        That happens after it came back to power with a bag on the plate and took the bag for zero.
        """
        await asyncio.sleep(PLATE_REST_S)
        shown = self.scale.indication
        if self.scale.load_g or self.scale.faults or shown is None:
            return
        if (
            shown.condition is Condition.MOTION
            or abs(shown.gross_g) <= ZERO_LOST_DIVISIONS * shown.division_g
        ):
            return
        self.counts["attended"] += 1
        self.scale.fault(Fault.POWER_CUT)
        self.scale.fault(Fault.POWER_CUT, on=False)

    def _record(self, outcome: Outcome) -> None:
        self.counts["visits"] += 1
        self.counts[outcome.ending] += 1
        self.counts["saved"] += len(outcome.saved)
        self.counts["saved_g"] += sum(line.net_g for line in outcome.saved.values())
        line = json.dumps(diary_line(outcome), ensure_ascii=False) + "\n"
        diary = self.data / "visits.jsonl"
        if diary.exists() and diary.stat().st_size + len(line) > MAX_DIARY_BYTES:
            self.counts["diary_full"] += 1
            return
        with diary.open("a", encoding="utf-8") as file:
            file.write(line)

    async def _befall(self, start_s: float) -> None:
        for event in timeline(self.scenario.faults, self.scenario.seed, self.scenario.duration_s):
            await asyncio.sleep(max(0.0, start_s + event.at_s - self._now()))
            self._apply(event)

    def _apply(self, event: FaultEvent) -> None:
        self.counts["faults"] += event.on
        if event.device is Device.SCALE:
            self.scale.fault(event.fault, event.on)
        else:
            self.scanner.fault(event.fault, event.on)

    def _heal(self) -> None:
        """Leave both devices whole, so that what is still under way can end."""
        for fault in self.scale.faults:
            self.scale.fault(fault, on=False)
        for rule in self.scenario.faults:
            if rule.device is Device.SCANNER:
                self.scanner.fault(rule.fault, on=False)


def diary_line(outcome: Outcome) -> dict[str, object]:
    """One visit as JSON: what was put on the plate, and every line the kiosk showed as saved."""
    return {
        "visit": outcome.visit.number,
        "who": outcome.visit.who,
        "ending": outcome.ending,
        "reason": outcome.reason,
        "placed_g": outcome.placed_g,
        "voids": outcome.voids,
        "saved": [asdict(line) for line in outcome.saved.values()],
        "receipt": outcome.receipt_id,
        "claim_code": outcome.claim_code,
    }


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except TimeoutError:
        return event.is_set()
    return True
