"""Damage: the file is set aside, never deleted, and all that the chain vouches for is carried on."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.journal.salvage import verified
from protocol.bodies import GatewayStopped, RecordCarried
from protocol.records import genesis_digest, next_digest
from tests.edge.journal.site import GATEWAY, Site, chain_holds, crash, sql, visits, weighing

if TYPE_CHECKING:
    from edge.journal import Journal
    from edge.journal.store import Row


def carried(journal: Journal) -> dict[int, bytes]:
    """Original seq to original bytes of every record carried, each proven against its digest chain."""
    found = {}
    for entry in journal.entries():
        body = entry.record.body
        assert isinstance(body, RecordCarried)
        found[body.seq] = body.data
    return found


def written(site: Site, count: int, acked: int = 0) -> dict[int, bytes]:
    """Fill a journal with 3 · count records, close it, return bytes by seq."""
    journal = site.open()
    visits(journal, count)
    journal.acknowledge(acked, 1)
    rows = {entry.seq: entry.data for entry in journal.entries()}
    journal.close()
    return rows


def spoil(path: Path, at: int, value: int = 0x55) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= value
    path.write_bytes(data)


def spoil_row(path: Path, row: bytes, at: int) -> None:
    """Hit a row wherever its bytes lie: page splits leave dead copies behind."""
    data = bytearray(path.read_bytes())
    start = data.find(row)
    assert start > 0
    while start >= 0:
        data[start + at] ^= 0x55
        start = data.find(row, start + 1)
    path.write_bytes(data)


def test_a_flipped_bit_in_a_record_costs_that_record_and_no_other(site: Site) -> None:
    rows = written(site, 100)
    path = site.journal_file()
    spoil_row(path, rows[150], 5)
    before = path.read_bytes()
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert journal.birth.set_aside == (path.with_name(path.name + ".damaged"),)
    assert (journal.birth.carried, journal.birth.lost) == (299, 1)
    assert journal.birth.set_aside[0].read_bytes() == before
    assert not path.exists()
    assert carried(journal) == {seq: data for seq, data in rows.items() if seq != 150}
    assert chain_holds(journal)
    journal.append(weighing())
    journal.close()
    again = site.open()
    assert (again.birth.reason, again.head) == ("continued", 300)
    again.close()


def test_a_flipped_bit_in_a_stored_digest_costs_nothing(site: Site) -> None:
    rows = written(site, 20)
    path = site.journal_file()
    spoil_row(path, rows[31], len(rows[31]) + 7)
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert journal.birth.lost == 0
    assert carried(journal) == rows
    journal.close()


def test_what_was_acknowledged_is_not_carried_if_the_mark_can_be_trusted(site: Site) -> None:
    rows = written(site, 20, acked=30)
    path = site.journal_file()
    spoil_row(path, rows[40], 1)
    journal = site.open()
    assert sorted(carried(journal)) == [*range(31, 40), *range(41, 61)]
    assert journal.birth.lost == 1
    journal.close()


def test_an_acknowledged_mark_that_was_hit_is_not_believed(site: Site) -> None:
    rows = written(site, 20, acked=30)
    path = site.journal_file()
    sql(path, "UPDATE journal SET acked = 55")
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert carried(journal) == rows
    journal.close()


def test_a_weighing_is_not_lost_when_the_row_it_would_be_chained_to_was_hit(site: Site) -> None:
    written(site, 20, acked=60)
    sql(site.journal_file(), "UPDATE records SET digest = zeroblob(32) WHERE seq = 60")
    journal = site.open()
    visits(journal, 1)
    assert chain_holds(journal), "no cloud would take the new ones"
    assert journal.verify().ok
    assert "seq 60 is not the one that was acknowledged" in journal.birth.detail
    assert journal.birth.lost == 0
    journal.close()


@pytest.mark.parametrize("keep", [0, 50, 4096, 9000, -9000])
def test_a_truncated_file_is_set_aside_and_what_is_left_of_it_carried(site: Site, keep: int) -> None:
    rows = written(site, 100)
    path = site.journal_file()
    path.write_bytes(path.read_bytes()[:keep])
    journal = site.open()
    assert journal.birth.reason == "damaged"
    found = carried(journal)
    assert found.items() <= rows.items()
    assert (len(found) > 40) == (keep < 0)
    journal.append(weighing())
    journal.close()


@pytest.mark.parametrize("pages", [1, 2, 4])
def test_a_garbage_header_does_not_cost_the_records_behind_it(site: Site, pages: int) -> None:
    rows = written(site, 100)
    path = site.journal_file()
    data = path.read_bytes()
    path.write_bytes(random.Random(5).randbytes(4096 * pages) + data[4096 * pages :])
    journal = site.open()
    found = carried(journal)
    assert found.items() <= rows.items()
    assert len(found) >= 300 if pages < 4 else len(found) > 200
    journal.close()


def test_large_records_that_spill_over_pages_are_salvaged_too(site: Site) -> None:
    journal = site.open()
    for size in (10, 3900, 4000, 4050, 4500, 8000, 20):
        journal.append(GatewayStopped("x" * size))
    rows = {entry.seq: entry.data for entry in journal.entries()}
    journal.close()
    path = site.journal_file()
    path.write_bytes(b"\xff" * 4096 + path.read_bytes()[4096:])
    journal = site.open()
    assert carried(journal) == rows
    journal.close()


@pytest.mark.parametrize(("at", "value"), [(6, 8), (4, 1), (1, 2)])
def test_a_weighing_is_not_lost_when_its_page_tells_its_own_content_wrong(
    site: Site, at: int, value: int
) -> None:
    """Where it begins, how many rows it has, what is free in it: the next append would write over a row."""
    rows = written(site, 4)
    path = site.journal_file()
    spoil(path, path.read_bytes().find(rows[2]) // 4096 * 4096 + at, value)
    journal = site.open()
    saved = journal.append(weighing(), weighing())
    assert (journal.birth.reason, journal.birth.lost) == ("damaged", 0)
    assert [entry.seq for entry in saved] == [13, 14]
    assert {body.seq: body.data for body in inside(journal)} == rows
    journal.close()


def inside(journal: Journal) -> list[RecordCarried]:
    """What is carried."""
    bodies = [entry.record.body for entry in journal.entries()]
    return [body for body in bodies if isinstance(body, RecordCarried)]


def test_damage_inside_the_wal_is_noticed_although_sqlite_reads_past_it(site: Site) -> None:
    journal = site.open()
    visits(journal, 40)
    rows = {entry.seq: entry.data for entry in journal.entries()}
    crash(journal)
    wal = site.journal_file().with_name(site.journal_file().name + "-wal")
    spoil(wal, wal.stat().st_size // 2)
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert "WAL" in journal.birth.detail
    assert carried(journal) == rows
    journal.close()


@pytest.mark.parametrize("at", [3, 17, 25, 32 + 9])
def test_a_damaged_wal_header_does_not_make_the_wal_vanish(site: Site, at: int) -> None:
    journal = site.open()
    visits(journal, 40)
    rows = {entry.seq: entry.data for entry in journal.entries()}
    crash(journal)
    wal = site.journal_file().with_name(site.journal_file().name + "-wal")
    spoil(wal, at)
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert carried(journal) == rows
    journal.close()


def test_a_power_cut_between_the_new_epoch_and_setting_aside_ends_the_same(site: Site) -> None:
    rows = written(site, 10)
    path = site.journal_file()
    spoil_row(path, rows[15], 5)
    journal = site.open()
    epoch, head = journal.epoch, journal.head
    journal.close()
    aside = journal.birth.set_aside[0]
    aside.rename(path)  # as if the rename had not happened yet
    again = site.open()
    assert (again.epoch, again.head) == (epoch, head)
    assert again.birth.reason == "continued"
    assert again.birth.set_aside == (aside,)
    again.close()


def test_a_half_built_epoch_is_ignored(site: Site) -> None:
    rows = written(site, 10)
    (site.folder / "00000000000000ff.journal.new").write_bytes(b"half")
    journal = site.open()
    assert journal.birth.reason == "continued"
    assert {entry.seq: entry.data for entry in journal.entries()} == rows
    assert not list(site.folder.glob("*.new"))
    journal.close()


@settings(max_examples=40, deadline=None)
@given(
    hits=st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=12),
    in_wal=st.booleans(),
)
def test_no_damage_ever_stops_the_start_or_invents_a_record(
    hits: list[tuple[int, int]], in_wal: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder) / "journal")
        journal = site.open()
        visits(journal, 30)
        rows = {entry.seq: entry.data for entry in journal.entries()}
        crash(journal) if in_wal else journal.close()
        path = site.journal_file()
        target = path.with_name(path.name + "-wal") if in_wal else path
        data = bytearray(target.read_bytes())
        for at, value in hits:
            data[at % len(data)] ^= value
        target.write_bytes(data)
        journal = site.open()
        if journal.birth.reason == "damaged":
            found = carried(journal)
            assert found.items() <= rows.items()
            assert len(found) >= len(rows) - 25 * len(hits)
            journal.append(weighing())
        else:
            assert {entry.seq: entry.data for entry in journal.entries()} == rows
        assert chain_holds(journal)
        journal.close()


def chained(count: int) -> list[Row]:
    digest, rows = genesis_digest(GATEWAY, 7), []
    for seq in range(1, count + 1):
        data = bytes([seq]) * 9
        digest = next_digest(digest, data)
        rows.append((seq, data, digest))
    return rows


@given(
    count=st.integers(1, 30),
    missing=st.sets(st.integers(1, 30), max_size=5),
    data_hit=st.sets(st.integers(1, 30), max_size=5),
    digest_hit=st.sets(st.integers(1, 30), max_size=5),
)
def test_a_row_is_intact_if_and_only_if_the_chain_can_say_so(
    count: int, missing: set[int], data_hit: set[int], digest_hit: set[int]
) -> None:
    whole = chained(count)
    rows = [
        (seq, b"?" if seq in data_hit else data, b"!" * 32 if seq in digest_hit else digest)
        for seq, data, digest in whole
        if seq not in missing
    ]
    found = {row.seq: row for row in verified(rows, {0: genesis_digest(GATEWAY, 7)})}
    for seq, row in found.items():
        assert (row.data, row.digest) == whole[seq - 1][1:]
        assert next_digest(row.prev_digest, row.data) == row.digest
    hurt = missing | data_hit | digest_hit
    for seq in range(1, count + 1):
        if not {seq, seq - 1} & hurt:
            assert seq in found
        if seq in digest_hit - data_hit - missing and not {seq - 1, seq + 1} & hurt and seq < count:
            assert seq in found
