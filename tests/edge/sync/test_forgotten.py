"""A cloud that has lost older epochs is given all that is kept; who cannot do so goes on all the same."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.errors import JournalError
from edge.journal.older import EVERYTHING, older_epochs
from edge.sync.courier import export_courier, import_courier
from edge.sync.https import HttpsRoad
from protocol.acks import Ack
from protocol.bodies import RecordCarried
from protocol.delivery import Cursor, Received, forgot
from protocol.frames import Frame, open_frame
from protocol.records import decode_record
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import cloud_answer, syncing, until, web
from tests.edge.sync.plain_cloud import PlainCloud
from tests.edge.sync.test_courier import acks_for, write_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge.sync.conftest import Gateway


@dataclass
class Forgetful(PlainCloud):
    """Asks for every older epoch of which it has nothing."""

    def ack_for(self, frame: Frame, received: Received) -> Ack:
        asks = forgot(frame, lambda older: (frame.gateway, older.epoch) in self.cursors)
        return msgspec.structs.replace(super().ack_for(frame, received), forgot=asks)


@pytest.fixture
async def forgetful(gateway: Gateway) -> Gateway:
    """A gateway in its second epoch, all of it acknowledged by a cloud that is gone."""
    cloud = Forgetful(gateway.cloud.key, gateway.cloud.gateway_key)
    await gateway.fill(3)
    await gateway.journal.acknowledge(3)
    await gateway.journal.new_epoch("damaged")
    await gateway.fill(2)
    await gateway.journal.acknowledge(2)
    return replace(gateway, cloud=cloud)


def carried(gateway: Gateway) -> int:
    bodies = (decode_record(data).body for data in gateway.delivered)
    return sum(isinstance(body, RecordCarried) for body in bodies)


def names_older(gateway: Gateway) -> int:
    last = open_frame(gateway.cloud.envelopes[-1], lambda _: gateway.cloud.gateway_key)
    return len(last.older)


async def test_what_older_epochs_held_is_not_lost_when_the_cloud_forgets_them(forgetful: Gateway) -> None:
    journal = forgetful.journal
    async with (
        web(cloud_answer(forgetful.cloud)) as url,
        syncing(forgetful, HttpsRoad(url, GATEWAY)),
    ):
        await until(lambda: journal.head == journal.acked == 5)
    assert journal.journal.birth.reason == EVERYTHING
    assert (carried(forgetful), names_older(forgetful)) == (5, 0)


async def test_an_epoch_that_holds_nothing_yet_speaks_of_the_older_ones(gateway: Gateway) -> None:
    cloud = Forgetful(gateway.cloud.key, gateway.cloud.gateway_key)
    gateway = replace(gateway, cloud=cloud)
    await gateway.fill(3)
    await gateway.journal.acknowledge(3)
    await gateway.journal.new_epoch("damaged")
    async with web(cloud_answer(cloud)) as url, syncing(gateway, HttpsRoad(url, GATEWAY)):
        await until(lambda: gateway.journal.head == gateway.journal.acked == 3)
    assert carried(gateway) == 3


async def test_a_journal_without_room_for_everything_keeps_sending_what_is_new(
    forgetful: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = forgetful.journal.journal
    asked: list[bool] = []

    def no_room(_reason: str, *, everything: bool = False) -> None:
        asked.append(everything)
        raise JournalError("no room", code="journal.full")

    monkeypatch.setattr(journal, "new_epoch", no_room)
    async with (
        web(cloud_answer(forgetful.cloud)) as url,
        syncing(forgetful, HttpsRoad(url, GATEWAY)),
    ):
        await until(lambda: forgetful.wiring.traffic.alarms.get("journal.full", 0) > 0)
        await forgetful.fill(4)
        await until(lambda: journal.acked == journal.head == 6)
    assert asked == [True]


async def test_a_disk_that_refuses_a_forked_epochs_successor_is_told_and_tried_again(
    forgetful: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = forgetful.journal.journal
    epoch, begin = journal.epoch, journal.new_epoch
    refusals = iter([True])

    def refusing(reason: str, **how: Any) -> None:
        if next(refusals, False):
            raise JournalError("not now", code="journal.failed")
        begin(reason, **how)

    monkeypatch.setattr(journal, "new_epoch", refusing)
    forgetful.cloud.cursors[GATEWAY, epoch] = Cursor(GATEWAY, epoch, 0, bytes(32), closed=True)
    async with web(cloud_answer(forgetful.cloud)) as url, syncing(forgetful, HttpsRoad(url, GATEWAY)):
        await until(lambda: journal.epoch != epoch)
    assert forgetful.wiring.traffic.alarms["journal.failed"] == 1


async def test_by_courier_too_everything_is_carried(forgetful: Gateway, tmp_path: Path) -> None:
    outbox, answer = tmp_path / "up.courier", tmp_path / "down.courier"
    await export_courier(forgetful.wiring, outbox, lambda _done, _total: None)
    write_answer(answer, acks_for(forgetful.cloud, outbox))
    result = await import_courier(forgetful.wiring, answer)
    assert (result.new_epoch, result.everything) == (True, True)
    assert forgetful.journal.head == 5


async def test_an_older_epoch_that_cannot_be_read_is_not_spoken_of(forgetful: Gateway) -> None:
    journal = forgetful.journal.journal
    (one,) = await forgetful.journal.older()
    assert (one.acked, one.head) == (3, 3)
    path = next(path for path in journal.directory.glob("*.journal") if f"{one.epoch:016x}" in path.name)
    shutil.copy(path, path.with_suffix(".kept"))
    path.write_bytes(b"no database at all" * 512)
    assert older_epochs(journal.directory, journal._site.disk, journal._store.state) == ()
    shutil.move(path.with_suffix(".kept"), path)
