"""R12. A backlog over bad links: lost packets, latency, silence, resets, slices, flapping, a narrow line.

The real agent, broker and cloud; the agent in a network of its own where packets are lost, else behind a
proxy. Every record arrives and is credited once, and the outbox empties by itself.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.processes import Process, program
from deploy.local.stack import CommandError, Devices, Stack
from edge.sync.roads import RoadName
from tests.bench.site import add_citizens
from tests.bench.visits import fill
from tests.proof.lossy.chaos import Chaos, Weather
from tests.proof.lossy.tunnel import Tunnel, possible
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation
from tests.system.exports import assert_agree, assert_sound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.local.stack import Site
    from tests.proof.row import Tick

LOSSES = {"loss-5": 5, "loss-20": 20, "loss-40": 40}
"""Percent of the packets that are lost, each way."""
WEATHERS = {
    "latency": Weather(latency_s=(0.025, 1.5)),  # 50 to 3,000 ms there and back
    "far": Weather(latency_s=(2.0, 5.0)),  # never an answer within the breaker's 3 s
    "far-web": Weather(latency_s=(2.0, 5.0)),  # the same without a broker
    "silence": Weather(trouble_bytes=(4_000, 20_000), silent=True),
    "resets": Weather(trouble_bytes=(4_000, 20_000)),
    "slices": Weather(slice_bytes=1),
    "flapping": Weather(bytes_per_s=8_000, up_s=(2.0, 8.0), down_s=(1.0, 5.0)),
    "narrow": Weather(bytes_per_s=8_000),
}
_WEB_ONLY = ("far-web",)
CONDITIONS = (*LOSSES, *WEATHERS)
_SHALLOW = "loss-20"
_ALL_FROM = 3_000
"""Records from which on every condition gets its share."""
_STRUCK_FROM = 5_000
"""Records of one condition from which on it must have struck: else it has proved nothing."""
_STRIKES = dict.fromkeys(LOSSES, "lost") | {
    "silence": "silences",
    "resets": "resets",
    "flapping": "downs",
}
_STILL_S_MAX = 600.0
"""Progress never stops for longer: on a flapping link several trials of a breaker may fail in turn."""
_RECORDS_A_VISIT = 3
_LOOK_S = 0.05


def _split(count: int, seed: int) -> Sequence[Task]:
    names = CONDITIONS if count >= _ALL_FROM else (_SHALLOW,)
    share = -(-count // len(names))
    return [Task(share, {"key": f"{name}.{share}.{seed}"}) for name in names]


def drained(key: str, tick: Tick) -> Part:
    """One backlog over one kind of link; the key names link, records and seed."""
    name, records, seed = key.split(".")
    visits = -(-int(records) // _RECORDS_A_VISIT)
    os.environ.pop("PYTHONWARNINGS", None)  # a warning in a child is not ours
    with tempfile.TemporaryDirectory(prefix="rl-") as folder, Stack(Path(folder)) as stack:
        add_citizens(stack)
        roads = (RoadName.HTTPS,) if name in _WEB_ONLY else tuple(RoadName)
        site = stack.add_site("far-off-drop", Devices(), roads=roads)
        stack.claim(site)
        fill(site.config, visits, int(seed))
        watch = Watch(site, visits * _RECORDS_A_VISIT, tick)
        weather = WEATHERS.get(name, Weather())
        try:
            with Chaos(weather, key) as chaos:
                seen = _over(name, stack, site, chaos, watch.until_empty)
            site.agent.stop()
            assert assert_agree([site], stack.cloud) == visits
            assert_sound([site], stack.cloud)
        except (AssertionError, CommandError, TimeoutError) as error:
            return Part(watch.acked, [Violation(key, f"{name}: {error}")])
        figures: dict[str, int | float | str] = {f"{name}_s": watch.seconds, f"{name}_still_s": watch.still_s}
        figures |= {f"{name}_{what}": count for what, count in seen.items()}
        return Part(watch.records, _spared(key, seen), figures)


def _spared(key: str, seen: Mapping[str, int | str]) -> Sequence[Violation]:
    """A violation if what is wrong with this link never befell it."""
    name, records, _ = key.split(".")
    strike = "resets" if "instead" in seen else _STRIKES.get(name)
    if strike is None or int(records) < _STRUCK_FROM or seen.get(strike):
        return ()
    return [Violation(key, f"{name}: the link did nothing bad ({strike}: 0), so nothing was shown")]


def _over(
    name: str, stack: Stack, site: Site, chaos: Chaos, until_empty: Callable[[], None]
) -> dict[str, int | str]:
    """Lead the site's connections over this kind of link and let it drain; what the link did to them."""
    cloud = stack.cloud
    ports = [cloud.http_port, cloud.broker.port]
    refused = possible() if name in LOSSES else "no packets are to be lost"
    if not refused:
        with Tunnel(LOSSES[name], ports) as tunnel:
            site.https_port, site.mqtt_port = ports
            for port, listener in zip(ports, tunnel.sockets, strict=True):
                chaos.forward(port, listener)
            _start(site, tunnel.behind)
            until_empty()
            arrived, lost = tunnel.counted()
            site.agent.stop()
        return {"packets": arrived, "lost": lost}
    instead: dict[str, int | str] = {}
    if name in LOSSES:
        instead["instead"] = f"resets, for want of namespaces ({refused})"
        chaos.weather = Weather(trouble_bytes=(40_000 // LOSSES[name], 400_000 // LOSSES[name]))
    site.https_port, site.mqtt_port = (chaos.forward(port) for port in ports)
    _start(site, list)
    until_empty()
    return instead | dict(chaos.seen)


def _start(site: Site, behind: Callable[[list[str]], list[str]]) -> None:
    site.write_config()
    command = [program("reloop-edge"), "run", "--config", str(site.config)]
    site.agent = Process(f"agent {site.name}", behind(command), site.folder / "agent.log")
    site.agent.start()


class Watch:
    """Looks at the outbox of `site` until it is empty; `still_s` is the longest time it did not shrink."""

    def __init__(self, site: Site, records: int, tick: Tick, patience_s: float | None = None) -> None:
        self.records = records
        self._patience_s = 120.0 + records / 5 if patience_s is None else patience_s
        self.acked = 0
        self.seconds = 0.0
        self.still_s = 0.0
        self._site = site
        self._tick = tick

    def until_empty(self) -> None:
        """Raises TimeoutError with the agent's last words; early if it has ended, or stood still too long."""
        begun = moved = now = time.monotonic()
        while now < min(begun + self._patience_s, moved + _STILL_S_MAX) and self._site.agent.running:
            now = time.monotonic()
            acked = self._acked()
            if acked > self.acked:
                self._tick(acked - self.acked)
                self.still_s = max(self.still_s, round(now - moved, 2))
                self.acked, moved = acked, now
            if self.acked >= self.records:
                self.seconds = round(now - begun, 2)
                return
            time.sleep(_LOOK_S)
        arrived = f"{self.acked} of {self.records} records arrived in {now - begun:.0f} s"
        arrived += f", none for {now - moved:.0f} s"
        raise TimeoutError(f"{arrived}:\n{self._site.agent.tail()}")

    def _acked(self) -> int:
        """How many of the backlog's records the cloud has acknowledged, as the agent says."""
        try:
            return min(int(self._site.status()["acked"]), self.records)
        except (OSError, ValueError):
            return self.acked  # it is starting


LOSSY = Row(
    id="R12",
    name="a backlog over links that lose, delay, cut and reset",
    unit="records",
    covers=(*PROGRAMS, "tests/proof/lossy", "tests/bench/site.py", "tests/bench/visits.py",
            "tests/system/exports.py", "tests/system/intake.py"),
    shallow=1_000,
    deep=110_000,
    split=_split,
    run=Keyed(drained).run,
    replay=Keyed(drained).replay,
    at_once=2,
)  # fmt: skip
