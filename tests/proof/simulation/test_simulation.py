"""The simulation itself: a seed is a run, and its parts do what they say."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import apsw
import pytest

from edge.config import JournalSettings
from edge.journal import Journal
from protocol.bodies import ScaleZeroed
from tests.proof.simulation.clock import SimulatedClock
from tests.proof.simulation.disk import Disk, simulated_disks
from tests.proof.simulation.loop import Machine, Standstill, VirtualLoop
from tests.proof.simulation.reference import Credit, Reference
from tests.proof.simulation.schedule import run_seed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path
    from typing import Any

_PRINT = "print([run_seed(seed).digest for seed in ('7', '8')])"
_SETTINGS = JournalSettings(ballast_bytes=0, free_bytes_min=0)


def test_a_seed_is_the_same_run_in_another_process() -> None:
    program = f"from tests.proof.simulation.schedule import run_seed; {_PRINT}"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert runs == {f"{[run_seed(seed).digest for seed in ('7', '8')]}\n"}


def test_another_seed_is_another_run() -> None:
    assert run_seed("7").digest != run_seed("8").digest


# The loop


def virtually(work: Coroutine[Any, Any, Any]) -> Any:
    loop = VirtualLoop(random.Random(1))
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def test_a_year_passes_at_once() -> None:
    async def wait() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    assert virtually(wait()) == 365 * 86_400


def test_waiting_for_nothing_is_an_error() -> None:
    with pytest.raises(Standstill):
        virtually(asyncio.Event().wait())


def test_work_of_one_thread_is_done_in_order_and_takes_time() -> None:
    async def wait() -> tuple[list[int], bool]:
        done: list[int] = []
        await asyncio.gather(*(asyncio.to_thread(done.append, number) for number in range(3)))
        return sorted(done), asyncio.get_running_loop().time() > 0

    assert virtually(wait()) == ([0, 1, 2], True)


def test_a_dead_machine_does_nothing_more() -> None:
    done: list[str] = []

    async def live() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.to_thread(done.append, "written")

    async def watch() -> None:
        machine = Machine("box")
        task = machine.start(live(), "live")
        await asyncio.sleep(1)
        machine.die()
        await asyncio.wait([task])

    virtually(watch())
    assert done == []


# The disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with simulated_disks():
        disk = Disk(tmp_path / "disk", random.Random(1))
        yield disk
        disk.remove()


def _write(disk: Disk, *, synchronous: int) -> list[Any]:
    """Rows found after a power cut that follows a commit."""
    for path in disk.folder.iterdir():
        path.unlink()
    connection = apsw.Connection(str(disk.folder / "a.journal"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", 2)
    connection.execute("CREATE TABLE t (a)")
    connection.pragma("synchronous", synchronous)
    connection.execute("INSERT INTO t VALUES (1)")
    disk.crash(power=True)
    again = apsw.Connection(str(disk.folder / "a.journal"))
    rows = again.execute("SELECT * FROM t").fetchall()
    again.close()
    connection.close()
    return rows


def test_what_was_synced_survives_a_power_cut(disk: Disk) -> None:
    assert all(_write(disk, synchronous=2) == [(1,)] for _ in range(20))


def test_what_was_not_synced_may_be_gone(disk: Disk) -> None:
    assert {len(_write(disk, synchronous=1)) for _ in range(20)} == {0, 1}


def test_the_dead_cannot_write(disk: Disk) -> None:
    clock = SimulatedClock()

    async def live() -> None:
        chance = random.Random(1)
        folder = disk.folder / "journal"
        journal = Journal.open(folder, "ktm-drop-01", clock, chance.randbytes, _SETTINGS, boot_id="1")
        journal.append(ScaleZeroed("saved"))
        disk.crash(power=False)
        with pytest.raises(Exception, match=r"dead|saved"):
            journal.append(ScaleZeroed("never"))
        folder = disk.folder / "journal"
        again = Journal.open(folder, "ktm-drop-01", clock, chance.randbytes, _SETTINGS, boot_id="2")
        assert again.head == 1
        again.close()
        journal.close()

    virtually(live())


# The reference

LOAD = ("ktm-drop-01", 500)


def judged(state: str, *credits: Credit, points: int = 0) -> list[str]:
    reference = Reference({"pet": 1_000})
    reference.state[LOAD] = state
    reference.settled(credits, (), points)
    return reference.faults


CREDIT = Credit(LOAD, "pet", 500, active=True, pending=False)


@pytest.mark.parametrize("state", ["offered", "saved", "voiding"])
def test_a_credit_that_is_due_or_may_be_is_no_fault(state: str) -> None:
    assert judged(state, CREDIT, points=500) == []


def test_what_was_saved_must_be_credited() -> None:
    assert judged("saved")


@pytest.mark.parametrize("state", ["refused", "voided"])
def test_what_was_refused_or_voided_must_not(state: str) -> None:
    assert judged(state, CREDIT, points=500)


def test_nothing_is_credited_twice() -> None:
    assert judged("saved", CREDIT, CREDIT, points=1_000)


def test_points_must_be_on_accounts() -> None:
    assert judged("saved", CREDIT, points=499)
