"""Everything that happened, in order: time, who, what, a digest of the bytes; all of it in one SHA-256.

Two runs of one seed are the same run if and only if their digests are equal.
"""

from __future__ import annotations

import hashlib
from collections import deque

TAIL_MAX = 4_000
"""Events kept as text, for whoever replays a violation."""


class Trace:
    """The trace of one schedule."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self.tail: deque[str] = deque(maxlen=TAIL_MAX)
        self.count = 0

    def add(self, at_s: float, who: str, what: str, data: bytes = b"") -> None:
        """One event."""
        digest = hashlib.sha256(data).hexdigest()[:12] if data else "-"
        line = f"{at_s:12.6f} {who:<12} {what} {digest}"
        self._sha.update(line.encode() + b"\n")
        self.tail.append(line)
        self.count += 1

    @property
    def digest(self) -> str:
        """Of everything so far."""
        return self._sha.hexdigest()
