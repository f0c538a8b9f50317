"""A rate limit in process memory: GCRA, one timestamp per key, a bounded number of keys.

Each process counts for itself: it slows guessing down by orders of magnitude, it is no exact quota.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from cloud.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS_MAX = 20_000


@dataclass(slots=True)
class RateLimit:
    """At most `burst` calls at once and `burst` per `period_s` in the long run, per key.

    `monotonic` gives seconds. When KEYS_MAX keys are held the one touched longest ago is forgotten.
    """

    name: str
    burst: int
    period_s: float
    monotonic: Callable[[], float]
    _full_at: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def take(self, key: str) -> dict[str, str]:
        """Count one call; return the RateLimit headers. Raises RateLimitedError when there were too many."""
        now, step = self.monotonic(), self.period_s / self.burst
        until = max(self._full_at.get(key, now), now) + step
        ahead = until - now
        if ahead > self.period_s:
            raise self._refused(ceil(ahead - self.period_s), self._headers(0, ahead))
        self._full_at[key] = until
        self._full_at.move_to_end(key)
        while len(self._full_at) > KEYS_MAX:
            self._full_at.popitem(last=False)
        return self._headers(int((self.period_s - ahead) / step), ahead)

    def _headers(self, remaining: int, ahead_s: float) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.burst};w={int(self.period_s)}',
            "RateLimit": f'"{self.name}";r={remaining};t={ceil(ahead_s)}',
        }

    def _refused(self, wait_s: int, headers: dict[str, str]) -> RateLimitedError:
        error = RateLimitedError(f"too many tries; wait {wait_s} s")
        error.headers = {**headers, "Retry-After": str(wait_s)}
        return error
