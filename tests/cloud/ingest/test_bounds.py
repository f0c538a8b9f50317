"""What ingest does at its bounds: nobody waits for ever, and what is not acked is only sent again.

The storage is the model, which fails on cue; that it equals Postgres is shown elsewhere.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from cloud.errors import DatabaseError, UnavailableError
from cloud.ingest import reading, service
from cloud.ingest.batches import Arrival, IngestReply, reply_to
from cloud.ingest.service import INBOX_MAX
from cloud.ingest.storage import StaleError, UnfitError
from cloud.ingest.views import Road
from cloud.kit.keyring import Keyring
from protocol.documents import (
    CloudKey,
    KeysBody,
    KeyUse,
    Name,
    build_document,
)
from tests.cloud.ingest.gateway import Gateway
from tests.cloud.ingest.modelled import PSEUDONYM, Bench, catalog, open_bench
from tests.proof.simulation.store import ModelLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path, seed=1)


async def test_who_submits_while_the_database_is_away_is_told_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SUBMIT_DEADLINE_S", 0.05)
    bench.model.away = True
    async with bench.ingest() as ingest:
        with pytest.raises(UnavailableError) as caught:
            await ingest.submit(b"whatever", "https", None)
    assert caught.value.code == "ingest.unavailable"


async def test_a_full_inbox_takes_no_more_and_says_so(bench: Bench) -> None:
    ingest = bench.ingest()  # not running: nothing is taken out
    taken = [ingest.offer(b"x", "mqtt", None) for _ in range(INBOX_MAX + 2)]
    assert [each is None for each in taken] == [False] * INBOX_MAX + [True] * 2
    assert ingest.counters.dropped == 2
    arrival = Arrival(b"y", Road.HTTPS, None, asyncio.get_running_loop().create_future())
    await ingest._give_back([arrival])
    assert arrival.reply.result().code == "ingest.busy"
    await ingest._give_back([arrival])
    assert (ingest.counters.dropped, arrival.tries) == (3, 2)


async def test_a_database_that_fails_again_and_again_leaves_nobody_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise DatabaseError("gone")

    bench.gateway.visit()
    async with bench.ingest() as ingest:
        with monkeypatch.context() as broken:
            broken.setattr(ModelLink, "apply", lost)
            reply = await ingest.submit(bench.gateway.frame(), "https", None)
        assert (reply.ack, reply.code) == (None, "ingest.failed")
        assert ingest.counters.failures >= service.TRIES_MAX
        assert (await ingest.submit(bench.gateway.frame(), "https", None)).ack is not None
    assert bench.model.balance("citizen", PSEUDONYM) == 12_000


async def test_cursors_that_never_stop_moving_are_given_up_not_chased_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moving(*_: object) -> None:
        raise StaleError("again")

    monkeypatch.setattr(service, "TRIES_MAX", 2)
    monkeypatch.setattr(service, "STALE_TRIES_MAX", 3)
    bench.gateway.visit()
    async with bench.ingest() as ingest:
        with monkeypatch.context() as broken:
            broken.setattr(ModelLink, "apply", moving)
            reply = await ingest.submit(bench.gateway.frame(), "https", None)
            assert reply.code == "ingest.failed"
            assert ingest.counters.stale in {3, 6}  # the second try may find its connection closed already
        assert (await ingest.submit(bench.gateway.frame(), "https", None)).ack is not None


async def test_a_frame_of_which_nothing_can_be_stored_is_refused_by_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        raise UnfitError("no room for any of it")

    monkeypatch.setattr(ModelLink, "apply", never)
    bench.gateway.visit()
    async with bench.ingest() as ingest:
        reply = await ingest.submit(bench.gateway.frame(), "https", None)
    assert (reply.ack, reply.code, reply.message) == (None, "ingest.unstorable", "no room for any of it")
    assert bench.model.tables.refusals == {(bench.gateway.id, "https", "ingest.unstorable"): 1}


@pytest.mark.parametrize("moves", [2, 5])
async def test_a_search_for_the_culprit_goes_on_when_cursors_move_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Up to a bound; then the frame is tried again from the start."""
    whole = ModelLink.apply
    answers = iter([UnfitError("one of them"), *[StaleError("moved")] * moves])

    async def stumbling(link: ModelLink, *values: object) -> None:
        answer = next(answers, None)
        if answer is not None:
            raise answer
        await whole(link, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "STALE_TRIES_MAX", 3)
    monkeypatch.setattr(ModelLink, "apply", stumbling)
    bench.gateway.visit()
    async with bench.ingest() as ingest:
        assert (await ingest.submit(bench.gateway.frame(), "https", None)).ack is not None
    assert bench.model.balance("citizen", PSEUDONYM) == 12_000


async def test_what_is_remembered_is_bounded_and_forgetting_it_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CURSORS_MAX", 0)
    monkeypatch.setattr(reading, "KEYS_MAX", -1)
    monkeypatch.setattr(reading, "CATALOGS_MAX", 0)
    neighbour = Gateway("ktm-drop-02", bench.gateway.catalog)
    bench.model.add_gateway(neighbour.id, neighbour.key.key_id, neighbour.key.public)
    async with bench.ingest() as ingest:
        for gateway in (bench.gateway, neighbour, bench.gateway):
            gateway.visit()
            assert (await ingest.submit(gateway.frame(), "https", None)).ack is not None
    assert bench.model.balance("citizen", PSEUDONYM) == 36_000


async def test_of_two_who_retry_a_record_at_once_one_applies_it(bench: Bench) -> None:
    gateway = bench.gateway
    gateway.weigh(gateway.open(), 1_000, "steel", rate=None, points=None)
    async with bench.ingest() as ingest:
        await ingest.submit(gateway.frame(), "https", None)
        bench.model.add_rate("steel", datetime(2020, 1, 1, tzinfo=UTC), 2_000)
        (held,) = (UUID(bytes=each) for each in bench.model.tables.quarantine)
        outcomes = await asyncio.gather(*(ingest.retry([held]) for _ in range(3)))
    assert sorted(outcomes, key=len) == [{}, {}, {held: None}]
    assert bench.model.balance("citizen", PSEUDONYM) == 2_000


async def test_keys_documents_of_others_and_keys_of_other_uses_vouch_for_no_catalogue(
    bench: Bench, tmp_path: Path
) -> None:
    old = Keyring.load_or_create(tmp_path / "old keys")
    digest, data, issued_at = catalog(old, 2)
    bench.model.add_catalog(digest, data, issued_at, 1, 2)
    own, strange = bench.keyring.root, old.root
    announced = KeysBody([CloudKey(KeyUse.ACK, old.document.public, 0, 1)])
    bench.model.add_key_document(build_document(Name.KEYS, 1, 1, 1, announced, own))
    announced = KeysBody([CloudKey(KeyUse.DOCUMENT, old.document.public, 0, 1)])
    bench.model.add_key_document(build_document(Name.KEYS, 1, 2, 1, announced, strange))
    bench.gateway.catalog = digest
    bench.gateway.visit()
    async with bench.ingest() as ingest:
        await ingest.submit(bench.gateway.frame(), "https", None)
    assert [held.row.code for held in bench.model.tables.quarantine.values()] == ["weighing.unknown_catalog"]


async def test_links_are_made_once_and_a_reply_is_given_once(bench: Bench) -> None:
    ingest = bench.ingest()
    assert await ingest._connect_writer() is await ingest._connect_writer()
    await ingest._disconnect()
    arrival = Arrival(b"", Road.HTTPS, None, asyncio.get_running_loop().create_future())
    for code in ("first", "second"):
        reply_to(arrival, IngestReply(None, code))
    assert arrival.reply.result().code == "first"
