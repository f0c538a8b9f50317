"""R13. Ninety days offline: a million records in one journal, then all of them through the real road.

The journal lies in memory where there is some to spare (a disk's fsync would only measure the disk), all else
is as in the field. What is measured stands in the figures; what must be true is that everything is credited
once and both books add up.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from deploy.local.stack import CommandError, Devices, Stack
from tests.bench.site import add_citizens
from tests.proof.endurance.judging import judge
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation, keep_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.local.stack import Site
    from tests.proof.row import Tick

DAYS = 90
_RECORDS_A_VISIT = 3
_LOOK_S = 0.1
_START_S = 120.0
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 3 * 1024**3


def _split(count: int, seed: int) -> Sequence[Task]:
    return [Task(count, {"key": f"{count}.{seed}"})]


def offline(key: str, tick: Tick) -> Part:
    """So many records (the key's first number) taken offline, then drained; the second is the seed."""
    records, seed = (int(part) for part in key.split("."))
    visits = -(-records // _RECORDS_A_VISIT)
    os.environ.pop("PYTHONWARNINGS", None)  # a warning in a child is not ours
    with (
        tempfile.TemporaryDirectory(prefix="rl-") as folder,
        tempfile.TemporaryDirectory(prefix="rl-", dir=_roomy()) as roomy,
        Stack(Path(folder)) as stack,
    ):
        add_citizens(stack)
        site = stack.add_site("far-away-drop", Devices(), roads=("mqtt",), spread_s=0.5)
        (site.folder / "data").symlink_to(roomy)
        stack.claim(site)
        filled = _filled(site, visits, seed)
        bytes_held = _size_bytes(site)
        watched = Watched(site, visits * _RECORDS_A_VISIT)
        try:
            watched.drain(tick)
            site.agent.stop()
            findings = judge(site.folder / "data" / "journal", Path(folder) / "cloud" / "postgres", visits)
            findings += _ledger(stack)
        except (TimeoutError, CommandError) as error:
            findings = [str(error)]
        figures = _figures(filled, watched, bytes_held)
    return Part(watched.acked, [Violation(key, what) for what in findings], figures)


def _roomy() -> str | None:
    """Where the journal goes: memory, or the usual temporary folder."""
    return str(_MEMORY) if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES else None


def _filled(site: Site, visits: int, seed: int) -> dict[str, int]:
    """Fill the outbox in a process of its own; what it measured."""
    arguments = [str(site.config), str(visits), str(seed), str(DAYS)]
    command = [sys.executable, "-m", "tests.proof.endurance.filling", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the journal could not be filled:\n{done.stderr}")
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


def _size_bytes(site: Site) -> int:
    """What the journal's folder takes, the ballast aside."""
    files = (site.folder / "data" / "journal").iterdir()
    return sum(one.stat().st_size for one in files if one.name != "ballast")


def _ledger(stack: Stack) -> list[str]:
    report = json.loads(stack.cloud.run("ledger", "verify"))
    return [] if report["ok"] else [f"the ledger does not add up: {report}"]


def _figures(filled: dict[str, int], watched: Watched, bytes_held: int) -> dict[str, int | float | str]:
    first, last = filled["append_p99_first_us"], filled["append_p99_last_us"]
    drain_s = max(watched.drain_s, 0.001)
    return {
        "journal in": _roomy() or tempfile.gettempdir(),
        "append p99 first us": first,
        "append p99 last us": last,
        "append p99 ratio": round(last / max(first, 1), 2),
        "append p50 last us": filled["append_p50_last_us"],
        "journal MB": round(bytes_held / 1e6, 1),
        "start s": watched.start_s,
        "drain s": watched.drain_s,
        "records/s": round(watched.acked / drain_s),
        "weighings/s": round(watched.acked / _RECORDS_A_VISIT / drain_s),
        "RSS holding MB": watched.rss_holding_mb,
        "RSS draining MB": watched.rss_max_mb,
        "kept afterwards": watched.kept,
    }


@dataclass
class Watched:
    """The agent from its start until the outbox is empty. Seconds and megabytes as measured from outside."""

    site: Site
    records: int
    acked: int = 0
    start_s: float = 0.0
    drain_s: float = 0.0
    rss_holding_mb: float = 0.0
    rss_max_mb: float = 0.0
    kept: int = 0

    def drain(self, tick: Tick) -> None:
        """Start it, see what holding costs, and wait until all of it arrived. Raises TimeoutError."""
        self._start()
        begun = moved = time.monotonic()
        while self.acked < self.records:
            status = self._status()
            if status is not None and (acked := min(status["acked"], self.records)) > self.acked:
                tick(acked - self.acked)
                self.acked, moved = acked, time.monotonic()
                self.kept = status["head"] - status["first_kept"] + 1
            if time.monotonic() - moved > _START_S or not self.site.agent.running:
                raise TimeoutError(f"{self.acked} of {self.records} arrived:\n{self.site.agent.tail()}")
            self._weigh()
            time.sleep(_LOOK_S)
        self.drain_s = round(time.monotonic() - begun, 2)

    def _start(self) -> None:
        begun = time.monotonic()
        self.site.agent.start()
        while self._status() is None:
            if time.monotonic() - begun > _START_S or not self.site.agent.running:
                raise TimeoutError(f"the agent did not come up:\n{self.site.agent.tail()}")
            time.sleep(_LOOK_S / 5)
        self.start_s = round(time.monotonic() - begun, 2)
        self._weigh()
        self.rss_holding_mb = self.rss_max_mb

    def _weigh(self) -> None:
        with contextlib.suppress(psutil.Error):
            self.rss_max_mb = max(self.rss_max_mb, _rss_mb(self.site.agent.pid))

    def _status(self) -> dict[str, Any] | None:
        try:
            return self.site.status()
        except (OSError, ValueError):
            return None  # it is starting


def _rss_mb(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


ENDURANCE = Row(
    id="R13",
    name="ninety days offline, then all of it at once",
    unit="records",
    covers=(*PROGRAMS, "tests/proof/endurance", "tests/bench/site.py", "tests/bench/visits.py",
            "tests/system/intake.py"),
    shallow=20_000,
    deep=1_000_000,
    split=_split,
    run=Keyed(offline).run,
    replay=Keyed(offline).replay,
    merge=keep_last,
)  # fmt: skip
