"""The full check names what is wrong, goes on after it, and says how far it is."""

from __future__ import annotations

import pytest

from edge.errors import JournalError
from edge.journal.export import export_directory
from edge.journal.statements import QUERIES
from edge.journal.verify import FAULTS_MAX, verify_directory
from protocol.bodies import GatewayStopped
from protocol.records import next_digest
from tests.edge.journal.site import NOW_MS, Site, sql, visits, weighing


def test_so_many_faults_are_named_and_more_are_only_counted(site: Site) -> None:
    journal = site.open()
    visits(journal, 40)
    journal.acknowledge(120, NOW_MS)
    journal.close()
    sql(site.journal_file(), "UPDATE records SET data = zeroblob(9) WHERE seq < 120")
    journal = site.open()
    report = journal.verify()
    assert (report.ok, report.entries, len(report.faults)) == (False, 120, FAULTS_MAX)
    journal.close()


def test_a_file_that_cannot_be_read_is_a_fault_and_the_others_are_checked(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    (site.folder / "00000000000000ff.journal").write_bytes(b"no journal" * 1000)
    (site.folder / "notes.journal").write_bytes(b"no epoch's name")
    told: list[tuple[int, int]] = []
    report = journal.verify(lambda done, total: told.append((done, total)))
    assert [(fault.epoch, fault.code) for fault in report.faults] == [(0xFF, "journal.unreadable")]
    assert (report.entries, report.epochs, told) == (6, 2, [(6, 6)])
    journal.close()


def test_a_long_check_says_how_far_it_is(site: Site) -> None:
    journal = site.open()
    journal.append(*[GatewayStopped("")] * 10_001)
    told: list[tuple[int, int]] = []
    assert journal.verify(lambda done, total: told.append((done, total))).ok
    assert told == [(10_000, 10_001), (10_001, 10_001)]
    journal.close()


def test_a_mark_that_is_not_the_record_it_stands_on_is_a_fault(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    journal.acknowledge(3, NOW_MS)
    writer = journal._store._writer
    assert writer is not None
    writer.execute("UPDATE journal SET acked_digest = zeroblob(32)")
    report = journal.verify()
    assert [(fault.seq, fault.code) for fault in report.faults] == [(3, "journal.mark")]
    assert not report.ok
    journal.close()


def test_a_table_that_breaks_its_own_rules_is_a_fault_and_is_set_aside(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    journal.quarantined(3, "weighing.sum")
    journal.close()
    path = site.journal_file()
    for one, other in (("code TEXT NOT NULL", "code TEXT"), ("code TEXT", "code TEXT NOT NULL")):
        sql(
            path,
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema"
            f" SET sql = replace(sql, '{one}', '{other}') WHERE name = 'quarantined'",
        )
        sql(path, "UPDATE quarantined SET code = NULL" if other == "code TEXT" else "SELECT 1")
    report = verify_directory(site.folder)
    assert {fault.code for fault in report.faults} == {"journal.structure"}
    journal = site.open()
    assert (journal.birth.reason, journal.birth.lost, journal.head) == ("damaged", 0, 6)
    journal.close()


def test_a_record_that_this_version_cannot_read_travels_and_is_exported_as_it_is(site: Site) -> None:
    journal = site.open()
    visits(journal, 1)
    data = b"of a later version"
    digest = next_digest(journal.head_digest, data)
    journal.close()
    path = site.journal_file()
    sql(path, QUERIES["insert_record"].replace("?, ?, ?", f"4, x'{data.hex()}', x'{digest.hex()}'"))
    journal = site.open()
    journal.new_epoch("forked")
    lines = list(export_directory(site.folder))
    assert [(line["kind"], line.get("code"), line.get("data")) for line in lines][3:] == [
        (None, "record.malformed", data.hex())
    ]
    journal.close()
    path.unlink()
    assert [line["id"] for line in export_directory(site.folder)] == [line["id"] for line in lines]


def test_a_time_that_no_calendar_holds_is_exported_as_none(site: Site) -> None:
    site.clock.wall = 10**15
    journal = site.open()
    journal.append(weighing())
    assert [line["recorded_at"] for line in export_directory(site.folder)] == [None]
    journal.close()


def test_an_export_of_a_folder_with_a_damaged_file_says_what_to_do(site: Site) -> None:
    journal = site.open()
    journal.close()
    site.journal_file().write_bytes(b"no journal" * 1000)
    with pytest.raises(JournalError, match="start the gateway once"):
        list(export_directory(site.folder))
