"""How long after a fault something that was recorded after it is acknowledged, at every gateway it met.

Watches from outside, by the agents' own status. Further faults go on meanwhile, and count against it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.local.stack import Site

LOOK_S = 0.1


@dataclass(slots=True)
class _Fault:
    """`waits`: for each site the head that has to be passed, None until it was seen after the fault."""

    kind: str
    at_s: float
    waits: dict[str, int | None]


@dataclass
class Watch(threading.Thread):
    """Runs until `close`. `seconds` by kind of fault."""

    sites: Sequence[Site]
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name="watch")
        self._faults: list[_Fault] = []
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._quiet = threading.Event()

    __hash__ = threading.Thread.__hash__

    def struck(self, kind: str, site: str | None) -> None:
        """A fault of this kind happened just now; it met one site, or all."""
        met = [each.name for each in self.sites if site in (None, each.name)]
        with self._guard:
            self._faults.append(_Fault(kind, time.monotonic(), dict.fromkeys(met)))

    def waits(self) -> bool:
        """Whether some fault is not over yet."""
        with self._guard:
            return bool(self._faults)

    def nothing_more(self) -> None:
        """Nothing is recorded from now on: an empty outbox is all there is to wait for."""
        self._quiet.set()

    def close(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(LOOK_S):
            for site in self.sites:
                try:
                    status = site.status()
                except (OSError, KeyError, ValueError):
                    continue
                self._seen(site.name, status["head"], status["acked"])

    def _seen(self, site: str, head: int, acked: int) -> None:
        now_s = time.monotonic()
        with self._guard:
            for fault in self._faults:
                if site not in fault.waits:
                    continue
                waited = fault.waits[site]
                if waited is None:
                    fault.waits[site] = head
                elif acked > waited or (acked == head and self._quiet.is_set()):
                    del fault.waits[site]
                    if not fault.waits:
                        self.seconds[fault.kind].append(now_s - fault.at_s)
            self._faults = [fault for fault in self._faults if fault.waits]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank); 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def spelled(seconds: Mapping[str, Sequence[float]], how: str) -> dict[str, str]:
    """For a part's figures: every time by kind, to be read again by `gathered`."""
    return {
        f"recovery {how}, {kind}": " ".join(f"{one:.1f}" for one in each) for kind, each in seconds.items()
    }


def gathered(texts: Sequence[str]) -> str:
    """Percentiles of what `spelled` wrote."""
    values = [float(one) for text in texts for one in text.split()]
    return f"p50 {percentile(values, 0.5):.1f} s p99 {percentile(values, 0.99):.1f} s max {max(values):.1f} s"
