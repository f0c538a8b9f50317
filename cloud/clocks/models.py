"""What is known of gateways' clocks, and what follows from it. Values only.

An offset is UTC in milliseconds minus the monotonic milliseconds since boot of the same instant: the clock
of a boot is right where its offset is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HOUR_MS = 3_600_000


class How(IntEnum):
    """Where the time of a record comes from."""

    RECEIVED = 0
    """It is only known not to be later than its arrival."""
    SYNCED = 1
    """The gateway's clock was synchronised, and nothing contradicts it."""
    ANCHORED = 2
    """Counted on the monotonic clock from when the same boot's clock was synchronised."""
    BOUNDED = 3
    """Between what surely came before and what surely came after: the middle of it."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of a boot's monotonic time showed, as delivered by one journal.

    `journal` is the epoch that delivered it, `epoch` the one it was written in (another if it was carried);
    `number` counts hours since boot. `first_ms` and `last_ms` are monotonic: instants that surely belong to
    it. The rest are offsets: `synced_low_ms` and `synced_high_ms` the least and greatest that a synchronised
    clock showed; `heard_ms` what the true one is not below, by the gateway's own word; `after_ms` and
    `before_ms` what it is not below and not above, by the cloud's own clock. None: nothing says so.
    """

    journal: int
    epoch: int
    boot: int
    number: int
    first_ms: int
    last_ms: int
    synced_low_ms: int | None
    synced_high_ms: int | None
    heard_ms: int | None
    after_ms: int | None
    before_ms: int | None

    @property
    def carried(self) -> bool:
        """Whether another epoch's file brought it here."""
        return self.epoch != self.journal


@dataclass(frozen=True, slots=True)
class Bounds:
    """The true offset of an hour lies in `low_ms` … `high_ms`, both ends included, most likely at `best_ms`.

    `trusted`: what its boot's clock said while synchronised fits everything else that is known.
    """

    low_ms: int
    high_ms: int
    best_ms: int
    how: How
    trusted: bool

    @property
    def error_ms(self) -> int:
        """How far the truth may be from `best_ms`."""
        return max(self.best_ms - self.low_ms, self.high_ms - self.best_ms)
