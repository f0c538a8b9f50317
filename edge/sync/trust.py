"""Whom TLS believes: our own authority's file or the system's, and dates only while the clock can tell them.

A gateway whose battery-less clock says 1970 must still reach its cloud, not least to learn the time. So
chain and name are always checked, dates only while the clock is synchronised and not refuted by what the
cloud has signed; what travels is signed anyway.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from edge.errors import ConfigError
from protocol.records import ClockQuality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.clock import Clock

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""
_BEHIND_MS = 60_000
"""A synchronised clock (within 16 s) and the cloud's own differ by less: who is further behind is wrong."""


class Trust:
    """Gives the TLS context for a connection that begins now. Raises ConfigError if `ca_file` is unusable.

    `earliest_ms`: how late it is at least, by what the cloud signed (UTC milliseconds); None: it never did.
    """

    def __init__(self, ca_file: Path | None, clock: Clock, earliest_ms: Callable[[], int | None]) -> None:
        self._clock = clock
        self._earliest_ms = earliest_ms
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(f"`ca_file` {ca_file} cannot be used: {error}", code="config.value") from error

    def context(self) -> ssl.SSLContext:
        """One context, whose connections from now on look at dates or do not."""
        mind_dates(self._context, self._clock, self._earliest_ms())
        return self._context


def mind_dates(context: ssl.SSLContext, clock: Clock, earliest_ms: int | None) -> None:
    """Have connections from now on look at dates if the clock can tell them, else not."""
    flags = int(context.verify_flags) & ~NO_CHECK_TIME
    if not _can_tell(clock, earliest_ms):
        flags |= NO_CHECK_TIME
    context.verify_flags = ssl.VerifyFlags(flags)


def _can_tell(clock: Clock, earliest_ms: int | None) -> bool:
    """Time servers err, too: a clock that is behind what the cloud signed is wrong, synchronised or not.

    One that is ahead cannot be told from one that is right.
    """
    if clock.quality() is not ClockQuality.SYNCED:
        return False
    return earliest_ms is None or clock.wall_ms() >= earliest_ms - _BEHIND_MS
