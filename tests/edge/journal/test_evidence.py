"""Files that were set aside: bounded, but never is the only copy of a record among what goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.config import JournalSettings
from edge.journal.retention import EVIDENCE_FILES_MAX
from tests.edge.journal.site import NOW_MS, Site, chain_holds, crash, visits
from tests.edge.journal.test_damage import spoil, spoil_row

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal import Journal


def aside(site: Site) -> set[str]:
    return {path.name for path in site.folder.glob("*.damaged")}


def current_file(journal: Journal) -> Path:
    return journal.directory / f"{journal.epoch:016x}.journal"


def digest_hit(site: Site) -> str:
    """A stored digest is hit and nothing is missing; the name under which the file was set aside."""
    journal = site.open()
    visits(journal, 2)
    path, row = current_file(journal), next(journal.entries(journal.head - 2)).data
    journal.close()
    spoil_row(path, row, len(row) + 3)
    journal = site.open()
    (gone,) = journal.birth.set_aside
    assert (journal.birth.reason, journal.birth.lost) == ("damaged", 0)
    journal.close()
    return gone.name


def settled(site: Site) -> Journal:
    """Open, all acknowledged, pruned until nothing is left to prune."""
    journal = site.open()
    journal.acknowledge(journal.head, NOW_MS)
    while journal.prune():
        pass
    return journal


def test_damage_day_after_day_does_not_fill_the_disk(site: Site) -> None:
    names = [digest_hit(site) for _ in range(EVIDENCE_FILES_MAX + 2)]
    assert aside(site) == set(names)
    journal = settled(site)
    assert aside(site) == set(names[2:])
    assert journal.take_forgotten() == [names[1], names[0]]
    assert journal.take_forgotten() == []
    assert chain_holds(journal)
    journal.close()


def test_evidence_stays_until_what_was_saved_of_it_is_acknowledged(site: Site) -> None:
    names = {digest_hit(site) for _ in range(EVIDENCE_FILES_MAX + 1)}
    journal = site.open()
    journal.acknowledge(journal.head - 3, NOW_MS)
    journal.acknowledge(1, NOW_MS)
    assert journal.prune() == 0
    assert aside(site) == names
    journal.close()


def test_the_only_copy_of_a_lost_record_is_never_removed(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    path, row = current_file(journal), journal.read(3, 1)[0]
    journal.close()
    spoil_row(path, row, 5)
    site.open().close()
    hurt = f"{path.name}.damaged"
    assert aside(site) == {hurt}
    site.settings = JournalSettings(ballast_bytes=0, free_bytes_min=0, disk_budget_bytes=1)
    digest_hit(site)
    journal = settled(site)
    assert aside(site) == {hurt}
    journal.close()


def test_a_last_record_that_nobody_can_prove_counts_as_missing(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    path, row = current_file(journal), journal.read(6, 1)[0]
    journal.close()
    spoil_row(path, row, len(row) + 3)  # no record follows that would confirm it
    journal = site.open()
    assert (journal.head, journal.birth.set_aside[0].name) == (5, f"{path.name}.damaged")
    journal.close()


def test_a_last_record_lost_with_the_log_is_never_said_to_be_elsewhere(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    path, row = current_file(journal), journal.read(6, 1)[0]
    crash(journal)
    log = path.with_name(path.name + "-wal")
    spoil(log, log.read_bytes().rfind(row) - 1)  # its length, without which nothing tells a row from none
    journal = site.open()
    assert (journal.head, journal.birth.set_aside[0].name) == (5, f"{path.name}.damaged")
    assert journal.birth.unproven
    journal.close()


def test_evidence_is_known_as_such_when_the_power_fails_before_it_is_set_aside(site: Site) -> None:
    name = digest_hit(site)
    epoch, generation, *_ = name.split(".")
    assert generation == "1"
    back = site.folder / f"{epoch}.journal"
    (site.folder / name).rename(back)  # as if the rename had not happened yet
    journal = site.open()
    assert (journal.birth.reason, [path.name for path in journal.birth.set_aside]) == ("continued", [name])
    journal.new_epoch("forked")
    (site.folder / name).rename(back)
    journal.close()
    journal = site.open()
    assert [path.name for path in journal.birth.set_aside] == [name]
    journal.close()


@pytest.mark.parametrize("settled_first", [True, False])
def test_an_older_file_that_is_hit_later_is_evidence_only(site: Site, settled_first: bool) -> None:
    journal = site.open()
    visits(journal, 2)
    path = current_file(journal)
    journal.new_epoch("forked")
    if settled_first:
        journal.acknowledge(journal.head, NOW_MS)
    journal.close()
    spoil(path, 1)
    journal = site.open()
    assert [one.name for one in journal.birth.set_aside] == [f"{path.stem}.0.journal.damaged"]
    assert (journal.birth.reason, journal.head) == ("continued", 6)
    journal.close()


def test_a_log_that_was_set_aside_goes_with_its_file(site: Site) -> None:
    journal = site.open()
    visits(journal, 40)
    path = current_file(journal)
    crash(journal)
    spoil(path.with_name(path.name + "-wal"), 4096 * 20)
    journal = site.open()
    (gone,) = journal.birth.set_aside
    assert gone.with_name(gone.name + "-wal").exists()
    journal.close()
    site.settings = JournalSettings(ballast_bytes=0, free_bytes_min=0, disk_budget_bytes=1)
    journal = settled(site)
    assert not list(site.folder.glob("*.damaged*"))
    journal.close()
