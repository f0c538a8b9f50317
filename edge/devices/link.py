"""Keeps one device's port open for ever: opens, talks, notices the loss, waits, opens again.

A device that is missing at start is a state, not an error. Owns no bytes and no meaning.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from edge.clock import Clock
from edge.devices.events import Attached, Detached, DeviceEvent
from edge.devices.port import FRAMINGS, PortError, PortLostError, SerialPort
from edge.errors import ConfigError, DeviceError

RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 1.0
"""Bound of the pause between attempts: plugged in again, a device is back well within 3 s."""
STEADY_S: Final = 5.0
"""A conversation that lasted this long makes the next pause short again; a port that flaps stays slow."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where and how a device is connected. `device` is the name it has in events and records.

    Raises ConfigError `config.framing` for a framing there is not.
    """

    device: str
    port: str
    baud: int
    framing: str = "8N1"

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            known = ", ".join(FRAMINGS)
            raise ConfigError(f"no framing {self.framing!r}; there are {known}", code="config.framing")


class SilentError(PortLostError):
    """The port is open but nothing came for so long that it is opened anew: some adapters need that."""

    code = "device.silent"


class InternalError(DeviceError):
    """Our own driver failed; the device is tried again and the agent goes on."""

    code = "device.internal"


class Link:
    """The supervised connection to one device. `on_event` is called in the event loop and must not block."""

    def __init__(self, line: Line, clock: Clock, on_event: Callable[[DeviceEvent], None]) -> None:
        self._line = line
        self._clock = clock
        self._on_event = on_event
        self._pause_s = RETRY_FIRST_S
        self.trouble: DeviceError | None = None
        """Why the device is not connected; None while it is, and before the first attempt."""
        self.opened = 0
        """How often the port was opened."""

    async def run(
        self, talk: Callable[[SerialPort], Awaitable[None]], on_trouble: Callable[[], None]
    ) -> None:
        """Run `talk` on every port we get, for ever; `on_trouble` is told when `trouble` was set."""
        while True:
            began_s = self._clock.monotonic()
            self.trouble = await self._once(talk)
            on_trouble()
            if self._clock.monotonic() - began_s >= STEADY_S:
                self._pause_s = RETRY_FIRST_S
            await self._clock.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)

    async def _once(self, talk: Callable[[SerialPort], Awaitable[None]]) -> DeviceError:
        try:
            port = await SerialPort.open(self._line.port, baud=self._line.baud, framing=self._line.framing)
        except PortError as error:
            return error
        trouble = await self._attached(port, talk)
        self._on_event(Detached(self._line.device, self._line.port, trouble.code, str(trouble)))
        return trouble

    async def _attached(self, port: SerialPort, talk: Callable[[SerialPort], Awaitable[None]]) -> DeviceError:
        self.opened += 1
        self.trouble = None
        self._on_event(Attached(self._line.device, self._line.port))
        try:
            await talk(port)
        except PortLostError as error:
            return error
        except Exception as error:  # noqa: BLE001 - supervisor: one driver's bug must not stop the gateway
            return InternalError(f"driver of {self._line.device} failed: {error!r}; it is started again")
        finally:
            port.close()
        return InternalError(f"driver of {self._line.device} ended; it is started again")
