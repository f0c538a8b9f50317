"""Listens to one scanner for ever and passes on what was scanned. Owns the port; knows no code's meaning.

A scanner is silent most of the time, so silence is no fault: only a missing port or bytes that make no sense
can be seen from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from edge.clock import Clock
from edge.config import ScannerSettings
from edge.devices.events import DeviceEvent, Health, HealthChanged, Scan, ScanFault
from edge.devices.link import Line, Link
from edge.devices.port import SerialPort
from edge.devices.scanners.line.frames import LineReader
from edge.devices.scanners.rdm6300.frames import Rdm6300Reader
from edge.devices.scanners.reader import Reader

TICK_S: Final = 0.5
GATHER_S: Final = 0.02
"""Pause after bytes, so that a line that dribbles wakes the gateway 50 times a second and not 1,000 times."""
FAULT_PAUSE_S: Final = 1.0
"""The same fault is told at most this often; `faults` counts them all."""


@dataclass(frozen=True, slots=True)
class ScannerView:
    """The scanner now. `age_s` is the age of its last scan, infinite if there was none."""

    health: Literal["ok", "absent", "fault"]
    age_s: float
    detail: str = ""


class ScannerDriver:
    """The driver of one scanner. `on_event` is called in the event loop and must not block."""

    def __init__(
        self,
        settings: ScannerSettings,
        clock: Clock,
        on_event: Callable[[DeviceEvent], None],
        *,
        framing: str = "8N1",
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_event = on_event
        self._device = f"scanner {settings.port}"
        self._link = Link(Line(self._device, settings.port, settings.baud, framing), clock, on_event)
        self._connected = False
        self._health: Health = "absent"
        self._scanned_s: float | None = None
        self._told_s: dict[str, float] = {}
        self.scans = 0
        self.faults: dict[str, int] = {}

    async def run(self) -> None:
        """Listen until cancelled, whatever becomes of the scanner."""
        await self._link.run(self._talk, self._lost)

    def view(self, now: float) -> ScannerView:
        """The scanner at `now`, the clock's monotonic seconds."""
        age_s = float("inf") if self._scanned_s is None else now - self._scanned_s
        trouble = self._link.trouble
        if self._connected:
            return ScannerView("ok", age_s)
        if trouble is None:
            return ScannerView("absent", age_s, "not connected yet")
        absent = trouble.code in ("device.port.absent", "device.port.lost")
        return ScannerView("absent" if absent else "fault", age_s, str(trouble))

    def _lost(self) -> None:
        self._connected = False
        self._tell_health()

    async def _talk(self, port: SerialPort) -> None:
        reader = _reader(self._settings)
        self._connected = True
        self._tell_health()
        while True:
            data = await self._listen(port, reader)
            now = self._clock.monotonic()
            for item in reader.feed(data, now) if data else reader.idle(now):
                self._take(item, now)
            if data:
                await self._clock.sleep(GATHER_S)

    async def _listen(self, port: SerialPort, reader: Reader) -> bytes:
        """The next bytes, or none when the reader's time is over.

        Then a second look is taken: a gateway that was held up for 100 ms must not take it for a gap.
        """
        wait_s = reader.wait_s(self._clock.monotonic())
        if wait_s is None:
            return await port.read(TICK_S)
        return await port.read(min(wait_s, TICK_S)) or await port.read(GATHER_S)

    def _take(self, item: Scan | ScanFault, now: float) -> None:
        match item:
            case Scan():
                self.scans += 1
                self._scanned_s = now
                self._on_event(item)
            case ScanFault():
                self._take_fault(item, now)
            case _:
                assert_never(item)

    def _take_fault(self, fault: ScanFault, now: float) -> None:
        self.faults[fault.code] = self.faults.get(fault.code, 0) + 1
        told_s = self._told_s.get(fault.code)
        if told_s is None or now - told_s >= FAULT_PAUSE_S:
            self._told_s[fault.code] = now
            self._on_event(fault)

    def _tell_health(self) -> None:
        view = self.view(self._clock.monotonic())
        if view.health != self._health:
            before, self._health = self._health, view.health
            self._on_event(HealthChanged(self._device, before, view.health, view.detail))


def _reader(settings: ScannerSettings) -> Reader:
    match settings.kind:
        case "line":
            return LineReader(settings.terminator)
        case "rdm6300":
            return Rdm6300Reader()
        case _:
            assert_never(settings.kind)
