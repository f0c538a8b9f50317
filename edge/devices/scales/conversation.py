"""How a driver and a scale take turns, as a state machine without I/O: bytes and times in, bytes out."""

from dataclasses import dataclass
from typing import Protocol

from edge.devices.readings import FrameFault, Parser, Reading


@dataclass(frozen=True, slots=True)
class Identity:
    """What a scale told about itself; empty where it did not."""

    serial: str = ""
    model: str = ""


class Conversation(Protocol):
    """One attached scale, from opening the port to losing it. `now` is the clock's monotonic seconds."""

    def due(self, now: float) -> bytes:
        """What is to be sent now, often nothing. At most one request is under way."""
        ...

    def feed(self, data: bytes, now: float) -> list[Reading | FrameFault]:
        """What became complete with `data`."""
        ...

    def wait_s(self, now: float) -> float | None:
        """Seconds until `due` may have something to say; None if never without an answer."""
        ...

    @property
    def identity(self) -> Identity:
        """What is known so far."""
        ...


class Listening:
    """The conversation with a scale that talks by itself: nothing is ever sent."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    def due(self, now: float) -> bytes:  # noqa: ARG002 - part of Conversation
        """Nothing."""
        return b""

    def feed(self, data: bytes, now: float) -> list[Reading | FrameFault]:  # noqa: ARG002 - part of Conversation
        """What became complete with `data`."""
        return self._parser.feed(data)

    def wait_s(self, now: float) -> float | None:  # noqa: ARG002 - part of Conversation
        """Never."""
        return None

    @property
    def identity(self) -> Identity:
        """Continuous dialects say nothing about themselves."""
        return Identity()
