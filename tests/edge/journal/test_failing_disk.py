"""What a failing disk once lost: each of these was found by making every operation fail."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.config import JournalSettings
from edge.errors import JournalError
from edge.journal import Journal
from edge.journal.filesystem import FileSystem, OpenFile
from edge.journal.opening import Site as Place
from edge.journal.opening import examine_all, next_epoch
from protocol.bodies import GatewayStopped
from tests.edge.hand_clock import HandClock
from tests.edge.journal.site import (
    BOOT,
    DAY_MS,
    GATEWAY,
    NOW_MS,
    SMALL,
    Site,
    crash,
    visits,
    weighing,
)
from tests.proof.disk.disk import Disk, Fault
from tests.proof.disk.image import Image, Kept
from tests.proof.disk.promise import held
from tests.proof.disk.states import make

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unwilling(FileSystem):
    """The real file system, which refuses some of the journal's own operations."""

    def __init__(self) -> None:
        self.no_sync = False
        self.reads_refused = 0

    def sync_folder(self, folder: Path) -> None:
        if self.no_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_folder(folder)

    def open(self, path: Path) -> OpenFile:
        return _Unwilling(path, self)


class _Unwilling(OpenFile):
    def __init__(self, path: Path, disk: Unwilling) -> None:
        super().__init__(path)
        self._disk = disk

    def read(self, length: int, offset: int) -> bytes:
        if self._disk.reads_refused:
            self._disk.reads_refused -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(length, offset)


def opened(folder: Path, disk: FileSystem, seed: int = 1) -> Journal:
    return Site(folder, seed).open_on(disk)


def test_a_weighing_is_not_lost_when_a_new_epoch_has_its_name_but_the_folder_cannot_be_synced(
    tmp_path: Path,
) -> None:
    disk = Unwilling()
    journal = opened(tmp_path, disk)
    visits(journal, 2)
    disk.no_sync = True
    with pytest.raises(JournalError) as caught:
        journal.new_epoch("forked")
    assert caught.value.code == "journal.failed"
    disk.no_sync = False
    told = journal.append(weighing())[0].digest
    crash(journal)
    again = opened(tmp_path, disk, seed=2)
    assert told in held(again)
    assert len(held(again)) == 7
    again.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.close()


def test_a_record_shown_after_a_kill_is_not_lost_when_the_power_fails_next(
    tmp_path: Path, recorded: Disk
) -> None:
    image = Image()
    recorded.on_event = image.take
    journal = opened(tmp_path, recorded)
    journal.append(weighing())
    recorded.fault = lambda operation, _: Fault.EIO if operation == "sync" else None
    with pytest.raises(JournalError) as caught:
        journal.append(weighing())
    assert caught.value.code == "journal.unsure"
    crash(journal)
    recorded.fault = lambda *_: None
    shown = held(again := opened(tmp_path, recorded))  # what a cache holds that the disk may not
    crash(again)
    left = tmp_path / "left"
    make(left, image.state(image.everything()._replace(changes=0)))
    after = Site(left).open()
    assert held(after) == shown
    after.close()


def test_records_are_not_lost_when_the_last_sync_of_a_new_epoch_fails(tmp_path: Path, recorded: Disk) -> None:
    journal = opened(tmp_path, recorded)
    told = [entry.digest for _ in range(8) for entry in journal.append(*[GatewayStopped("x" * 4000)] * 200)]

    def last_sync(operation: str, name: str) -> Fault | None:
        return Fault.EIO if operation == "sync" and name.endswith(".journal.new") else None

    recorded.fault = last_sync
    with pytest.raises(JournalError):
        journal.new_epoch("forked")
    recorded.fault = lambda *_: None
    told.append(journal.append(weighing())[0].digest)
    assert held(journal) == told
    crash(journal)
    again = opened(tmp_path, recorded, seed=2)
    assert held(again) == told
    again.close()


def damaged_site(folder: Path) -> list[bytes]:
    """Six records; the page of the records' table does not hold what it should."""
    site = Site(folder)
    journal = site.open()
    visits(journal, 2)
    told = held(journal)
    journal.close()
    path = site.journal_file()
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    content[0] ^= 0xFF
    path.write_bytes(content)
    return told


def test_records_are_not_lost_when_their_pages_are_read_only_at_the_second_try(tmp_path: Path) -> None:
    told, disk = damaged_site(tmp_path), Unwilling()
    disk.reads_refused = 3
    journal = opened(tmp_path, disk, seed=2)
    assert (journal.birth.reason, disk.reads_refused) == ("damaged", 0)
    assert held(journal) == told
    journal.close()


def test_records_are_not_lost_when_a_file_that_could_not_be_read_is_whole_after_all(tmp_path: Path) -> None:
    site = Site(tmp_path)
    journal = site.open()
    visits(journal, 2)
    journal.close()
    path = site.journal_file()
    kept = tmp_path.with_name("kept")
    shutil.copy(path, kept)
    for seed in range(2, 8):  # whichever epoch's number is the greater
        path.write_bytes(b"\0" * 4096 + kept.read_bytes()[4096:])
        place = Place(tmp_path, GATEWAY, BOOT, HandClock(), Site(tmp_path, seed).random_bytes, Unwilling())
        store, _ = next_epoch(place, "damaged", examine_all(place))
        store.close()
        shutil.copy(kept, path)  # not set aside yet, and now the disk reads it
        again = Site(tmp_path, seed).open()
        assert again.epoch == store.state.epoch
        again.close()
        store.path.unlink()


@pytest.mark.parametrize("byte", [8, 12, 16, 4])
def test_the_last_record_is_not_lost_unnoticed_when_its_frame_in_the_log_was_hit(
    tmp_path: Path, byte: int
) -> None:
    site = Site(tmp_path)
    journal = site.open()
    visits(journal, 3)
    told = held(journal)
    crash(journal)
    wal = site.journal_file().with_name(site.journal_file().name + "-wal")
    content = bytearray(wal.read_bytes())
    last = len(content) - 4120
    if byte == 4:
        content[last + 4 : last + 8] = bytes(4)  # what says that a transaction ends here
    else:
        content[last + byte] ^= 0x10
    wal.write_bytes(content)
    again = Site(tmp_path, 2).open()
    assert again.birth.reason == "damaged"
    assert held(again) == told
    again.close()


def test_records_are_not_lost_when_the_pointers_of_their_page_were_hit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    journal = site.open()
    visits(journal, 4)
    told = held(journal)
    journal.close()
    path = site.journal_file()
    content = bytearray(path.read_bytes())
    page = content.find(next(iter(told))) // 4096 * 4096
    content[page : page + 32] = b"\xff" * 32
    path.write_bytes(content)
    again = Site(tmp_path, 2).open()
    assert held(again) == told
    again.close()


def test_intake_is_not_lost_for_good_when_the_schema_was_hit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    journal = site.open()
    visits(journal, 2)
    journal.close()
    path = site.journal_file()
    path.write_bytes(path.read_bytes().replace(b"    hour INTEGER", b"    houq INTEGER"))
    again = Site(tmp_path, 2).open()
    again.append(weighing())
    again.acknowledge(again.head, NOW_MS)
    assert again.acked == again.head
    again.close()


def test_a_disk_that_does_not_answer_has_no_room_and_is_told_as_such(tmp_path: Path, recorded: Disk) -> None:
    settings = SMALL
    journal = Journal.open(
        tmp_path, GATEWAY, HandClock(), Site(tmp_path).random_bytes, settings, boot_id=BOOT, disk=recorded
    )
    recorded.fault = lambda operation, _: Fault.EIO if operation in {"free", "stat", "list"} else None
    assert journal.disk_free_bytes() == 0
    assert journal.intake_allowed().allowed  # no room is asked for here
    with pytest.raises(JournalError):
        journal.new_epoch("forked")
    recorded.fault = lambda *_: None
    journal.append(weighing())
    journal.close()


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_pruning_that_a_disk_refuses_is_told_and_goes_on_later(
    tmp_path: Path, recorded: Disk, room: int
) -> None:
    site = Site(tmp_path, settings=JournalSettings(ballast_bytes=0, free_bytes_min=1 << 20))
    journal = site.open_on(recorded)
    visits(journal, 2)
    journal.acknowledge(6, NOW_MS)
    while journal.prune():
        pass
    recorded.spare_bytes = room
    while journal.prune():
        pass
    recorded.fault = lambda operation, _: Fault.EIO if operation in {"write", "sync", "open"} else None
    for _ in range(2):  # the second does not even get its file open
        with pytest.raises(JournalError):
            journal.acknowledge(6, NOW_MS + DAY_MS)
    with pytest.raises(JournalError) as caught:
        journal.prune()
    assert caught.value.code == "journal.failed"
    recorded.fault = lambda *_: None
    assert journal.prune() == 0
    journal.append(weighing())
    journal.close()


def test_a_ballast_that_a_disk_refuses_is_set_aside_later(tmp_path: Path, recorded: Disk) -> None:
    recorded.fault = lambda operation, _: Fault.ENOSPC if operation == "reserve" else None
    site = Site(tmp_path, settings=JournalSettings(ballast_bytes=4096, free_bytes_min=0))
    journal = site.open_on(recorded)
    assert not (tmp_path / "ballast").exists()
    recorded.fault = lambda operation, _: Fault.EIO if operation in {"reserve", "remove"} else None
    journal.append(weighing())
    recorded.fault = lambda *_: None
    journal.append(weighing())
    assert (tmp_path / "ballast").stat().st_size == 4096
    journal.close()


def test_a_refused_weighing_is_not_credited_beside_its_repetition_when_the_power_fails_next(
    tmp_path: Path, recorded: Disk
) -> None:
    """That the log was emptied of it was not synced yet, while its content was, on the way."""
    image = Image()
    recorded.on_event = image.take
    journal = opened(tmp_path, recorded)
    journal.append(weighing())
    journal.acknowledge(1, NOW_MS)
    shown = held(journal)
    faults = [Fault.EIO]
    recorded.fault = lambda operation, _: faults.pop() if operation == "sync" and faults else None
    with pytest.raises(JournalError) as caught:
        journal.append(weighing())
    assert (caught.value.code, faults) == ("journal.failed", [])
    left = tmp_path / "left"
    make(left, image.state(Kept(0)))
    after = Site(left).open()
    assert held(after) == shown
    after.close()
    crash(journal)
