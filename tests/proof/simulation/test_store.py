"""Ingest keeps its promises on the model store too, when connections die and backups come back."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from cloud.errors import UnavailableError
from cloud.ingest.service import Ingest
from protocol.acks import Ack, open_ack
from protocol.bodies import HolderKind, WeighingVoided
from tests.cloud.ingest.modelled import PSEUDONYM, Bench, open_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASH = b"h" * 16


def serial_uuid() -> UUID:
    return UUID(int=0xA << 96)


class World(Bench):
    """A bench whose answers are opened as a gateway does."""

    async def send(self, ingest: Ingest, frame: bytes) -> Ack:
        reply = await ingest.submit(frame, "https", None)
        assert reply.ack is not None, reply
        key = self.keyring.ack
        return open_ack(reply.ack, lambda key_id: key.public if key_id == key.key_id else None)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nothing is printed: tracebacks cost more than everything else here."""
    with capture_logs():
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    bench = open_bench(tmp_path, seed=7)
    return World(bench.model, bench.gateway, bench.keyring)


async def test_a_visit_is_credited_once_however_often_it_comes(world: World) -> None:
    world.gateway.visit(1_500)
    async with world.ingest() as ingest:
        for _ in range(3):
            assert (await world.send(ingest, world.gateway.frame())).through == 3
    assert world.model.balance("citizen", PSEUDONYM) == 18_000
    assert world.model.faults() == []


async def test_what_was_spent_and_taken_back_is_settled_by_the_next_credit(world: World) -> None:
    gateway, model = world.gateway, world.model
    model.add_citizen(serial_uuid(), PSEUDONYM)
    deposit = gateway.open(HolderKind.GUEST, HASH)
    weighing = gateway.weigh(deposit, 1_000, kind=HolderKind.GUEST, holder=HASH)
    async with world.ingest() as ingest:
        await world.send(ingest, gateway.frame())
        assert model.claim(HASH, PSEUDONYM) == 12_000
        gateway.append(WeighingVoided(deposit, weighing, "taken back"))
        await world.send(ingest, gateway.frame())
        assert model.balance("citizen", PSEUDONYM) == 0
        gateway.visit()
        await world.send(ingest, gateway.frame())
    assert model.balance("citizen", PSEUDONYM) == 12_000
    assert model.faults() == []


async def test_a_connection_that_dies_in_a_commit_loses_and_doubles_nothing(world: World) -> None:
    for _ in range(40):
        world.gateway.visit()
    chance = random.Random(5)

    async def dying(_: float) -> None:
        await asyncio.sleep(0)
        if chance.random() < 0.04:
            world.model.kill()

    world.model._sleep = dying
    async with world.ingest() as ingest:
        for first in range(1, 121, 5):
            ack = await world.send(ingest, world.gateway.frame(first, first + 4))
            assert ack.through >= first + 4
        assert ingest.counters.failures > 5
    assert world.model.balance("citizen", PSEUDONYM) == 40 * 12_000
    assert world.model.faults() == []


async def test_a_cloud_restored_from_a_backup_takes_what_it_forgot_again(world: World) -> None:
    for _ in range(4):
        world.gateway.visit()
    async with world.ingest() as ingest:
        await world.send(ingest, world.gateway.frame(1, 3))
        backup = world.model.snapshot()
        await world.send(ingest, world.gateway.frame(4, 9))
        world.model.restore(backup)
        assert world.model.balance("citizen", PSEUDONYM) == 12_000
        ack = await world.send(ingest, world.gateway.frame(10, 12))
        assert ack.expect == 4
        await world.send(ingest, world.gateway.frame(4, 12))
    assert world.model.balance("citizen", PSEUDONYM) == 48_000


async def test_a_model_that_is_away_is_told_so(world: World) -> None:
    world.model.away = True
    with pytest.raises(UnavailableError):
        await world.model.open(serial_uuid)
