"""When an A9 in command mode is asked what. Pure: the port belongs to the scale driver.

Only the gross weight is asked for, one request at a time; a request without its answer is given up at the
deadline and asked again. Continuous indicators need none of this.
"""

from typing import Final

from edge.devices.readings import FrameFault, Reading
from edge.devices.scales.conversation import Identity
from edge.devices.scales.yaohua import frames

ANSWER_DEADLINE_S: Final = 0.6
"""A reply of 14 bytes takes 0.24 s at 600 baud, the slowest setting."""


class Asking:
    """The conversation with an A9 in command mode at `address` (A-Z)."""

    def __init__(self, address: str, unit: str, period_s: float) -> None:
        self._request = frames.a9_request(address, "B")
        self._period_s = period_s
        self._parser = frames.A9ReplyParser(unit)
        self._asked_s: float | None = None
        self._next_s: float | None = None

    @property
    def identity(self) -> Identity:
        """An A9 says nothing about itself."""
        return Identity()

    def due(self, now: float) -> bytes:
        """The next request, when the last one is answered or given up and the period is over."""
        if self._asked_s is not None and now - self._asked_s < ANSWER_DEADLINE_S:
            return b""
        self._asked_s = None
        if self._next_s is not None and now < self._next_s:
            return b""
        self._asked_s = now
        self._next_s = now + self._period_s
        return self._request

    def wait_s(self, now: float) -> float | None:
        """Seconds until the period or the deadline is over."""
        if self._asked_s is not None:
            return max(0.0, self._asked_s + ANSWER_DEADLINE_S - now)
        return max(0.0, (self._next_s or now) - now)

    def feed(self, data: bytes, now: float) -> list[Reading | FrameFault]:  # noqa: ARG002 - part of Conversation
        """Readings and faults; a reading ends the wait for an answer."""
        items = self._parser.feed(data)
        if any(isinstance(item, Reading) for item in items):
            self._asked_s = None
        return items
