"""The journal: what append returned is there, in order, chained, and readable while others write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from edge.errors import JournalError
from edge.journal import Journal, database
from protocol.bodies import GatewayStopped, RecordCarried
from protocol.errors import RecordError
from protocol.records import ClockQuality, genesis_digest, next_digest, record_id
from tests.edge.journal.site import BOOT, DAY_MS, GATEWAY, NOW_MS, Site, chain_holds, sql, visits, weighing

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_new_journal_is_empty_and_begins_at_the_genesis_of_its_epoch(site: Site) -> None:
    journal = site.open()
    assert (journal.head, journal.acked, journal.first_kept, journal.boot) == (0, 0, 1, 1)
    assert 0 < journal.epoch < 2**63
    assert journal.head_digest == genesis_digest(GATEWAY, journal.epoch) == journal.digest_at(0)
    assert journal.birth.reason == "first"
    assert journal.read(1, 1000) == []
    journal.close()


def test_what_was_appended_is_there_after_reopening(site: Site) -> None:
    journal = site.open()
    first, second = journal.append(weighing(1), weighing(2))
    (third,) = journal.append(weighing(3))
    assert [entry.seq for entry in (first, second, third)] == [1, 2, 3]
    assert third.id == record_id(third.digest)
    journal.close()
    again = site.open()
    assert again.birth.reason == "continued"
    assert [(entry.seq, entry.digest, entry.record) for entry in again.entries()] == [
        (entry.seq, entry.digest, entry.record) for entry in (first, second, third)
    ]
    assert chain_holds(again)
    again.close()


def test_a_record_carries_boot_both_clocks_and_what_the_wall_clock_was_worth(site: Site) -> None:
    site.clock.worth = ClockQuality.RESTORED
    journal = site.open()
    record = journal.append(weighing())[0].record
    assert (record.boot, record.mono_ms, record.wall_ms, record.clock) == (
        1,
        site.clock.mono,
        site.clock.wall,
        ClockQuality.RESTORED,
    )
    site.clock.worth, site.clock.mono = ClockQuality.SYNCED, site.clock.mono + 1000
    assert journal.append(weighing())[0].record.clock is ClockQuality.SYNCED
    journal.close()


def test_boot_advances_with_the_kernels_boot_id_and_only_with_it(site: Site) -> None:
    boots = []
    for boot_id in (BOOT, BOOT, "another", "another", BOOT):
        site.boot_id = boot_id
        journal = site.open()
        boots.append(journal.boot)
        journal.close()
    assert boots == [1, 1, 2, 2, 3]


def test_sqlite_keeps_the_promises_that_durability_rests_on(site: Site) -> None:
    journal = site.open()
    writer = journal._store._writer
    assert writer is not None
    assert writer.pragma("journal_mode") == "wal"
    assert writer.pragma("synchronous") == 2
    assert writer.pragma("journal_size_limit") == database.WAL_BYTES_MAX
    assert apsw.SQLITE_VERSION_NUMBER >= 3_051_003
    journal.close()


def test_a_sqlite_with_the_wal_reset_bug_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(JournalError, match=r"3\.51\.2") as caught:
        site.open()
    assert caught.value.code == "journal.sqlite_old"


def test_only_the_owner_may_read_what_the_journal_writes(site: Site) -> None:
    journal = site.open()
    visits(journal, 1)
    assert site.folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in site.folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    journal.close()


def test_a_second_process_cannot_write_the_same_journal(site: Site) -> None:
    journal = site.open()
    with pytest.raises(JournalError) as caught:
        site.open()
    assert caught.value.code == "journal.locked"
    journal.close()
    site.open().close()


def test_another_gateways_journal_is_not_taken_for_ours(site: Site) -> None:
    site.open().close()
    with pytest.raises(JournalError, match="give each gateway") as caught:
        site.open("pkr-drop-02")
    assert caught.value.code == "journal.foreign"


def test_a_record_that_is_too_large_is_refused_and_leaves_no_gap(site: Site) -> None:
    journal = site.open()
    with pytest.raises(RecordError) as caught:
        journal.append(weighing(), GatewayStopped("x" * 9000))
    assert caught.value.code == "record.too_large"
    assert journal.head == 0
    outcomes = journal.append_groups([[weighing()], [GatewayStopped("x" * 9000)], [weighing()]])
    assert [type(outcome) for outcome in outcomes] == [list, RecordError, list]
    assert journal.head == 2
    assert chain_holds(journal)
    journal.close()


def test_read_gives_consecutive_bytes_within_the_limit_but_at_least_one(site: Site) -> None:
    journal = site.open()
    visits(journal, 10)
    size = len(journal.read(1, 1)[0])
    assert len(journal.read(1, 1)) == 1
    assert len(journal.read(1, size)) == 1
    assert len(journal.read(4, 10**6)) == 27
    digest = journal.digest_at(3)
    assert digest is not None
    some = journal.read(4, 400)
    assert sum(map(len, some)) <= 400
    for data in some:
        digest = next_digest(digest, data)
    assert digest == journal.digest_at(3 + len(some))
    assert journal.read(31, 100) == []
    assert journal.digest_at(31) is None
    journal.close()


def test_the_acknowledged_mark_moves_both_ways_and_survives(site: Site) -> None:
    journal = site.open()
    visits(journal, 3)
    journal.acknowledge(7, 1000)
    journal.acknowledge(4, 900)
    journal.quarantined(3, "weighing.sum")
    journal.close()
    again = site.open()
    assert (again.acked, again.server_time_ms) == (4, 1000)
    assert again.quarantine() == {3: "weighing.sum"}
    with pytest.raises(JournalError) as caught:
        again.acknowledge(10)
    assert caught.value.code == "journal.range"
    again.close()


def test_what_is_damaged_while_running_is_never_sent(site: Site) -> None:
    journal = site.open()
    visits(journal, 10)
    assert journal._store._writer is not None
    journal._store._writer.execute("UPDATE records SET data = zeroblob(40) WHERE seq = 5")
    with pytest.raises(JournalError) as caught:
        journal.read(3, 10**6)
    assert caught.value.code == "journal.damaged"
    report = journal.verify()
    assert [(fault.seq, fault.code) for fault in report.faults] == [(5, "journal.chain")]
    birth = journal.repair()
    assert (birth.reason, birth.carried) == ("damaged", 29)
    assert journal.verify().ok
    assert isinstance(next(journal.entries()).record.body, RecordCarried)
    journal.close()


def test_verify_walks_every_row_and_tells_how_far_it_is(site: Site) -> None:
    journal = site.open()
    visits(journal, 5)
    seen: list[tuple[int, int]] = []
    report = journal.verify(lambda done, total: seen.append((done, total)))
    assert (report.ok, report.entries, report.epochs) == (True, 15, 1)
    assert seen[-1] == (15, 15)
    journal.close()
    sql(site.journal_file(), "DELETE FROM records WHERE seq = 4")
    from edge.journal.verify import verify_directory

    assert [fault.code for fault in verify_directory(site.folder).faults] == ["journal.gap"]


class Pruning(Journal):
    """Something else happens between the two questions of a read."""

    between: Callable[[], object] | None = None

    def digest_at(self, seq: int) -> bytes | None:
        digest = super().digest_at(seq)
        if self.between is not None:
            between, self.between = self.between, None
            between()
        return digest


def test_a_read_of_what_is_pruned_meanwhile_finds_nothing_and_no_damage(site: Site) -> None:
    journal = Pruning.open(site.folder, GATEWAY, site.clock, site.random_bytes, site.settings, boot_id=BOOT)
    assert isinstance(journal, Pruning)
    visits(journal, 2)
    journal.acknowledge(4, NOW_MS)
    journal.acknowledge(5, NOW_MS + 40 * DAY_MS)
    journal.between = journal.prune
    assert journal.read(3, 10**6) == []
    assert journal.first_kept == 5
    assert len(journal.read(5, 10**6)) == 2
    journal.close()


def test_an_ack_for_another_epoch_moves_nothing(site: Site) -> None:
    journal = site.open()
    visits(journal, 1)
    with pytest.raises(JournalError) as caught:
        journal.acknowledge(2, NOW_MS, epoch=journal.epoch + 1)
    assert (caught.value.code, journal.acked) == ("journal.epoch", 0)
    journal.acknowledge(2, epoch=journal.epoch)  # of a cloud that tells no time
    assert (journal.acked, journal.server_time_ms) == (2, 0)
    journal.close()


def test_an_append_of_nothing_saves_nothing(site: Site) -> None:
    journal = site.open()
    assert journal.append() == []
    (entry,) = journal.append(weighing())
    assert (entry.seq, journal.head) == (1, 1)
    assert repr(entry).startswith(f"Entry(seq=1, digest={entry.digest.hex()[:16]}")
    journal.close()
