"""What goes wrong in a schedule, and when: everything that the promise is to survive.

Owns the choice. How a machine dies, a disk forgets or a message is lost is the machine's, disk's, network's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import apsw

from protocol.bodies import ScaleZeroed
from protocol.records import ClockQuality
from tests.proof.simulation.disk import LOW_BYTES, WIDE_BYTES
from tests.proof.simulation.forgery import forged_frame
from tests.proof.simulation.world import poison

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proof.simulation.gateway import Gateway
    from tests.proof.simulation.site import Site

_PAUSE_S = 3.0
"""Between two faults, on average."""
_STRIKES = ("kill", "kill", "restart", "clock", "poison", "room", "noise")
_DISTURBANCES = ("cut", "https", "broker", "cloud", "database", "replay", "forgery")
_YEAR_MS = 365 * 86_400_000


_QUALITIES = tuple(ClockQuality)
_JUMPS_MS = (-10 * _YEAR_MS, -1_000, 1_000, 3_600_000, 10 * _YEAR_MS, 0)

_LOOK_S, _LOOKS = 0.1, 100


def _backlog(gateway: Gateway) -> int:
    """What the gateway has and the cloud has not acknowledged; -1 while it does not run."""
    return -1 if gateway.core is None else gateway.core.journal.head - gateway.core.journal.acked


class Storm:
    """The faults of one schedule."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._chance, self._plan, self._reference = site.chance, site.plan, site.reference
        self._network, self._cloud, self._gateways = site.network, site.cloud, site.gateways
        self._faulty = False
        self._poisoned: set[int] = set()

    def begin(self) -> None:
        """Bad weather from now on."""
        plan, weather = self._plan, self._network.weather
        weather.loss, weather.repeat, weather.stray = plan.loss, plan.repeat, plan.stray
        weather.spoil, weather.puback_lost, weather.delay_s = plan.spoil, plan.puback_lost, plan.delay_s
        self._faulty = True
        self._site.on_disk, self._site.on_database = self._moment, self._database_moment
        for gateway in self._gateways:
            gateway.disk.fault = self._disk_fault

    def end(self) -> None:
        """The faults stop, all of them."""
        self._faulty = False
        self._network.note("world", "the faults stop")
        self._network.weather.calm()
        for gateway in self._gateways:
            gateway.disk.room.spare_bytes = self._plan.room_bytes
            # A clock that knows it is wrong may stay wrong; one that claims to be right is set right.
            if gateway.clock.trust is ClockQuality.SYNCED:
                gateway.clock.off_ms = 0
        if not self._cloud.up:
            self._cloud.start()

    def _moment(self, gateway: Gateway) -> None:
        """Work on the disk is done, nobody knows it yet: as good a moment to die as any."""
        if self._faulty and self._chance.random() < self._plan.kills:
            asyncio.get_running_loop().call_soon(self._kill, gateway)

    def _database_moment(self) -> None:
        """The database is at work: it may lose its connections now, and with them the end of a commit."""
        if self._faulty and self._chance.random() < self._plan.database_kills:
            self._site.count("deaths of the database")
            asyncio.get_running_loop().call_soon(self._cloud.model.kill)

    def _kill(self, gateway: Gateway) -> None:
        if gateway.machine is not None:
            self._site.count("deaths of gateways")
            gateway.crash(power=self._chance.random() < 0.6)

    def _disk_fault(self, what: str) -> apsw.Error | None:
        if not self._faulty or self._chance.random() >= self._plan.disk_faults:
            return None
        self._site.count("disk faults")
        if what == "write" and self._chance.random() < 0.5:
            return apsw.FullError("no room")
        return apsw.IOError("the disk refuses")

    async def fall(self) -> None:
        """One fault after the other, at any moment, until cancelled."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / _PAUSE_S))
            gateway = self._chance.choice(self._gateways)
            if self._chance.random() < 0.5:
                await self._strike(gateway, self._chance.choice(_STRIKES))
            else:
                self._disturb(gateway.name, self._chance.choice(_DISTURBANCES))

    async def _strike(self, gateway: Gateway, kind: str) -> None:
        """Something happens to a gateway."""
        if kind == "kill" and self._plan.kills:
            self._kill(gateway)
        elif kind == "restart":
            await gateway.stop()
        elif kind == "clock" and self._plan.clock_jumps:
            self._jump(gateway)
        elif kind == "poison":
            await self._poison(gateway)
        elif kind == "noise" and self._plan.noise:
            self._site.count("records of devices")
            await gateway.append(*[ScaleZeroed("B123")] * self._plan.noise)
        elif kind == "room" and self._plan.goes_back != "cloud":  # what is synced goes early then
            self._site.count("rooms made tight")
            choices = WIDE_BYTES, self._plan.room_bytes, LOW_BYTES
            gateway.disk.room.spare_bytes = self._chance.choice(choices)

    def _disturb(self, gateway: str, kind: str) -> None:
        """Something happens between gateways and cloud, or to the cloud."""
        weather = self._network.weather
        if kind == "cut":
            self._site.count("partitions")
            self._network.cut(gateway)
            self._after(weather.cut.discard, gateway)
        elif kind == "https":
            weather.cut_https.add(gateway)
            self._after(weather.cut_https.discard, gateway)
        elif kind == "broker" and weather.broker_up:
            self._site.count("deaths of the broker")
            self._network.broker_dies()
            self._after(self._broker_rises)
        elif kind == "cloud" and self._cloud.up:
            self._site.count("deaths of the cloud")
            self._cloud.crash()
            self._after(self._cloud_rises)
        elif kind == "database":
            self._site.count("deaths of the database")
            self._cloud.model.kill()
        elif kind == "replay":
            self._site.count("replays")
            self._network.replay(gateway)
        elif kind == "forgery":
            self._site.count("forgeries")
            self._network.forged(gateway, forged_frame(gateway, self._chance.randrange(1_000)))
            weather.forged.add(gateway)
            self._after(weather.forged.discard, gateway)

    def _after(self, then: Any, *arguments: object) -> None:
        asyncio.get_running_loop().call_later(self._chance.expovariate(1 / 5.0), then, *arguments)

    def _broker_rises(self) -> None:
        self._network.weather.broker_up = True

    def _cloud_rises(self) -> None:
        if not self._cloud.up:
            self._cloud.start()

    def _jump(self, gateway: Gateway) -> None:
        self._site.count("clock jumps")
        clock = gateway.clock
        clock.off_ms = self._chance.choice(_JUMPS_MS)
        clock.trust = self._chance.choice(_QUALITIES)
        self._network.note(gateway.name, f"clock off by {clock.off_ms} ms, {clock.trust.name}")

    async def _poison(self, gateway: Gateway) -> None:
        mass_g = next(mass_g for mass_g in range(1, 100_000, 5) if mass_g not in self._poisoned)
        self._poisoned.add(mass_g)
        load = (gateway.name, mass_g)
        self._reference.perhaps_poison.add(load)
        if await gateway.append(poison(mass_g)):
            self._site.count("poison records")
            self._reference.poison.add(load)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for a moment that is worth something, but not for ever."""
        for _ in range(_LOOKS):
            if holds():
                return
            await asyncio.sleep(_LOOK_S)

    async def outage(self) -> None:
        """Nothing passes for a long time, if that is planned."""
        if self._plan.outage_s:
            await asyncio.sleep(self._chance.uniform(0, 10))
            self._site.count("long outages")
            self._network.note("world", "nothing passes")
            self._network.weather.outage = True
            await asyncio.sleep(self._plan.outage_s)
            self._network.weather.outage = False

    async def go_back(self) -> None:
        """Keep a copy of the cloud or of a gateway's card, and go back to it some time later."""
        gateway = self._gateways[0]
        await asyncio.sleep(self._chance.uniform(0, 15))
        if self._plan.goes_back == "cloud":
            backup = self._cloud.model.snapshot()
            await asyncio.sleep(self._chance.uniform(0, 20))
            self._site.count("clouds restored")
            self._network.note("cloud", "is restored from a backup")
            self._site.note_cursors()
            self._cloud.model.restore(backup)
        elif self._plan.goes_back == "card":
            await self._until(lambda: _backlog(gateway) > 0)
            gateway.copy_card()
            await self._until(lambda: _backlog(gateway) == 0)
            await asyncio.sleep(self._chance.uniform(0, 5))
            self._site.count("cards put back")
            self._network.note(gateway.name, "goes on from an older card")
            gateway.put_back_card()
            known = {credit.load for credit in self._site.credits()} | set(self._site.held())
            self._reference.put_back(gateway.name, known, self._site.handed_over())
            for _ in range(self._chance.choice((0, 10))):
                await asyncio.sleep(self._chance.random())
                self._network.replay(gateway.name)
