"""The composition root of a running gateway: builds every part once and runs them until told to stop.

Owns the order of starting and stopping, and that a part that ends takes the whole agent with it: systemd
starts a whole one again. Owns no rule of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from edge.control import Control
from edge.devices.readings import ScaleView
from edge.devices.scales.dialects import Setup
from edge.devices.scales.driver import ScaleDriver
from edge.devices.scanners.driver import ScannerDriver
from edge.errors import EdgeError, JournalError
from edge.health.metrics import serve_metrics
from edge.health.notify import Notifier
from edge.health.report import Report
from edge.housekeeping import Housekeeping
from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from edge.kiosk.words import Language
from edge.station.ports import Surroundings
from edge.station.station import Station
from edge.supervision import end_all
from edge.sync.courier import export_courier, import_courier
from edge.sync.https import HttpsRoad
from edge.sync.mqtt import MqttRoad, mqtt_settings
from edge.sync.roads import RoadName
from edge.sync.sync import Lane, Sync
from edge.sync.trust import Trust
from edge.timekeeping import Timekeeper
from edge.version import VERSION
from protocol.bodies import GatewayStarted, GatewayStopped
from protocol.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from edge.control import Request
    from edge.core import Core
    from edge.devices.events import DeviceEvent
    from edge.sync.roads import Road
    from protocol.bodies import Body

_LOGGER = logging.getLogger("reloop.agent")
_HEARTBEAT_S = 5.0
_NO_SCALE = ScaleView("absent", None, None, False, float("inf"), "flag", "no [scale] is configured")


_REPORT_S = 5.0


class PartEnded(EdgeError):  # noqa: N818 - names what happened
    """A part of the agent came to an end although nobody asked it to."""

    code = "agent.part_ended"


class Agent:
    """A claimed gateway, running. `run` returns once `stop` is set; whatever else ends it is raised."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._settings = core.settings
        self._clock = core.clock
        self._scale = self._scale_driver()
        self._scanners = [
            ScannerDriver(one, self._clock, self._device_event, framing=one.framing)
            for one in self._settings.scanners
        ]
        self._sync = make_sync(core)
        self._station = self._make_station()
        app = create_kiosk(self._station, language=Language(self._settings.gateway.language))
        self._kiosk = KioskServer(app, self._settings.kiosk.host, self._settings.kiosk.port)
        self._notifier = Notifier()
        self._housekeeping = Housekeeping(core.journal, core.traffic.alarm, core.clock)
        self._control = Control(self._settings.data_dir, self._commands())

    async def run(self, stop: asyncio.Event) -> None:
        """Run every part until `stop`, then stop in order; the journal says both."""
        journal = self._core.journal
        birth = journal.journal.birth
        self._housekeeping.tell_damage()
        await self._note(GatewayStarted(VERSION, _boot_id(), f"{birth.reason} {birth.detail}".strip()[:500]))
        metrics_port, stop_metrics = serve_metrics(self._settings.health, _asked_in_loop(self.report))
        _LOGGER.info("kiosk at %s, metrics on port %d", self._kiosk.url, metrics_port)
        self._notifier.ready(self.report().line())
        try:
            await self._supervise(stop)
            await self._station.settle()
            await self._note(GatewayStopped("asked to"))
        finally:
            await asyncio.to_thread(stop_metrics)

    async def _note(self, body: Body) -> None:
        """Journal a start or stop. A full disk keeps nobody from coming up: the screen has to say it."""
        try:
            await self._core.journal.append(body)
        except JournalError as error:
            self._core.traffic.alarm(error.code)
            _LOGGER.warning("%s", error)

    async def _supervise(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait(), name="stop")
        tasks = {asyncio.create_task(work, name=name) for name, work in self._work().items()}
        try:
            done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._notifier.stopping()
            self._kiosk.stop()
            kiosk = {task for task in tasks if task.get_name() == "kiosk"}
            await end_all({*tasks, stopping} - kiosk)
            await asyncio.wait(kiosk)
        for task in done - {stopping}:
            _LOGGER.error("%s ended by itself", task.get_name())
            task.result()
            raise PartEnded(f"{task.get_name()} ended by itself; the agent starts again as a whole")

    def _work(self) -> dict[str, Coroutine[object, object, None]]:
        work = {
            "kiosk": self._kiosk.run(),
            "station": self._station.run(),
            "sync": self._sync.run(),
            "control": self._control.run(),
            "heartbeat": self._heartbeat(),
            "housekeeping": self._housekeeping.run(),
            "timekeeping": Timekeeper(
                self._clock, self._core.journal, self._core.directory.earliest_ms
            ).run(),
        }
        if self._scale is not None:
            work["scale"] = self._scale.run()
        return work | {f"scanner {number}": one.run() for number, one in enumerate(self._scanners)}

    async def _heartbeat(self) -> None:
        """Tell systemd we live; a loop that hangs stops telling, and is restarted."""
        while True:
            self._notifier.alive(self.report().line())
            await self._clock.sleep(min(_HEARTBEAT_S, self._notifier.watchdog_s or _HEARTBEAT_S))

    def _scale_driver(self) -> ScaleDriver | None:
        if self._settings.scale is None:
            return None
        scale = self._settings.scale
        setup = Setup(unit=scale.unit, checksum=scale.checksum)
        return ScaleDriver(scale, self._clock, self._device_event, setup=setup, framing=scale.framing)

    def _scale_view(self) -> ScaleView:
        return _NO_SCALE if self._scale is None else self._scale.view(self._clock.monotonic())

    def _device_event(self, event: DeviceEvent) -> None:
        self._station.take(event)

    def _scanner_health(self, now_s: float) -> dict[str, str]:
        pairs = zip(self._settings.scanners, self._scanners, strict=True)
        return {settings.port: driver.view(now_s).health for settings, driver in pairs}

    def _make_station(self) -> Station:
        return Station(
            journal=self._core.journal,
            directory=self._core.directory,
            scale=self._scale_view,
            clock=self._clock,
            random=secrets.token_bytes,
            settings=self._settings.station,
            scale_settings=self._settings.scale,
            intake=self._core.intake_problem,
            surroundings=self._surroundings,
        )

    def _surroundings(self) -> Surroundings:
        now_s = self._clock.monotonic()
        absent = any(scanner.view(now_s).health != "ok" for scanner in self._scanners)
        return Surroundings(
            claimed=True,
            offline=self._sync.road is None,
            never_online=self._core.journal.acked == 0 and self._sync.road is None,
            scanner_absent=absent or not self._scanners,
            autonomy_h=self._core.journal.autonomy_h(),
        )

    def _commands(self) -> dict[str, Callable[[Request], Awaitable[object]]]:
        return {"status": self._status, "courier.export": self._export, "courier.import": self._import}

    async def _status(self, _request: Request) -> object:
        return self.report()

    async def _export(self, request: Request) -> object:
        return await export_courier(self._core.wiring, Path(request.path), lambda _done, _total: None)

    async def _import(self, request: Request) -> object:
        return await import_courier(self._core.wiring, Path(request.path))

    def report(self) -> Report:
        """One look at everything."""
        journal, traffic, now_s = self._core.journal, self._core.traffic, self._clock.monotonic()
        return Report(
            gateway=journal.gateway,
            software=VERSION,
            epoch=journal.epoch,
            head=journal.head,
            acked=journal.acked,
            backlog=journal.head - journal.acked,
            first_kept=journal.first_kept,
            road=self._sync.road,
            problem=self._sync.problem,
            certificate=self._core.credentials.word() if self._core.credentials else "",
            breakers={lane.road.name: lane.breaker.state for lane in self._sync.lanes},
            alarms=dict(traffic.alarms),
            frames=traffic.frames,
            bytes_up=traffic.bytes_up,
            timeouts=traffic.timeouts,
            clock_quality=self._clock.quality(),
            disk_free_bytes=journal.disk_free_bytes(),
            autonomy_h=journal.autonomy_h(),
            intake=self._core.intake_problem() or "open",
            screen=self._station.screen.name,
            scale=self._scale_view().health,
            scanners=self._scanner_health(now_s),
            documents={name: digest.hex() for name, digest in self._core.directory.digests().items()},
            kiosk_url=self._kiosk.url,
        )


def make_sync(core: Core) -> Sync:
    """The sync of a claimed gateway: a breaker for each road, better roads first."""
    lanes = [Lane(road, Breaker(road.name, core.clock.monotonic)) for road in _roads(core)]
    for lane in lanes:
        if isinstance(lane.road, MqttRoad):
            lane.waits_for = lane.road.waits_for
    return Sync(core.wiring, lanes, random.SystemRandom().uniform, core.settings.cloud.spread_s)


def _roads(core: Core) -> list[Road]:
    identity, cloud = core.member.identity, core.settings.cloud
    roads: list[Road] = []
    mqtt = mqtt_settings(cloud, identity, core.credentials)
    if mqtt is not None:
        roads.append(MqttRoad(mqtt))
    url = cloud.https_url or identity.https_url
    if RoadName.HTTPS in cloud.roads and url:
        trust = Trust(cloud.ca_file, core.clock, core.directory.earliest_ms)
        roads.append(HttpsRoad(url, identity.gateway, tls=trust))
    return roads


def _asked_in_loop(report: Callable[[], Report]) -> Callable[[], Report]:
    """For other threads: breakers, journal and directory are looked at in the loop that changes them."""
    loop = asyncio.get_running_loop()

    async def look() -> Report:
        return report()

    return lambda: asyncio.run_coroutine_threadsafe(look(), loop).result(_REPORT_S)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
