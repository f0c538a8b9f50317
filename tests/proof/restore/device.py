"""A drop point's machine as a data folder: visits at its kiosk, its sync, images of its card, twins.

The station, journal and sync are the gateway's own; only the scale and the passing of time are played.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.local.stack import Devices, Site
from edge.agent import make_sync
from edge.clock import SystemClock
from edge.config import load_settings
from edge.core import open_core
from edge.devices.events import Scan
from edge.lock import FolderLock
from edge.station.screen import Button, Name
from edge.supervision import end_all
from protocol.codes import claim_hash
from protocol.records import record_id
from tests.proof.restore.people import Person, Shown
from tests.system.intake import Intake, SteppedClock

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from deploy.local.stack import Stack
    from edge.core import Core

_GUESTS = 0.25
_LOOKS_MAX = 200


class Visits(Intake):
    """Visits at one kiosk; `shown` is what its screens said."""

    def __init__(
        self, core: Core, clock: SteppedClock, people: Sequence[Person], chance: random.Random, device: str
    ) -> None:
        super().__init__(core, clock, [], chance.randrange(2**32))
        self._people = people
        self._device = device
        self.shown: list[Shown] = []

    async def visits(self, count: int) -> None:
        """As always; the last receipt of before may still stand there."""
        await self._free()
        await super().visits(count)

    async def _free(self) -> None:
        for _ in range(_LOOKS_MAX):
            self._clock.step(0.1)
            self._station.tick()
            await asyncio.sleep(0.001)
            match self._station.screen.name:
                case Name.IDLE:
                    return
                case Name.RECEIPT:
                    await self._station.press(Button.DONE)
                case _:
                    pass
        raise AssertionError(f"the kiosk is never free: {self._station.screen}")

    async def _visit(self) -> None:
        self._clock.step(self._random.uniform(5, 8))
        holder, guest = await self._identify()
        for _ in range(self._random.choice((1, 1, 2))):
            await self._weigh(holder, guest)
        await self._station.press(Button.FINISH)
        await self._station.press(Button.DONE)
        self._scale.mass_g = 0
        await self._until(Name.IDLE)

    async def _identify(self) -> tuple[bytes, bool]:
        if self._random.random() < _GUESTS or not self._people:
            screen = await self._station.press(Button.GUEST)
            assert screen.claim_code is not None, screen
            self.taken.claim_codes.append(screen.claim_code)
            return claim_hash(screen.claim_code), True
        person = self._random.choice(self._people)
        await self._station.scanned(Scan("card", person.card, person.card.encode()))
        return person.serial, False

    async def _weigh(self, holder: bytes, guest: bool) -> None:
        self._scale.mass_g = 0
        screen = self._station.screen
        if screen.name is not Name.SAVED:
            screen = await self._until(Name.CHOOSE)
        await self._station.press(Button.MATERIAL, self._random.choice(screen.tiles).code)
        self._clock.step(1.0)
        self._station.tick()
        await self._armed()
        self._scale.mass_g = self._random.randrange(100, 20_000, 5)
        await self._until(Name.WEIGH, Button.CONFIRM)
        screen = await self._station.press(Button.CONFIRM)
        assert screen.name is Name.SAVED, screen
        await self._note(screen.lines[-1].seq, screen.lines[-1].net_g, screen.lines[-1].points, holder, guest)

    async def _armed(self) -> None:
        for _ in range(_LOOKS_MAX):
            weight = self._station.screen.weight
            if weight is not None and weight.armed:
                return
            self._clock.step(0.1)
            self._station.tick()
            await asyncio.sleep(0)
        raise AssertionError(f"the scale never arms: {self._station.screen}")

    async def _note(self, seq: int, net_g: int, points: int | None, holder: bytes, guest: bool) -> None:
        assert points is not None, "the kiosk has no fresh catalogue"
        journal = self._core.journal
        (entry,) = await journal.entries(seq, seq)
        self.shown.append(
            Shown(
                record_id(entry.digest), self._device, journal.gateway, journal.epoch, seq, holder, guest,
                net_g, points,
            )
        )  # fmt: skip


@dataclass
class Device:
    """One machine. `name` tells twins apart; the gateway's id is `site.name`."""

    name: str
    site: Site
    shown: list[Shown] = field(default_factory=list)
    claim_codes: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """What is on its card."""
        return self.site.folder / "data"

    async def visits(self, count: int, people: Sequence[Person], chance: random.Random) -> None:
        """Take visits while the agent's sync stands still."""
        if not count:
            return
        clock = SteppedClock(int(time.time() * 1000), time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)
        with FolderLock(self.data):
            core = open_core(load_settings(self.site.config), clock)
            try:
                visits = Visits(core, clock, people, chance, self.name)
                await visits.visits(count)
            finally:
                await core.close()
        self.shown += visits.shown
        self.claim_codes += visits.taken.claim_codes

    @contextlib.asynccontextmanager
    async def online(self) -> AsyncIterator[Core]:
        """The agent's sync runs, as the agent composes it."""
        with FolderLock(self.data):
            core = open_core(load_settings(self.site.config), SystemClock())
            syncing = asyncio.create_task(make_sync(core).run())
            try:
                yield core
            finally:
                await end_all([syncing])
                await core.close()

    async def new_epoch(self) -> None:
        """What the agent does after damage: go on in a new epoch, carrying what is not acknowledged."""
        with FolderLock(self.data):
            core = open_core(load_settings(self.site.config), SystemClock())
            try:
                await core.journal.new_epoch("proof")
            finally:
                await core.close()

    def image(self, to: Path) -> Path:
        """Copy its card."""
        shutil.copytree(self.data, to)
        return to

    def put_back(self, image: Path) -> None:
        """Restore its card from an image: what was written since is gone from it."""
        shutil.rmtree(self.data)
        shutil.copytree(image, self.data)

    def twin(self, name: str) -> Device:
        """Another machine with a copy of the card."""
        site = Site(
            self.site.name, self.site.folder.parent / name, Devices(), self.site.https_port,
            self.site.mqtt_port, self.site.mqtt_version, self.site.roads, spread_s=self.site.spread_s,
        )  # fmt: skip
        site.write_config()
        other = Device(name, site)
        self.image(other.data)
        return other


def claimed_device(stack: Stack, name: str, roads: tuple[str, ...]) -> Device:
    """A drop point claimed by the command lines; it talks to the cloud directly."""
    cloud = stack.cloud
    site = Site(
        name, stack.folder / name, Devices(), cloud.http_port, cloud.broker.port,
        cloud.broker.mqtt_version, roads, spread_s=0.0,
    )  # fmt: skip
    site.write_config()
    stack.claim(site)
    return Device(name, site)
