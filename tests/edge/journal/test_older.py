"""What a frame says of earlier epochs: what is still held of them, nothing of those that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.journal.older import EVERYTHING
from protocol.frames import Older
from protocol.records import record_id
from tests.edge.journal.site import NOW_MS, Site, visits
from tests.edge.journal.test_damage import spoil_row

if TYPE_CHECKING:
    from edge.journal import Journal


def two_epochs(site: Site) -> tuple[Journal, Older]:
    """A journal in its second epoch, and what is to be told of the first."""
    journal = site.open()
    visits(journal, 2)
    journal.acknowledge(4, NOW_MS)
    digest = journal.digest_at(4)
    assert digest is not None
    first = Older(journal.epoch, 4, 6, record_id(digest).bytes)
    journal.new_epoch("forked")
    return journal, first


def test_each_earlier_epoch_is_told_with_its_mark_and_its_end(site: Site) -> None:
    journal, first = two_epochs(site)
    assert journal.older() == (first,)
    second = journal.epoch
    journal.new_epoch("forked")
    assert [one.epoch for one in journal.older()] == [first.epoch, second]
    assert journal.older() is journal.older()
    journal.close()


def test_what_was_carried_as_a_whole_is_not_told_beside_it(site: Site) -> None:
    journal, _ = two_epochs(site)
    journal.new_epoch(EVERYTHING, everything=True)
    assert journal.older() == ()
    whole = journal.epoch
    journal.new_epoch("forked")
    assert [one.epoch for one in journal.older()] == [whole]
    journal.close()


def test_an_epoch_that_cannot_be_opened_is_left_to_the_next_start(site: Site) -> None:
    journal, first = two_epochs(site)
    (site.folder / f"{first.epoch:016x}.journal").write_bytes(b"nothing is left of it" * 1000)
    assert journal.older() == ()
    journal.close()


def test_an_epoch_whose_records_cannot_be_found_is_left_to_the_next_start(site: Site) -> None:
    journal, first = two_epochs(site)
    path = site.folder / f"{first.epoch:016x}.journal"
    content = bytearray(path.read_bytes())
    at = content.find(b"pseudony\x01") // 4096 * 4096
    content[at] = 0xFF  # no kind of page has this number
    path.write_bytes(content)
    assert journal.older() == ()
    journal.close()


def test_a_repair_in_use_is_told_with_the_epoch_it_begins(site: Site) -> None:
    journal, first = two_epochs(site)
    assert journal.older() == (first,)
    hit, row = journal.epoch, journal.read(1, 1)[0]
    path = site.folder / f"{hit:016x}.journal"
    journal.close()
    spoil_row(path, row, 9)
    journal = site.open()
    assert [one.epoch for one in journal.older()] == [first.epoch]
    journal.close()
