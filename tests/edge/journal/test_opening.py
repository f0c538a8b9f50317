"""Files that do not belong where they are, disks that cannot keep a promise: nothing of them is trusted."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import apsw
import pytest

from edge.errors import JournalError
from edge.journal import Journal, files
from edge.journal.database import PAGE_BYTES
from edge.journal.filesystem import FileSystem, OpenFile
from edge.journal.wal import last_commit_holds, wal_frames, wal_path
from protocol.bodies import GatewayStopped
from protocol.records import genesis_digest
from tests.edge.hand_clock import NOW_MS, HandClock
from tests.edge.journal.site import BOOT, GATEWAY, SMALL, Site, crash, sql, visits
from tests.edge.journal.test_damage import carried, spoil_row
from tests.proof.disk.disk import Disk, Fault
from tests.proof.disk.promise import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from protocol.bodies import Body


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def refused(opening: Callable[[], object]) -> str:
    with pytest.raises(JournalError) as caught:
        opening()
    return caught.value.code


def test_a_disk_on_which_sqlite_cannot_share_memory_is_refused(tmp_path: Path) -> None:
    disk = FileSystem()
    disk.vfs = "unix-dotfile"
    assert refused(lambda: Site(tmp_path).open_on(disk)) == "journal.not_durable"
    assert not list(tmp_path.glob("*.journal*"))


def test_a_folder_where_a_file_should_be_is_told_and_left(site: Site) -> None:
    site.open().close()
    (site.folder / "00000000000000ff.journal").mkdir()
    assert refused(site.open) == "journal.unopened"
    (site.folder / "00000000000000ff.journal").rmdir()
    site.open().close()


def test_a_copy_under_another_epochs_name_does_not_become_the_journal(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    journal.acknowledge(2, NOW_MS)
    told = held(journal)
    journal.close()
    path = site.journal_file()
    shutil.copy(path, site.folder / "00000000000000ff.journal")
    journal = site.open()
    assert "its name and its content differ" in journal.birth.detail
    assert held(journal)[-4:] == told[2:]
    assert path.exists()
    journal.close()


def test_a_file_without_its_row_of_facts_is_salvaged(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    rows = {entry.seq: entry.data for entry in journal.entries()}
    journal.close()
    sql(site.journal_file(), "DROP TABLE journal")
    journal = site.open()
    assert "state cannot be read" in journal.birth.detail
    assert carried(journal) == rows
    journal.close()


def test_an_epochs_number_is_never_used_twice_nor_is_it_nought(site: Site) -> None:
    first = site.open()
    epoch = first.epoch
    first.close()
    numbers = iter([bytes(8), (epoch << 11).to_bytes(8, "big"), (5 << 11).to_bytes(8, "big")])
    journal = Journal.open(site.folder, GATEWAY, HandClock(), lambda _: next(numbers), SMALL, boot_id=BOOT)
    journal.new_epoch("forked")
    assert journal.epoch == 5
    journal.close()


def test_a_file_that_cannot_be_read_at_all_is_kept(tmp_path: Path, recorded: Disk) -> None:
    journal = Site(tmp_path).open_on(recorded)
    visits(journal, 2)
    path = tmp_path / f"{journal.epoch:016x}.journal"
    journal.close()
    recorded.fault = lambda operation, name: (
        Fault.EIO if operation == "read" and name == path.name and path.exists() else None
    )
    journal = Site(tmp_path, seed=2).open_on(recorded)
    assert (journal.birth.reason, journal.head) == ("damaged", 0)
    assert journal.birth.set_aside == (path.with_name(path.name + ".damaged"),)
    journal.close()


class _Rotting(FileSystem):
    """A file is hit as soon as another has been set aside."""

    def __init__(self) -> None:
        self.hits = 1

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        if target.name.endswith(".damaged") and self.hits:
            self.hits -= 1
            (source.parent / "00000000000000ff.journal").write_bytes(b"no journal" * 1000)


def test_a_disk_that_rots_while_it_is_repaired_ends_in_an_error_and_the_next_try_repairs(site: Site) -> None:
    journal = site.open_on(_Rotting())
    visits(journal, 2)
    told = held(journal)
    writer = journal._store._writer
    assert writer is not None
    writer.execute("UPDATE records SET data = zeroblob(9) WHERE seq = 3")
    assert refused(lambda: journal.new_epoch("forked")) == "journal.unread"
    journal.new_epoch("forked")
    assert held(journal) == told[:2] + told[3:]
    journal.close()


def test_a_log_left_behind_by_a_power_cut_follows_the_file_that_was_set_aside(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    row = journal.read(2, 1)[0]
    path = site.journal_file()
    journal.close()
    spoil_row(path, row, 5)
    site.open().close()
    left = path.with_name(path.name + "-wal")
    left.write_bytes(b"a log")  # as if its renaming had not happened yet
    site.open().close()
    assert not left.exists()
    assert path.with_name(path.name + ".damaged-wal").read_bytes() == b"a log"


def test_a_start_does_not_wait_for_ever_for_somebody_who_reads(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    reader = apsw.Connection(str(site.journal_file()))
    reader.execute("BEGIN; SELECT count(*) FROM records").fetchall()
    visits(journal, 1)
    crash(journal)
    again = site.open()
    assert again.head == 9
    reader.close()
    again.close()


class _Blind(FileSystem):
    """A disk that cannot read the beginning of a log, or nothing of it, by the journal's own reads."""

    def __init__(self, below: int) -> None:
        self.below = below

    def open(self, path: Path) -> OpenFile:
        return _BlindFile(path, self.below if path.name.endswith("-wal") else 0)


class _BlindFile(OpenFile):
    def __init__(self, path: Path, below: int) -> None:
        super().__init__(path)
        self._below = below

    def read(self, length: int, offset: int) -> bytes:
        if offset < self._below:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(length, offset)


@pytest.mark.parametrize("below", [30, 10**9])
def test_a_start_does_not_fail_when_the_head_of_a_torn_log_cannot_be_read(site: Site, below: int) -> None:
    journal = site.open()
    visits(journal, 2)
    told = held(journal)
    path = site.journal_file()
    crash(journal)
    log = path.with_name(path.name + "-wal")
    last = log.stat().st_size - 4120
    content = bytearray(log.read_bytes())
    content[last + 4 : last + 8] = bytes(4)  # what says that a transaction ends here
    log.write_bytes(content)
    assert isinstance(wal_frames(path, _Blind(below)), list)
    journal = site.open_on(_Blind(below))
    assert set(held(journal)) <= set(told)
    assert len(held(journal)) >= 5
    journal.close()


def test_an_epoch_of_thousands_of_records_is_carried_in_many_commits(site: Site) -> None:
    journal = site.open()
    bodies: list[Body] = [GatewayStopped(str(number)) for number in range(2_001)]
    told = [entry.digest for entry in journal.append(*bodies)]
    journal.new_epoch("forked")
    assert held(journal) == told
    journal.close()


def test_a_file_that_only_begins_with_our_digest_is_not_ours_to_use(site: Site) -> None:
    site.open().close()
    path = site.journal_file()
    epoch = files.epoch_of(path) or 0
    digest = genesis_digest("somebody-else", epoch)
    sql(path, f"UPDATE journal SET gateway = 'somebody-else', anchor_digest = x'{digest.hex()}'")
    assert refused(site.open) == "journal.foreign"


def test_a_log_of_one_transaction_is_whole_until_it_is_hit(tmp_path: Path) -> None:
    path, disk = tmp_path / "one.journal", FileSystem()
    connection = apsw.Connection(str(path))
    list(
        connection.execute(
            f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = wal; CREATE TABLE one (a)"
        )
    )
    assert wal_frames(path, disk)
    assert last_commit_holds(path, disk)
    with wal_path(path).open("r+b") as log:
        log.seek(-1, os.SEEK_END)
        log.write(b"\x55")
    assert not last_commit_holds(path, disk)
    connection.close(True)
