"""A simulated scanner and tag reader on one serial port.

Owns the queue of codes and the tag in the field; bytes come from `scanner_frames`, the port is the wire's.
"""

import asyncio
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

from firmware_sim.control import Json, text, whole_number
from firmware_sim.device import SimulatedDevice
from firmware_sim.errors import CommandError
from firmware_sim.faults import SCANNER_FAULTS, Fault, fault_named
from firmware_sim.scanner_frames import Symbology, Terminator, scan_frame, tag_frame
from firmware_sim.wire import BITS_PER_BYTE, Wire, WireFault

# An RDM6300 repeats its frame about this often while a tag is in its field.
TAG_PERIOD_S = 0.05
TAG_HOLD_S = 0.5
MAX_TAG_HOLD_S = 60.0
# A scanner needs this long between two codes; without a terminator it is what separates them.
PAUSE_S = 0.2
MAX_WAITING_CODES = 16


class SimulatedScanner(SimulatedDevice):
    """A scanner at `link`. Async context manager; `scan` and `tag` return at once.

    `aim` puts an AIM identifier before every code (`]Q0` for QR, `]C0` for Code 128).
    """

    def __init__(
        self,
        *,
        terminator: str = "cr",
        aim: bool = False,
        link: Path | None = None,
        control: Path | None = None,
        seed: int = 1,
        baud: int = 9600,
    ) -> None:
        if terminator not in set(Terminator):
            raise CommandError(f"no terminator {terminator!r}; choose one of: {', '.join(Terminator)}")
        super().__init__("scanner", link, control)
        self.terminator = Terminator(terminator)
        self._aim = aim
        self.wire = Wire(self.link, baud, seed)
        self._codes: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._tag_frame = b""
        self._tag_until_s = 0.0
        self._powered = True

    def scan(self, code: str, symbology: Symbology = Symbology.QR) -> None:
        """Hold a code before the scanner. CommandError if it cannot be sent or 16 wait already."""
        if len(self._codes) >= MAX_WAITING_CODES:
            raise CommandError(f"{MAX_WAITING_CODES} codes are waiting already; scan more slowly")
        self._codes.append(scan_frame(code, self.terminator, symbology if self._aim else None))
        self._wake.set()

    def tag(self, tag: str, hold_s: float = TAG_HOLD_S) -> None:
        """Hold an RFID tag in the field for a while; its frame repeats every 50 ms."""
        if not 0 < hold_s <= MAX_TAG_HOLD_S:
            raise CommandError(f"a tag is held for up to {MAX_TAG_HOLD_S:.0f} s, not {hold_s}")
        self._tag_frame = tag_frame(tag)
        self._tag_until_s = time.monotonic() + hold_s
        self._wake.set()

    def fault(self, name: str, on: bool = True) -> None:
        """Switch a fault on or off by name; CommandError if a scanner cannot have it."""
        fault = fault_named(name, SCANNER_FAULTS)
        if fault is Fault.UNPLUG and on:
            self.wire.unplug()
        elif fault in (Fault.UNPLUG, Fault.REPLUG):
            self.wire.unplug()
            self.wire.plug()
        elif fault is Fault.POWER_CUT:
            self._powered = not on
        elif on:
            self.wire.faults.add(WireFault(fault.value))
        else:
            self.wire.faults.discard(WireFault(fault.value))

    async def _run(self) -> None:
        while True:
            if self._codes:
                frame = self._codes.popleft()
                self._emit(frame)
                await asyncio.sleep(PAUSE_S + len(frame) * BITS_PER_BYTE / self.wire.baud)
            elif time.monotonic() < self._tag_until_s:
                self._emit(self._tag_frame)
                await asyncio.sleep(TAG_PERIOD_S)
            else:
                self._wake.clear()
                await self._wake.wait()

    def _emit(self, frame: bytes) -> None:
        if self._powered:
            self.wire.send(frame)

    async def _command(self, command: Json) -> dict[str, object]:
        match text(command, "cmd"):
            case "scan":
                self.scan(text(command, "text"))
            case "tag":
                hold_ms = whole_number(command, "hold_ms", 1, 60_000) if "hold_ms" in command else 500
                self.tag(text(command, "id"), hold_ms / 1000)
            case "fault":
                on = command.get("on", True)
                if not isinstance(on, bool):
                    raise CommandError(f'"on" must be true or false, not {on!r}')
                self.fault(text(command, "name"), on)
            case "state":
                return {"plugged": self.wire.plugged, "counters": asdict(self.wire.counters)}
            case other:
                raise CommandError(f"no command {other!r}; choose one of: scan, tag, fault, state")
        return {}
