from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tests.proof.full_disk import drop_point
from tests.proof.full_disk.drop_point import Promise

if TYPE_CHECKING:
    from deploy.local.stack import Site, Stack


class Book:
    """Both sides' exports as they are compared, without the processes that wrote them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.credited = [{"id": "a", "seq": 2, "net_g": 500}, {"id": "b", "seq": 5, "net_g": 700}]
        self.held = {"b"}
        monkeypatch.setattr(drop_point, "credited_by", lambda _: self.credited)
        monkeypatch.setattr(drop_point, "weighings_of", lambda _: dict.fromkeys(self.held))

    cloud = None

    def findings(self) -> list[str]:
        promise = Promise(cast("Site", self), cast("Stack", self))
        return promise._compare({(2, 500), (5, 700)})


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    return Book(monkeypatch)


def test_what_was_acknowledged_and_made_room_is_not_lost(book: Book) -> None:
    assert book.findings() == []


def test_a_weighing_that_was_shown_and_is_nowhere_is_found(book: Book) -> None:
    del book.credited[0]
    assert book.findings() == ["500 g were shown as saved (seq 2) and are lost"]


def test_a_weighing_that_stays_in_the_journal_is_found(book: Book) -> None:
    book.held.add("c")
    assert book.findings() == ["the weighing c is in the journal and not credited"]


def test_a_weighing_credited_twice_is_found(book: Book) -> None:
    book.credited.append(book.credited[0])
    assert book.findings() == ["a weighing is credited twice"]
