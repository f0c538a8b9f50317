"""The walks of the delivery session find what a broken session does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol import delivery
from protocol.acks import Verdict
from protocol.delivery import Cursor, Received
from tests.proof.histories.deliveries import DELIVERIES, walk
from tests.protocol import delivery_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.frames import Frame


def found(walks: int = 300) -> int:
    """How many walks break a promise."""
    return sum(bool(walk(f"1.{number}").violations) for number in range(walks))


def test_an_honest_session_breaks_none_and_replays_alike() -> None:
    assert found(30) == 0
    assert walk("1.5") == walk("1.5")


def test_a_cloud_that_takes_what_it_has_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(cursor: Cursor, frame: Frame, known: Callable[[int], bytes | None]) -> Received:
        if frame.first <= cursor.through and not cursor.closed:
            cursor = Cursor(cursor.gateway, cursor.epoch, frame.first - 1, frame.prev_digest)
        return delivery.receive(cursor, frame, known)

    monkeypatch.setattr(delivery_world, "receive", forgetful)
    assert found() > 0


def test_a_cloud_that_looks_at_no_digest_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(cursor: Cursor, frame: Frame, known: Callable[[int], bytes | None]) -> Received:
        received = delivery.receive(cursor, frame, known)
        if received.verdict is Verdict.FORKED and not cursor.closed:
            return Received(Verdict.OK, cursor)
        return received

    monkeypatch.setattr(delivery_world, "receive", trusting)
    assert found() > 0


def test_a_gateway_that_believes_any_ack_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery.Sender, "_agrees", lambda *_: True)
    assert found() > 0


def test_a_gateway_that_never_goes_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery.Sender, "road_lost", lambda _: None)
    assert found() > 0


def test_the_row_counts_what_it_ran() -> None:
    tasks = DELIVERIES.split(3_000, 3)
    heard: list[int] = []
    counts = [DELIVERIES.run(task, heard.append).count for task in tasks]
    assert counts == [task.count for task in tasks]
    assert sum(heard) == sum(counts) >= 3_000
