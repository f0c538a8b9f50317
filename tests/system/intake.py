"""Takes weighings as fast as the disk allows: the real station and journal, on a clock that is stepped.

`python tests/system/intake.py CONFIG VISITS SEED CARDS` fills the outbox of a claimed gateway whose agent is
not running. Prints one JSON line: the ids of what the kiosk showed as saved, and the guests' claim codes.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from edge.config import ScaleSettings, load_settings
from edge.core import Core, open_core
from edge.devices.events import Scan
from edge.devices.readings import Reading, ScaleView, Status
from edge.lock import FolderLock
from edge.station.screen import Button, Name, Screen
from edge.station.station import Station
from protocol.records import ClockQuality

_TICK_S = 0.1
_LOOKS_MAX = 200


class SteppedClock:
    """A clock that moves only when told to."""

    def __init__(self, wall_ms: int, mono_ms: int) -> None:
        self._wall_ms = wall_ms
        self._mono_ms = mono_ms

    def step(self, seconds: float) -> None:
        self._mono_ms += int(seconds * 1000)
        self._wall_ms += int(seconds * 1000)

    def monotonic(self) -> float:
        return self._mono_ms / 1000

    def mono_ms(self) -> int:
        return self._mono_ms

    def wall_ms(self) -> int:
        return self._wall_ms

    def quality(self) -> ClockQuality:
        return ClockQuality.SYNCED

    async def sleep(self, seconds: float) -> None:
        self.step(seconds)
        await asyncio.sleep(0)


class Scale:
    """A scale that is always at rest."""

    def __init__(self) -> None:
        self.mass_g = 0

    def view(self) -> ScaleView:
        raw = b"S S %10.3f kg\r\n" % (self.mass_g / 1000)
        reading = Reading(Status.STABLE, self.mass_g, None, None, True, "kg", 5, raw)
        return ScaleView("ok", reading, self.mass_g, self.mass_g == 0, 0.05, "flag")


@dataclass
class Taken:
    """What people saw: for each receipt its id and net, for guests the code."""

    saved: int = 0
    net_g: int = 0
    points: int = 0
    claim_codes: list[str] = field(default_factory=list)


class Intake:
    """Visits one after the other at one station."""

    def __init__(self, core: Core, clock: SteppedClock, cards: list[str], seed: int) -> None:
        self._core, self._clock, self._cards = core, clock, cards
        self._random = random.Random(seed)
        self._scale = Scale()
        self.taken = Taken()
        self._station = Station(
            journal=core.journal,
            directory=core.directory,
            scale=self._scale.view,
            clock=clock,
            random=secrets.token_bytes,
            settings=core.settings.station,
            scale_settings=core.settings.scale
            or ScaleSettings(dialect="mt-sics", port="none", serial="B123456789"),
        )

    async def visits(self, count: int) -> None:
        await self._until(Name.IDLE)
        for _ in range(count):
            await self._visit()
        await self._station.settle()

    async def _visit(self) -> None:
        self._clock.step(self._random.uniform(5, 60))
        guest = self._random.random() < 0.2 or not self._cards
        if guest:
            screen = await self._station.press(Button.GUEST)
            assert screen.claim_code is not None, screen
            self.taken.claim_codes.append(screen.claim_code)
        else:
            card = self._random.choice(self._cards)
            await self._station.scanned(Scan("card", card, card.encode()))
        screen = await self._until(Name.CHOOSE)
        await self._station.press(Button.MATERIAL, self._random.choice(screen.tiles).code)
        self._scale.mass_g = self._random.randrange(100, 20_000, 5)
        screen = await self._until(Name.WEIGH, Button.CONFIRM)
        screen = await self._station.press(Button.CONFIRM)
        assert screen.name is Name.SAVED, screen
        screen = await self._station.press(Button.FINISH)
        assert screen.receipt is not None, screen
        self.taken.saved += 1
        self.taken.net_g += screen.receipt.net_g
        self.taken.points += screen.receipt.points or 0
        await self._station.press(Button.DONE)
        self._scale.mass_g = 0
        await self._until(Name.IDLE)

    async def _until(self, name: Name, button: Button | None = None) -> Screen:
        for _ in range(_LOOKS_MAX):
            self._clock.step(_TICK_S)
            self._station.tick()
            await asyncio.sleep(0)
            screen = self._station.screen
            if screen.name is name and (button is None or button in screen.buttons):
                return screen
            await asyncio.sleep(0.001)
        raise AssertionError(f"never came to {name} {button}: {self._station.screen}")


async def fill(config: Path, visits: int, seed: int, cards: list[str]) -> Taken:
    """Take `visits` weighings into the outbox of the gateway configured by `config`."""
    import time

    settings = load_settings(config)
    clock = SteppedClock(int(time.time() * 1000), 60_000)
    with FolderLock(settings.data_dir):
        core = open_core(settings, clock)
        try:
            intake = Intake(core, clock, cards, seed)
            await intake.visits(visits)
        finally:
            await core.close()
    return intake.taken


if __name__ == "__main__":
    texts = Path(sys.argv[4]).read_text().splitlines()
    done = asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), texts))
    print(json.dumps(done.__dict__))
