"""What every wire format offers: a pure adapter from indications and received bytes to frames and keys.

No I/O and no clock; the simulated scale calls `tick` on a fixed beat and `receive` when bytes arrive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from firmware_sim.indication import Indication
from firmware_sim.physics import Key, PresetTare

# Indicators send about ten frames a second; at low baud rates the line sets the pace.
CONTINUOUS_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """What the indicator does next: frames to put on the line, keys it presses on itself."""

    frames: tuple[bytes, ...] = ()
    presses: tuple[Key | PresetTare, ...] = ()


NOTHING = Turn()


class Adapter(Protocol):
    """One conversation in one dialect; holds only what the wire format itself remembers."""

    def tick(self, shown: Indication, now_s: float) -> Turn:
        """Time passed: frames that are due by now."""
        ...

    def receive(self, data: bytes, shown: Indication, now_s: float) -> Turn:
        """Bytes arrived from the client."""
        ...


class Continuous:
    """An indicator that talks by itself and never listens.

    `encode` gives b"" when the real one would fall silent.
    """

    def __init__(self, encode: Callable[[Indication], bytes], baud: int) -> None:
        self._encode = encode
        self._baud = baud
        self._next_s: float | None = None

    def tick(self, shown: Indication, now_s: float) -> Turn:
        """A frame every 100 ms, or as often as the line can carry one."""
        if self._next_s is not None and now_s < self._next_s:
            return NOTHING
        frame = self._encode(shown)
        period_s = max(CONTINUOUS_PERIOD_S, len(frame) * 10 / self._baud)
        late = self._next_s is None or now_s - self._next_s > period_s
        self._next_s = now_s + period_s if late or self._next_s is None else self._next_s + period_s
        return Turn((frame,)) if frame else NOTHING

    def receive(self, data: bytes, shown: Indication, now_s: float) -> Turn:  # noqa: ARG002 - deaf by design
        """Such an indicator has no receiver."""
        return NOTHING
