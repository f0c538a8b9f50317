"""A killed writer: whatever append returned is there, the chain holds, and no start needs help."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge.journal.filesystem import LOCAL
from edge.journal.store import Reader
from tests.edge.journal.site import NOW_MS, Site, chain_holds, visits

if TYPE_CHECKING:
    from pathlib import Path

_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.edge.journal.site import Site, weighing
seed = int(sys.argv[2])
journal = Site(Path(sys.argv[1]), seed).open()
print("open", flush=True)
number = 0
while True:
    entries = journal.append(*[weighing(1000 + number % 500)] * (1 + number % 3))
    number += 1
    sys.stdout.write(f"{{entries[-1].seq}} {{entries[-1].digest.hex()}}\\n")
    sys.stdout.flush()
    if number % 50 == 0:
        journal.acknowledge(entries[0].seq, 1_780_000_000_000)
    if number % 200 == 0:
        journal.new_epoch("test")
        print("epoch", flush=True)
"""


def write_until_killed(folder: Path, seed: int, kill_after: int) -> list[str]:
    script = _WRITER.format(root=os.getcwd())
    command = [sys.executable, "-c", script, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline().strip() for _ in range(kill_after)]
        os.kill(child.pid, signal.SIGKILL)
        lines += [line.strip() for line in child.stdout if line.endswith("\n")]
    return lines


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_everything_whose_append_returned_is_there_after_kill_9(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "journal"
    told: set[str] = set()
    for _ in range(3):
        lines = write_until_killed(folder, chance.randrange(2**30), chance.randrange(2, 600))
        told |= {line.split()[1] for line in lines if " " in line}
        journal = Site(folder, seed=chance.randrange(2**30)).open()
        assert journal.birth.reason == "continued"
        assert chain_holds(journal)
        assert journal.verify().ok
        journal.close()
        assert told <= held_digests(folder)


def held_digests(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.glob("*.journal"):
        reader = Reader(path, LOCAL)
        found |= {digest.hex() for _, _, digest in reader.rows(1, reader.head(0))}
        reader.close()
    return found


_VERIFIER = """
import sys
from pathlib import Path
from edge.journal.export import export_directory
from edge.journal.verify import verify_directory
report = verify_directory(Path(sys.argv[1]))
print(report.ok, report.entries, len(list(export_directory(Path(sys.argv[1])))))
"""


def test_another_process_may_verify_and_export_while_this_one_writes(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal = Site(folder).open()
    visits(journal, 30)
    command = [sys.executable, "-c", _VERIFIER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            visits(journal, 1)
            journal.acknowledge(journal.head, NOW_MS)
            journal.prune()
        assert child.stdout is not None
        told = child.stdout.read().split()
    assert told[0] == "True"
    assert 90 <= int(told[1]) <= int(told[2]) <= journal.head
    assert chain_holds(journal)
    journal.close()
