"""How long a road may be silent before its link is given up: 3 s, and longer where its answers take longer.

Owns the limit of one road, learnt from the longest silence before each answer, as TCP learns its own. The
median of them: where packets are lost some answers are late, and giving up is the cure; far away all are.
Does not own what counts as silence (the session), nor when a road rests (its breaker).
"""

from __future__ import annotations

import statistics
from collections import deque

SILENCE_S_MAX = 30.0
"""The longest limit: bounds what a dead link can cost, and three times the worst of 2G's ten seconds."""
OPENING_S_MAX = 6 * SILENCE_S_MAX
"""A road is opened in steps, each with a limit of its own: name, TCP, TLS, CONNACK, two SUBACKs."""
_SPARE = 3.0
"""A silence thrice as long as usual has another reason: TCP's own first guess is the same (RFC 6298, 2.2)."""
_ANSWERS_KEPT = 16
_DOUBLINGS_MAX = 4
"""From 3 s to the longest limit."""


class Patience:
    """The limit of one road, never below `least_s`, its breaker's figure; nor above `SILENCE_S_MAX`."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._opened_s = 0.0
        self._silences_s: deque[float] = deque(maxlen=_ANSWERS_KEPT)
        self._doublings = 0

    @property
    def silence_s_max(self) -> float:
        """How long nothing may move although something should."""
        return max(self._least_s, min(self._learnt_s * 2.0**self._doublings, SILENCE_S_MAX))

    @property
    def _learnt_s(self) -> float:
        usual_s = statistics.median(self._silences_s or (0.0,))
        return max(self._least_s, _SPARE * usual_s, self._opened_s)

    def opened(self, took_s: float) -> None:
        """The road was opened: over a broker that takes three answers or more, over HTTPS none."""
        self._opened_s = took_s

    def answered(self, silent_s: float) -> None:
        """A frame was acknowledged; while it was under way nothing moved for so long at most.

        An answer that only a trial waited for shows that what was learnt holds no longer.
        """
        if silent_s > self._learnt_s:
            self._silences_s.clear()
        self._silences_s.append(silent_s)
        self._doublings = 0

    def longer(self) -> None:
        """Every road is silent, and a trial of this one was again: its next waits twice as long.

        Else a far end whose first answer takes longer than the limit would never be heard.
        """
        self._doublings = min(self._doublings + 1, _DOUBLINGS_MAX)
