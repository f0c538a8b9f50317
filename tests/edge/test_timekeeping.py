from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from edge.clock import SystemClock
from edge.config import JournalSettings
from edge.errors import JournalError
from edge.journal import AsyncJournal, Journal
from edge.timekeeping import Timekeeper
from protocol.bodies import Body, ClockHeard, ClockSynced
from protocol.records import ClockQuality
from tests.edge.hand_clock import HandClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from edge.journal import Entry


@pytest.fixture
def clock() -> HandClock:
    return HandClock(worth=ClockQuality.RESTORED)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[AsyncJournal]:
    settings = JournalSettings(ballast_bytes=0, free_bytes_min=0)
    journal = AsyncJournal(Journal.open(tmp_path, "ktm-01", SystemClock(), secrets.token_bytes, settings))
    yield journal
    await journal.close()


async def said(journal: AsyncJournal) -> list[ClockSynced]:
    bodies = [entry.record.body for entry in await journal.entries(1, journal.head)]
    return [body for body in bodies if isinstance(body, ClockSynced)]


async def heard(journal: AsyncJournal) -> list[int]:
    bodies = [entry.record.body for entry in await journal.entries(1, journal.head)]
    return [body.server_ms for body in bodies if isinstance(body, ClockHeard)]


async def test_a_clock_that_goes_on_as_it_did_is_not_worth_a_record(
    clock: HandClock, journal: AsyncJournal
) -> None:
    keeper = Timekeeper(clock, journal)
    for _ in range(100):
        clock.mono += 5_000
        clock.wall += 5_002  # slewed by 400 ppm
        await keeper.look()
        clock.wall -= 2
    assert await said(journal) == []


@pytest.mark.parametrize("jump_ms", [10 * 365 * 86_400_000, -10 * 365 * 86_400_000, 2_001, -2_001])
async def test_a_jump_is_journalled_with_what_the_clock_said_before(
    clock: HandClock, journal: AsyncJournal, jump_ms: int
) -> None:
    keeper = Timekeeper(clock, journal)
    clock.mono += 5_000
    clock.wall += 5_000 + jump_ms
    await keeper.look()
    await keeper.look()
    assert [body.before_ms for body in await said(journal)] == [clock.wall - jump_ms]


async def test_becoming_synced_is_journalled_once_even_without_a_jump(
    clock: HandClock, journal: AsyncJournal
) -> None:
    keeper = Timekeeper(clock, journal)
    clock.worth = ClockQuality.SYNCED
    await keeper.look()
    await keeper.look()
    assert len(await said(journal)) == 1


async def test_what_the_cloud_signed_is_journalled_while_the_clock_is_unsure_and_when_it_says_more(
    clock: HandClock, journal: AsyncJournal
) -> None:
    signed: list[int | None] = [None]
    keeper = Timekeeper(clock, journal, lambda: signed[0])
    await keeper.look()
    for server_ms in (1_000_000, 1_000_000, 1_029_999, 1_030_000, 9_000_000):
        signed[0] = server_ms
        await keeper.look()
    assert await heard(journal) == [1_000_000, 1_030_000, 9_000_000]
    clock.worth = ClockQuality.SYNCED
    signed[0] = 99_000_000
    await keeper.look()
    assert len(await heard(journal)) == 3


async def test_a_signed_time_that_only_goes_on_with_the_clock_is_not_worth_a_record(
    clock: HandClock, journal: AsyncJournal
) -> None:
    keeper = Timekeeper(clock, journal, lambda: 1_000_000 + clock.mono)
    for _ in range(100):
        clock.mono += 5_000
        clock.wall += 5_000
        await keeper.look()
    assert len(await heard(journal)) == 1


async def test_a_disk_that_refuses_costs_the_record_only_until_the_next_look(journal: AsyncJournal) -> None:
    refusing = _Refusing(journal)
    clock = _Yielding(worth=ClockQuality.RESTORED)
    keeper = Timekeeper(clock, refusing)  # type: ignore[arg-type]
    clock.worth = ClockQuality.SYNCED
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while refusing.refused == 0:
            await asyncio.sleep(0)
        assert not running.done()
        refusing.full = False
        while not await said(journal):
            await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class _Yielding(HandClock):
    """Time passes for wall and monotonic alike, and others get their turn."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.wall += int(seconds * 1000)
        await asyncio.sleep(0)


class _Refusing:
    """The journal of a disk that is full for a while."""

    def __init__(self, journal: AsyncJournal) -> None:
        self._journal = journal
        self.full = True
        self.refused = 0

    async def append(self, *bodies: Body, epoch: int | None = None) -> list[Entry]:
        await asyncio.sleep(0)
        if self.full:
            self.refused += 1
            raise JournalError("the disk is full; nothing was saved", code="journal.full")
        return await self._journal.append(*bodies)
