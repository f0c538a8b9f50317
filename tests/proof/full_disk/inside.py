"""The cycles of a full disk, a program for the inside of a mount namespace.

`python -m tests.proof.full_disk.inside FOLDER KEY` prints a JSON line for each cycle that is over, and one
with what was found.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from deploy.local.people import make_people
from deploy.local.stack import Devices, Stack
from tests.proof.ending import heeding_sigterm
from tests.proof.full_disk.drop_point import Crowded, Promise

_FREE_BYTES_MIN = 1024 * 1024
_BALLAST_BYTES = 512 * 1024
_SIZES_MB = (6, 16)
"""Of the whole file system: seconds of weighing must count on it."""


def main(folder: Path, key: str) -> None:
    """Run them, tell how it went."""
    cycles = int(key.partition(".")[0])
    chance = random.Random(key)
    disk = folder / "drop-point" / "data"
    disk.mkdir(parents=True)
    size_mb = chance.randint(*_SIZES_MB)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "reloop-proof", str(disk)], check=True)
    with Stack(folder) as stack:
        with stack.cloud.api() as api:
            cards = make_people(api, folder / "people", 6).cards.read_text().splitlines()
        devices = folder / "drop-point" / "devices"
        journal = {"free_bytes_min": _FREE_BYTES_MIN, "ballast_bytes": _BALLAST_BYTES}
        site = stack.add_site(
            "drop-point",
            Devices("and", devices / "scale", devices / "scanner"),
            settings={"journal": journal},
            spread_s=0.5,
        )
        stack.claim(site)
        crowded = Crowded(site, disk, cards, chance, lambda: _say(done=1))
        findings = crowded.cycles(cycles, _FREE_BYTES_MIN)
        findings += Promise(site, stack).judge(crowded.seen)
    _say(findings=findings, figures=dict(crowded.figures))


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    with heeding_sigterm():
        main(Path(sys.argv[1]), sys.argv[2])
