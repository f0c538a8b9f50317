from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edge.housekeeping import CHECK_ROUNDS_MAX, Housekeeping
from edge.journal import AsyncJournal
from tests.edge.journal.site import NOW_MS, Site, visits
from tests.edge.journal.test_damage import spoil_row
from tests.edge.journal.test_evidence import digest_hit
from tests.proof.disk.disk import Disk, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Home:
    """A journal on a disk that can refuse, its housekeeping, and the alarms it raised."""

    def __init__(self, folder: Path) -> None:
        self.disk = Disk(folder)
        self.site = Site(folder)
        self.alarms: Counter[str] = Counter()
        self.open()

    def open(self) -> None:
        self.journal = AsyncJournal(self.site.open_on(self.disk))
        self.keeping = Housekeeping(self.journal, lambda code: self.alarms.update([code]), self.site.clock)

    async def drained(self, count: int) -> None:
        """The cloud acknowledges so many, of an outbox that stays long."""
        await self.journal.acknowledge(self.journal.acked + count, NOW_MS)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path)
    yield home
    home.disk.fault = lambda *_: None
    await home.journal.close()
    home.disk.close()


async def test_the_chain_is_checked_at_once_when_the_outbox_is_empty(home: Home) -> None:
    await home.keeping.round()
    assert home.journal.last_check is not None
    assert home.alarms == {}


async def test_the_check_waits_while_the_outbox_is_drained_and_comes_when_it_stands(home: Home) -> None:
    visits(home.journal.journal, 5)
    for _ in range(3):
        await home.keeping.round()
        assert home.journal.last_check is None
        await home.drained(1)
    await home.keeping.round()
    await home.keeping.round()
    assert home.journal.last_check is not None


async def test_the_check_does_not_wait_for_ever(home: Home) -> None:
    visits(home.journal.journal, CHECK_ROUNDS_MAX)
    for _ in range(CHECK_ROUNDS_MAX):
        await home.keeping.round()
        await home.drained(1)
    assert home.journal.last_check is None
    await home.keeping.round()
    assert home.journal.last_check is not None


async def test_a_record_that_was_hit_after_its_ack_is_an_alarm(home: Home) -> None:
    visits(home.journal.journal, 2)
    await home.drained(6)
    writer = home.journal.journal._store._writer
    assert writer is not None
    writer.execute("UPDATE records SET data = zeroblob(9) WHERE seq = 2")
    await home.keeping.round()
    await home.keeping.round()
    assert home.alarms == {"journal.check": 1}


async def test_a_disk_that_refuses_everything_is_an_alarm_and_the_round_goes_on(home: Home) -> None:
    home.disk.fault = lambda operation, _: Fault.EIO if operation in {"list", "sync"} else None
    await home.keeping.round()
    assert home.alarms == {"journal.prune": 1, "journal.check": 1}
    home.disk.fault = lambda *_: None
    await home.keeping.round()
    assert home.alarms == {"journal.prune": 1, "journal.check": 1}


async def test_records_that_a_repair_in_use_could_not_save_are_told_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    visits(home.journal.journal, 2)
    await home.keeping.round()
    writer = home.journal.journal._store._writer
    assert writer is not None
    writer.execute("UPDATE records SET data = zeroblob(9) WHERE seq = 2")
    await home.journal.repair()
    with caplog.at_level(logging.ERROR, "reloop.agent"):
        await home.keeping.round()
        await home.keeping.round()
    assert home.alarms == {"journal.lost": 1}
    assert "1 records are known to be missing" in caplog.text


async def test_what_was_lost_before_a_start_is_told_before_anything_else(home: Home) -> None:
    visits(home.journal.journal, 2)
    path, row = home.site.folder / f"{home.journal.epoch:016x}.journal", home.journal.journal.read(3, 1)[0]
    await home.journal.close()
    spoil_row(path, row, 5)
    home.open()
    home.keeping.tell_damage()
    assert home.alarms == {"journal.lost": 1}


async def test_a_file_that_lost_its_end_is_an_alarm_although_nobody_can_count(home: Home) -> None:
    visits(home.journal.journal, 20)
    path = home.site.folder / f"{home.journal.epoch:016x}.journal"
    await home.journal.close()
    os.truncate(path, path.stat().st_size - 9000)
    home.open()
    home.keeping.tell_damage()
    assert (home.alarms, home.journal.journal.birth.unproven) == ({"journal.damaged": 1}, True)


async def test_every_removed_piece_of_evidence_is_told(home: Home) -> None:
    await home.journal.close()
    for _ in range(6):
        digest_hit(home.site)
    home.open()
    await home.drained(home.journal.head)
    await home.keeping.round()
    assert home.alarms == {"journal.evidence_removed": 2}


async def test_rounds_go_on_until_the_agent_stops(home: Home) -> None:
    running = asyncio.create_task(home.keeping.run())
    begun_ms = home.site.clock.mono
    async with asyncio.timeout(20):
        while home.site.clock.mono < begun_ms + 60_000:
            await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert home.journal.last_check is not None
