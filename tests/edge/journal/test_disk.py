"""A disk that is full or failing: nothing is told that is not so, and there is always room to prune."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import apsw
import pytest

from edge.config import JournalSettings
from edge.errors import JournalError
from edge.journal.statements import QUERIES
from tests.edge.journal.site import NOW_MS, Site, chain_holds, crash, visits, weighing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.journal import Journal


class FaultyFile(apsw.VFSFile):
    """A file whose writes and syncs ask first whether they may."""

    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.ask("sync")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.ask("write")
        super().xWrite(data, offset)


class FaultyDisk(apsw.VFS):
    """SQLite's default file system, until it is told to fail."""

    def __init__(self) -> None:
        super().__init__("faulty", "unix", makedefault=True)
        self.ask: Callable[[str], None] = lambda _: None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> FaultyFile:  # noqa: N802
        return FaultyFile(self, name, flags)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk()
    yield faulty
    faulty.unregister()


def failing(what: str, code: int, times: int = 10**9) -> Callable[[str], None]:
    left = [times]

    def ask(operation: str) -> None:
        if operation == what and left[0] > 0:
            left[0] -= 1
            raise apsw.exception_for(code)

    return ask


def test_a_full_disk_is_told_as_such_and_the_next_append_works_once_there_is_room(
    site: Site, disk: FaultyDisk
) -> None:
    journal = site.open()
    visits(journal, 2)
    disk.ask = failing("write", apsw.SQLITE_FULL)
    with pytest.raises(JournalError) as caught:
        journal.append(weighing())
    assert caught.value.code in {"journal.full", "journal.unsure"}
    assert not journal.intake_allowed()
    assert journal.intake_allowed().reason == "journal_failed"
    disk.ask = lambda _: None
    assert journal.append(weighing())[0].seq == 7
    assert journal.intake_allowed()
    assert chain_holds(journal)
    journal.close()


def test_a_commit_whose_sync_failed_is_not_saved_and_no_restart_brings_it_back(
    site: Site, disk: FaultyDisk
) -> None:
    journal = site.open()
    visits(journal, 2)
    disk.ask = failing("sync", apsw.SQLITE_IOERR_FSYNC, times=1)
    with pytest.raises(JournalError) as caught:
        journal.append(weighing(777))
    assert caught.value.code == "journal.failed"
    assert journal.head == 6
    crash(journal)
    again = site.open()
    assert (again.head, again.birth.reason) == (6, "continued")
    assert again.append(weighing())[0].seq == 7
    assert chain_holds(again)
    again.close()


def test_a_commit_that_is_there_after_all_is_told_as_saved(
    site: Site, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = site.open()
    visits(journal, 2)
    insert = QUERIES["insert_record"]
    # The row is committed and only then does the statement fail: the answer was lost, not the row.
    monkeypatch.setitem(QUERIES, "insert_record", f"{insert}; SELECT no_such_function()")
    (entry,) = journal.append(weighing(777))
    monkeypatch.undo()
    assert (entry.seq, journal.head) == (7, 7)
    assert journal.append(weighing())[0].seq == 8
    assert chain_holds(journal)
    journal.close()


def test_if_nobody_can_tell_the_next_append_stands_after_what_was_really_saved(
    site: Site, disk: FaultyDisk
) -> None:
    journal = site.open()
    visits(journal, 2)
    disk.ask = failing("sync", apsw.SQLITE_IOERR_FSYNC)
    with pytest.raises(JournalError) as unsure:
        journal.append(weighing(777))
    assert unsure.value.code == "journal.unsure"
    with pytest.raises(JournalError) as still:
        journal.append(weighing(778))
    assert still.value.code == "journal.failed"
    disk.ask = lambda _: None
    entry = journal.append(weighing(779))[0]
    assert chain_holds(journal)
    grams = [getattr(entry.record.body, "net_g", None) for entry in journal.entries(7)]
    assert grams in ([777, 779], [779])
    assert entry.seq == journal.head
    journal.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    path = folder / "somebody-else"
    with path.open("ab", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return path
    return path


ROOMY = JournalSettings(ballast_bytes=1_000_000, free_bytes_min=500_000)


def test_on_a_full_disk_the_ballast_makes_room_until_the_disk_is_free_again(tiny: Path) -> None:
    site = Site(tiny / "journal", settings=ROOMY)
    ballast = site.folder / "ballast"
    journal = site.open()
    assert ballast.stat().st_size == 1_000_000
    visits(journal, 60)
    other = fill(tiny)
    assert journal.intake_allowed().reason == "disk_low"
    saved = journal.append(weighing())[0].seq  # the last words of a visit still fit
    for _ in range(100):
        saved = journal.append(weighing())[0].seq
    assert not ballast.exists()
    assert not journal.intake_allowed()
    journal.acknowledge(saved, NOW_MS)
    while journal.prune():
        pass
    assert journal.first_kept == saved + 1  # given up early, since room is short
    other.unlink()
    assert journal.prune() == 0
    assert ballast.stat().st_size == 1_000_000
    assert journal.intake_allowed()
    assert chain_from_anchor_holds(journal)
    journal.close()


def test_a_gateway_does_not_stay_dark_when_the_disk_fills_again_right_after_a_moment_of_room(
    tiny: Path,
) -> None:
    """Nothing but an append ran between: no housekeeping set the ballast aside again."""
    site = Site(tiny / "journal", settings=ROOMY)
    journal = site.open()
    visits(journal, 20)
    other = fill(tiny)
    journal.append(weighing())
    assert not (site.folder / "ballast").exists()
    other.unlink()
    saved = journal.append(weighing())[0].seq
    assert (site.folder / "ballast").stat().st_size == 1_000_000
    fill(tiny)
    crash(journal)
    site.boot_id = "after the power cut"
    again = site.open()
    assert (again.head, again.boot) == (saved, 2)
    again.close()


def test_the_ballast_is_not_lost_when_setting_it_aside_was_broken_off(site: Site) -> None:
    site.settings = ROOMY
    site.open().close()
    os.truncate(site.folder / "ballast", 0)
    journal = site.open()
    assert (site.folder / "ballast").stat().st_size == 1_000_000
    journal.close()


def chain_from_anchor_holds(journal: Journal) -> bool:
    return journal.verify().ok and journal.append(weighing())[0].seq == journal.head


def test_when_even_the_ballast_is_used_up_an_append_fails_and_says_so(tiny: Path) -> None:
    site = Site(tiny / "journal", settings=ROOMY)
    journal = site.open()
    fill(tiny)
    journal.append(weighing())
    fill(tiny)
    told, code = write_until_refused(journal)
    assert code in {"journal.full", "journal.failed", "journal.unsure"}
    crash(journal)
    (tiny / "somebody-else").unlink()
    again = site.open()
    assert [entry.digest for entry in again.entries(2)][: len(told)] == told
    assert again.head - 1 - len(told) == 0 or code == "journal.unsure"
    again.close()


def write_until_refused(journal: Journal) -> tuple[list[bytes], str]:
    told: list[bytes] = []
    while True:
        try:
            told.append(journal.append(weighing())[0].digest)
        except JournalError as error:
            return told, error.code


def test_a_gateway_that_starts_on_a_full_disk_opens_its_journal(tiny: Path) -> None:
    site = Site(tiny / "journal", settings=ROOMY)
    journal = site.open()
    visits(journal, 20)
    journal.close()
    fill(tiny)
    site.boot_id = "after the power cut"
    journal = site.open()
    assert (journal.head, journal.boot) == (60, 2)
    assert chain_holds(journal)
    journal.close()


_LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from edge.errors import JournalError
from tests.edge.journal.site import Site, weighing
journal = Site(Path(sys.argv[1])).open()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    while True:
        print(journal.append(weighing())[-1].digest.hex(), flush=True)
except JournalError as error:
    print(error.code, journal.head)
"""


def test_a_file_that_may_not_grow_loses_nothing_that_was_told(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    script = _LIMITED.format(root=os.getcwd())
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    *digests, last = done.stdout.splitlines()
    assert last.split()[0] in {"journal.failed", "journal.full", "journal.unsure"}
    journal = Site(folder).open()
    assert len(digests) > 20
    held = [entry.digest.hex() for entry in journal.entries()]
    assert held[: len(digests)] == digests
    assert chain_holds(journal)
    journal.close()


def test_autonomy_shrinks_with_the_room_that_is_left(site: Site) -> None:
    journal = site.open()
    hours = journal.autonomy_h()
    assert 0 < hours < 24 * 365 * 1000
    visits(journal, 1)
    assert journal.disk_free_bytes() <= shutil.disk_usage(site.folder).total
    journal.close()
