"""The facade: waiting appends share a commit, the queue is bounded, a cancelled caller loses nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

import pytest

from edge.errors import JournalError
from edge.journal import AsyncJournal, JournalBusy
from protocol.bodies import GatewayStopped
from protocol.errors import RecordError
from tests.edge.journal.site import DAY_MS, GATEWAY, NOW_MS, Site, chain_holds, weighing
from tests.proof.disk.disk import Disk, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protocol.bodies import Body


@pytest.fixture
async def journal(site: Site) -> AsyncIterator[AsyncJournal]:
    opened = AsyncJournal(site.open(), queue_max=200)
    yield opened
    await opened.close()


async def test_appends_that_wait_share_commits_and_keep_their_order(journal: AsyncJournal) -> None:
    heads: list[int] = []
    journal.on_append.append(heads.append)
    results = await asyncio.gather(*(journal.append(weighing(number + 1)) for number in range(150)))
    assert [entries[0].seq for entries in results] == list(range(1, 151))
    assert heads[-1] == journal.head == 150
    assert len(heads) <= 5
    assert chain_holds(journal.journal)


async def test_one_appends_records_are_saved_together_or_not_at_all(journal: AsyncJournal) -> None:
    good, bad = journal.append(weighing(), weighing()), journal.append(weighing(), GatewayStopped("x" * 9000))
    outcomes = await asyncio.gather(good, bad, journal.append(weighing()), return_exceptions=True)
    assert isinstance(outcomes[1], RecordError)
    assert journal.head == 3


async def test_a_full_queue_refuses_instead_of_growing(journal: AsyncJournal) -> None:
    gate = threading.Event()
    blocked = asyncio.ensure_future(journal._write(gate.wait))
    first = asyncio.ensure_future(journal.append(weighing()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(journal.append(weighing())) for _ in range(200)]
    await asyncio.sleep(0)
    with pytest.raises(JournalBusy) as caught:
        await journal.append(weighing())
    assert (caught.value.code, caught.value.retry) == ("journal.busy", True)
    gate.set()
    await asyncio.gather(blocked, first, *waiting)
    assert journal.head == 201


async def test_a_cancelled_append_is_saved_all_the_same_and_others_are_told(journal: AsyncJournal) -> None:
    gate = threading.Event()
    blocked = asyncio.ensure_future(journal._write(gate.wait))
    given_up = asyncio.ensure_future(journal.append(weighing(1)))
    other = asyncio.ensure_future(journal.append(weighing(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    gate.set()
    await blocked
    entries = await other
    assert entries[0].seq == 2
    assert journal.head == 2


async def test_everything_else_goes_through_the_same_threads(journal: AsyncJournal) -> None:
    await asyncio.gather(*(journal.append(weighing()) for _ in range(10)))
    assert len(await journal.read(3, 10**6)) == 8
    assert [entry.seq for entry in await journal.entries(2, 4)] == [2, 3, 4]
    await journal.acknowledge(6, NOW_MS)
    await journal.quarantined(2, "weighing.sum")
    assert journal.acked == 6
    epoch = journal.epoch
    await journal.new_epoch("forked")
    assert journal.epoch != epoch
    assert journal.head == 4
    assert await journal.digest_at(4) == journal.head_digest
    assert (await journal.check_rest()).ok
    assert journal.last_check is not None
    assert await journal.prune() == 0
    assert journal.intake_problem() is None
    assert (await journal.repair()).reason == "continued"


async def test_reads_do_not_wait_for_a_writer_that_hangs(journal: AsyncJournal) -> None:
    await journal.append(weighing())
    gate = threading.Event()
    blocked = asyncio.ensure_future(journal._write(gate.wait))
    assert len(await asyncio.wait_for(journal.read(1, 1000), 5)) == 1
    gate.set()
    await blocked


async def test_whoever_asks_for_a_journals_words_gets_them(journal: AsyncJournal) -> None:
    await journal.append(weighing(), weighing())
    await journal.acknowledge(1, NOW_MS)
    told = (journal.gateway, journal.boot, journal.head, journal.head_digest, journal.first_kept)
    assert told == (GATEWAY, 1, 2, journal.journal.head_digest, 1)
    assert journal.disk_free_bytes() > 0
    assert journal.autonomy_h() > 0
    assert await journal.older() == ()
    await journal.acknowledge(2, NOW_MS + 40 * DAY_MS)
    await journal.acknowledge(2, NOW_MS + 80 * DAY_MS)
    assert await journal.prune() == 2
    assert journal.first_kept == 3


async def test_nobody_waits_for_ever_when_an_append_ends_in_something_unforeseen(
    journal: AsyncJournal,
) -> None:
    unforeseen = cast("Body", object())
    outcomes = await asyncio.gather(
        journal.append(weighing()), journal.append(unforeseen), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [AttributeError, AttributeError]
    assert journal.head == 0
    await journal.append(weighing())
    assert journal.head == 1


async def test_a_read_that_the_disk_refuses_is_told_and_repairs_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    journal = AsyncJournal(Site(tmp_path).open_on(disk))
    await journal.append(*[GatewayStopped("x" * 4000)] * 5)
    epoch = journal.epoch
    disk.fault = lambda operation, _: Fault.EIO if operation == "read" else None
    with pytest.raises(JournalError) as caught:
        await journal.read(1, 10**6)
    assert caught.value.code == "journal.unread"
    disk.fault = lambda *_: None
    assert len(await journal.read(1, 10**6)) == 5
    assert journal.epoch == epoch
    await journal.close()
    disk.close()


async def test_a_journal_that_nobody_wrote_to_is_closed(site: Site) -> None:
    journal = AsyncJournal(site.open())
    await journal.close()
    site.open().close()


async def test_a_read_that_meets_damage_repairs_and_asking_anew_works(journal: AsyncJournal) -> None:
    await asyncio.gather(*(journal.append(weighing()) for _ in range(10)))
    writer = journal.journal._store._writer
    assert writer is not None
    writer.execute("UPDATE records SET data = zeroblob(9) WHERE seq = 4")
    with pytest.raises(JournalError) as caught:
        await journal.read(1, 10**6)
    assert caught.value.code == "journal.damaged"
    assert journal.head == 9
    assert len(await journal.read(1, 10**6)) == 9
    await journal.append(weighing())
    assert journal.head == 10


async def test_a_weighing_is_not_tied_to_another_visit_when_a_new_epoch_begins_before_it_is_saved(
    journal: AsyncJournal,
) -> None:
    """Its body names the visit by a seq, which in the new epoch is somebody else's record."""
    await journal.append(weighing())
    spoken_of = journal.epoch
    begun = asyncio.ensure_future(journal.new_epoch("proof"))
    refused, unbound = await asyncio.gather(
        journal.append(weighing(2), epoch=spoken_of), journal.append(weighing(3)), return_exceptions=True
    )
    await begun
    assert isinstance(refused, JournalError)
    assert refused.code == "journal.epoch"
    assert not isinstance(unbound, BaseException)
    assert (journal.head, journal.epoch != spoken_of) == (2, True), "the carried one, and the unbound one"
    (entry,) = await journal.append(weighing(4), epoch=journal.epoch)
    assert entry.seq == 3
