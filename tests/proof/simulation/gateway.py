"""A gateway of a schedule: the production core, station and sync on a machine that can lose its power.

Owns its lives and deaths, its scale, and a watcher who tells the reference what the screen showed.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from typing import TYPE_CHECKING

from edge.config import CloudSettings, JournalSettings, ScaleSettings, Settings, StationSettings
from edge.core import Core, open_core
from edge.devices.readings import Reading, ScaleView, Status
from edge.errors import EdgeError, JournalError
from edge.station.station import Station
from edge.sync.roads import RoadName
from edge.sync.sync import Lane, Sync
from edge.timekeeping import Timekeeper
from edge.version import VERSION
from protocol.bodies import GatewayStarted, GatewayStopped
from protocol.breaker import Breaker
from tests.proof.simulation.clock import SimulatedClock
from tests.proof.simulation.disk import FREE_BYTES_MIN, Disk
from tests.proof.simulation.loop import Machine, MachineDied
from tests.proof.simulation.network import SimulatedRoad
from tests.proof.simulation.world import outfit

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any, TypeVar

    from edge.devices.events import Scan
    from edge.station.screen import Button, Screen
    from protocol.bodies import Body
    from tests.proof.simulation.network import Network
    from tests.proof.simulation.reference import Reference

    T = TypeVar("T")

SCALE = ScaleSettings(dialect="mt-sics", port="none", serial="B123456789")
RESTART_S = 2.0
"""systemd's pause before a program that ended is started again."""
ATTENDED_S, UNATTENDED_S = 0.25, 2.0
"""How often the station looks at its plate, with somebody there and with nobody: for speed, not 0.1 s."""
ANSWER_S = 2.0
"""A kiosk that takes longer waits for something other than its disk."""
PRUNES_S = (2.0, 30.0)
"""How long until it is seen again what may be forgotten: the real 30 s, and less for short schedules."""


class Scale:
    """A scale that settles at once."""

    def __init__(self) -> None:
        self.mass_g = 0
        self.moving = False

    def view(self) -> ScaleView:
        """What it says now."""
        raw = b"S %c %10.3f kg\r\n" % (b"D" if self.moving else b"S", self.mass_g / 1000)
        status = Status.MOTION if self.moving else Status.STABLE
        reading = Reading(status, self.mass_g, None, None, not self.moving, "kg", 5, raw)
        stable_g = None if self.moving else self.mass_g
        return ScaleView("ok", reading, stable_g, stable_g == 0, 0.05, "flag")


class _StationClock(SimulatedClock):
    """The gateway's clock, on which a station that nobody looks at sleeps longer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def booted_s(self) -> float:  # type: ignore[override]
        return self._gateway.clock.booted_s

    def wall_ms(self) -> int:
        return self._gateway.clock.wall_ms()

    def quality(self) -> Any:
        return self._gateway.clock.quality()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(ATTENDED_S if self._gateway.attended else UNATTENDED_S)


class Gateway:
    """One drop point. `machine` is None between two lives.

    `moment` is called when work on the disk is done and nobody knows it yet: a good one to lose the power.
    """

    def __init__(  # noqa: PLR0917 - what it is made of
        self,
        name: str,
        root: Path,
        network: Network,
        chance: random.Random,
        reference: Reference,
        moment: Callable[[Gateway], None],
        *,
        enrolled: bool = True,
    ) -> None:
        self.name = name
        self._moment = moment
        self._network, self._chance, self._reference = network, chance, reference
        self.clock = SimulatedClock()
        self.disk = Disk(root / name, chance)
        outfit(self.disk.folder, name, enrolled=enrolled)
        self.scale = Scale()
        self.attended = False
        self.machine: Machine | None = None
        self.core: Core | None = None
        self.station: Station | None = None
        self.sync: Sync | None = None
        self.alarms: dict[str, int] = {}
        self._boots = 1
        self._image: Path | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.wanted = True
        """Whether it is to be started again when it ends."""

    # Lives and deaths

    def start(self) -> None:
        """Begin a life, unless it lives."""
        if self.machine is None and self.wanted:
            self.machine = Machine(self.name)
            self.machine.start(self._live(self.machine), "gateway")
            self._network.note(self.name, "starts")

    def crash(self, *, power: bool) -> None:
        """End it now: the program alone is killed, or the whole machine loses its power."""
        machine, core = self.machine, self.core
        self._forget()
        self._network.note(self.name, "loses power" if power else "is killed")
        if machine is not None:
            machine.die()
        self.disk.crash(power=power)
        _bury(core)
        if power:
            self._boots += 1
            self.clock.booted_s = self.clock.monotonic()
        self._start_later()

    def _forget(self) -> None:
        if self.core is not None:
            for code, count in self.core.traffic.alarms.items():
                self.alarms[code] = self.alarms.get(code, 0) + count
        self.machine = self.core = self.station = self.sync = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _start_later(self) -> None:
        delay_s = RESTART_S * (0.5 + self._chance.random())
        asyncio.get_running_loop().call_later(delay_s, self.start)

    async def stop(self) -> None:
        """Ask it to end, as an upgrade does; it starts again."""
        if self.machine is not None and self.core is not None:
            self._stopping.set()

    async def _live(self, machine: Machine) -> None:
        """As `edge.agent` does it: everything runs until one part ends or it is told to stop."""
        try:
            await self._run(machine)
        except EdgeError as error:
            self._network.note(self.name, f"ends: {type(error).__name__}")
        except MachineDied:
            return
        except Exception as error:  # noqa: BLE001 - a part that fails takes the agent with it: a finding
            where = traceback.format_exception(error)[-3:]
            self._reference.fault(f"{self.name} ends: {type(error).__name__}: {error} {where}")
        if self.machine is machine:
            self._ended(machine)

    def _ended(self, machine: Machine) -> None:
        """The process is gone, and what it left is what the next one finds."""
        core = self.core
        self._forget()
        machine.alive = False
        for task in list(machine.tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self.disk.crash(power=False)
        _bury(core)
        self._start_later()

    def bury(self) -> None:
        """The schedule is over."""
        self.wanted = False
        machine, core = self.machine, self.core
        self._forget()
        if machine is not None:
            machine.die()
        self.disk.remove()
        _bury(core)

    async def _run(self, machine: Machine) -> None:
        core = self._open()
        self.core, self._stopping = core, asyncio.Event()
        machine.on_work = lambda: self._moment(self)
        await self._note(GatewayStarted(VERSION, self._boot_id, core.journal.journal.birth.reason))
        sync = Sync(core.wiring, self._lanes(machine), self._chance.uniform, core.settings.cloud.spread_s)
        station = self._station(core)
        self.station, self.sync = station, sync
        work = (
            station.run(),
            sync.run(),
            Timekeeper(self.clock, core.journal).run(),
            self._housekeeping(core),
            self._stopping.wait(),
        )
        tasks = [asyncio.ensure_future(each) for each in work]
        self._watcher = self._watch(station)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)
        for task in done:
            task.result()
        await station.settle()
        await self._note(GatewayStopped("asked to"))
        await core.close()

    def _open(self) -> Core:
        folder = self.disk.folder
        settings = Settings(
            data_dir=folder,
            scale=SCALE,
            journal=JournalSettings(ballast_bytes=0, free_bytes_min=FREE_BYTES_MIN),
            cloud=CloudSettings(spread_s=5.0),
            station=StationSettings(idle_timeout_s=20.0, receipt_timeout_s=10.0),
        )
        return open_core(settings, self.clock, self._chance.randbytes, self._boot_id, self.disk.room)

    @property
    def _boot_id(self) -> str:
        return f"{self.name}-boot-{self._boots}"

    def _lanes(self, machine: Machine) -> list[Lane]:
        roads = [SimulatedRoad(name, self._network, self.name, machine) for name in RoadName]
        return [Lane(road, Breaker(road.name, self.clock.monotonic)) for road in roads]

    def _station(self, core: Core) -> Station:
        return Station(
            journal=core.journal,
            directory=core.directory,
            scale=self.scale.view,
            clock=_StationClock(self),
            random=self._chance.randbytes,
            settings=core.settings.station,
            scale_settings=core.settings.scale,
            intake=core.journal.intake_problem,
        )

    async def _note(self, body: GatewayStarted | GatewayStopped) -> None:
        assert self.core is not None
        try:
            await self.core.journal.append(body)
        except JournalError as error:
            self.core.traffic.alarm(error.code)

    async def _housekeeping(self, core: Core) -> None:
        while True:
            try:
                await core.journal.prune()
            except (JournalError, OSError):
                core.traffic.alarm("journal.prune")
            await self.clock.sleep(self._chance.choice(PRUNES_S))

    async def append(self, *bodies: Body) -> bool:
        """Let some part of the agent append these; whether they are surely saved."""
        machine, core = self.machine, self.core
        if machine is None or core is None:
            return False
        task = machine.start(core.journal.append(*bodies), "part")
        await asyncio.wait({task})
        return not task.cancelled() and task.exception() is None and self.machine is machine

    def copy_card(self) -> None:
        """Keep an image of the disk as it is."""
        self._image = self.disk.image()

    def put_back_card(self) -> bool:
        """Start again from the image that was kept; False if there is none."""
        if self._image is None:
            return False
        image, self._image = self._image, None
        self.crash(power=False)
        self.disk.put_back(image)
        self._boots += 1
        return True

    # What people do

    def _watch(self, station: Station) -> asyncio.Task[None]:
        async def watch() -> None:
            async for screen in station.subscribe():
                self._reference.shown(self.name, screen)

        return asyncio.get_running_loop().create_task(watch(), name="watcher")

    async def press(self, button: Button, value: str | None = None) -> Screen | None:
        """Press a button; the screen after it, None if the kiosk went dark meanwhile."""
        if self.station is None:
            return None
        self._network.note(self.name, f"press {button} {value or ''}")
        return await self._on_machine(self.station.press(button, value))

    async def scan(self, scan: Scan) -> Screen | None:
        """Show a code to the scanner."""
        if self.station is None:
            return None
        self._network.note(self.name, f"scan {scan.kind}")
        return await self._on_machine(self.station.scanned(scan))

    async def _on_machine(self, work: Coroutine[Any, Any, Screen]) -> Screen | None:
        machine = self.machine
        if machine is None:
            work.close()
            return None
        task, pressed_s = machine.start(work, "person"), self.clock.monotonic()
        await asyncio.wait({task})
        if self.clock.monotonic() > pressed_s + ANSWER_S:
            self._reference.fault(
                f"I8: {self.name} took {self.clock.monotonic() - pressed_s:.1f} s to answer"
            )
        if task.cancelled() or self.machine is not machine:
            return None
        screen = task.result()
        self._reference.shown(self.name, screen)
        return screen

    @property
    def screen(self) -> Screen | None:
        """What a person sees."""
        return self.station.screen if self.station is not None else None


def _bury(core: Core | None) -> None:
    """Close what a dead process had open, as the kernel does; its writes fail by now."""
    if core is None:
        return
    with contextlib.suppress(Exception):
        core.journal.journal.close()
    with contextlib.suppress(Exception):
        core.directory.close()
