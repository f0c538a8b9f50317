"""Rows are recognised in raw pages, whatever else is in them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from edge.journal.cells import rows_in, states_in, varint
from protocol.bodies import GatewayStopped
from tests.edge.journal.site import GATEWAY, Site, visits

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


@pytest.fixture
def content(tmp_path: Path) -> tuple[int, bytes]:
    """The epoch and the file of a journal with a record that spills over."""
    site = Site(tmp_path)
    journal = site.open()
    visits(journal, 3)
    journal.append(GatewayStopped("x" * 6000))
    epoch = journal.epoch
    journal.close()
    return epoch, site.journal_file().read_bytes()


def page_of(content: bytes, number: int) -> bytes:
    return content[(number - 1) * PAGE : number * PAGE].ljust(PAGE, b"\0")


def seqs(content: bytes) -> set[int]:
    pages = range(1, len(content) // PAGE + 1)
    found = [rows_in(page_of(content, page), lambda number: page_of(content, number)) for page in pages]
    return {seq for rows in found for seq, _, _ in rows}


def test_every_row_is_found_without_asking_the_page(content: tuple[int, bytes]) -> None:
    assert seqs(content[1]) >= set(range(1, 11))


def test_the_row_of_facts_is_found_by_its_gateway_and_epoch(content: tuple[int, bytes]) -> None:
    epoch, data = content
    pages = [page_of(data, number + 1) for number in range(len(data) // PAGE)]
    found = [state for page in pages for state in states_in(page, GATEWAY, epoch)]
    assert {(state.epoch, state.generation, state.acked) for state in found} == {(epoch, 1, 0)}
    assert not [state for page in pages for state in states_in(page, GATEWAY, epoch + 1)]
    assert not [state for page in pages for state in states_in(page, "another", epoch)]


def test_no_garbage_stops_the_search(content: tuple[int, bytes]) -> None:
    epoch, data = content
    chance = random.Random(1)
    for _ in range(300):
        hit = bytearray(data)
        for _ in range(chance.choice([1, 20, 2000])):
            hit[chance.randrange(len(hit))] = chance.choice(
                [0, 4, 5, 0x4C, 0x80, 0xFF, chance.randrange(256)]
            )
        seqs(bytes(hit))
        for number in range(len(data) // PAGE):
            list(states_in(page_of(bytes(hit), number + 1), GATEWAY, epoch))


def test_a_number_of_nine_bytes_and_one_beyond_the_end() -> None:
    assert varint(b"\xff" * 9, 0) == (2**64 - 1, 9)
    assert varint(b"\x81", 0) == (-1, 1)
