"""Talks to one scale for ever and tells what is on it. Owns the port; knows no dialect's bytes.

Every state is visible in `view`: the port is absent, the scale says nothing (stale), what it says makes no
sense or is an error (fault), or all is well (ok). Nothing here ever turns one of those into a mass.
"""

from collections.abc import Callable
from typing import Final

from edge.clock import Clock
from edge.config import ScaleSettings
from edge.devices.events import DeviceEvent, Health, HealthChanged, Identified
from edge.devices.link import InternalError, Line, Link, SilentError
from edge.devices.port import SerialPort
from edge.devices.readings import FrameFault, Reading, ReadingTally, ScaleView
from edge.devices.scales.conversation import Conversation, Identity
from edge.devices.scales.dialects import Setup, dialect
from edge.devices.stability import STALE_AFTER_S, ScaleTracker

REOPEN_AFTER_S: Final = 10.0
"""Silence after which the port is opened anew."""
TICK_S: Final = 0.25
"""Longest wait before health is looked at again."""
GATHER_S: Final = 0.04
"""Pause after bytes, so that a line that dribbles wakes the gateway 25 times a second and not 1,000 times."""

_ABSENT: Final = "device.port.absent"


class ScaleDriver:
    """The driver of one scale. `on_event` is called in the event loop and must not block.

    `setup` holds what the bytes do not tell, `framing` overrides the dialect's usual line settings.
    Raises ConfigError for an unknown dialect.
    """

    def __init__(
        self,
        settings: ScaleSettings,
        clock: Clock,
        on_event: Callable[[DeviceEvent], None],
        *,
        setup: Setup | None = None,
        framing: str | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_event = on_event
        self._dialect = dialect(settings.dialect)
        self._setup = setup or Setup()
        self._device = settings.serial or "scale"
        self._link = Link(
            Line(self._device, settings.port, settings.baud, framing or self._dialect.framing),
            clock,
            on_event,
        )
        self._tracker: ScaleTracker | None = None
        self._health: Health = "absent"
        self._identity = Identity(settings.serial)
        self.tally = ReadingTally()

    @property
    def identity(self) -> Identity:
        """The scale's serial number and model: what it told, else the configured serial number."""
        return self._identity

    @property
    def opened(self) -> int:
        """How often the port was opened since start."""
        return self._link.opened

    async def run(self) -> None:
        """Talk to the scale until cancelled, whatever becomes of it."""
        await self._link.run(self._talk, self._lost)

    def view(self, now: float) -> ScaleView:
        """The scale at `now`, the clock's monotonic seconds."""
        if self._tracker is not None:
            return self._tracker.view(now)
        trouble = self._link.trouble
        health, detail = _trouble_health(trouble), str(trouble or "not connected yet")
        return ScaleView(health, None, None, False, float("inf"), "flag", detail)

    def _lost(self) -> None:
        self._tracker = None
        self._tell_health()

    async def _talk(self, port: SerialPort) -> None:
        conversation = self._dialect.converse(self._setup)
        tracker = ScaleTracker(self._settings.division_g, self._clock.monotonic())
        self._tracker = tracker
        while True:
            now = self._clock.monotonic()
            if request := conversation.due(now):
                port.write(request)
            data = await port.read(_wait_s(conversation, tracker, now))
            if data:
                self._hear(data, conversation, tracker)
                await self._clock.sleep(GATHER_S)
            self._tell_health()
            self._reopen_if_silent(tracker)

    def _hear(self, data: bytes, conversation: Conversation, tracker: ScaleTracker) -> None:
        now = self._clock.monotonic()
        for item in conversation.feed(data, now):
            self._take(item, tracker, now)
        if conversation.identity not in (Identity(), self._identity):
            self._identify(conversation.identity)

    def _take(self, item: Reading | FrameFault, tracker: ScaleTracker, now: float) -> None:
        self.tally.count(item)
        if isinstance(item, Reading):
            tracker.take(item, now)
        else:
            tracker.take_fault(now)

    def _identify(self, told: Identity) -> None:
        identity = Identity(told.serial or self._settings.serial, told.model)
        if identity != self._identity:
            self._identity = identity
            self._on_event(Identified(self._device, identity.serial, identity.model))

    def _tell_health(self) -> None:
        view = self.view(self._clock.monotonic())
        if view.health != self._health:
            before, self._health = self._health, view.health
            self._on_event(HealthChanged(self._device, before, view.health, view.detail))

    def _reopen_if_silent(self, tracker: ScaleTracker) -> None:
        if self._clock.monotonic() - tracker.heard_s > REOPEN_AFTER_S:
            raise SilentError(f"{self._settings.port} said nothing for {REOPEN_AFTER_S:.0f} s")


def _wait_s(conversation: Conversation, tracker: ScaleTracker, now: float) -> float:
    waits = [TICK_S]
    if (asked_s := conversation.wait_s(now)) is not None:
        waits.append(asked_s)
    if (stale_s := tracker.last_s + STALE_AFTER_S - now) > 0:
        waits.append(stale_s)
    return max(min(waits), 0.001)


def _trouble_health(trouble: Exception | None) -> Health:
    match trouble:
        case None:
            return "absent"
        case SilentError():
            return "stale"
        case InternalError():
            return "fault"
        case _:
            code = getattr(trouble, "code", _ABSENT)
            return "absent" if code in (_ABSENT, "device.port.lost") else "fault"
