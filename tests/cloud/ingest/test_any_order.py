"""In whatever order the frames of a day arrive, gaps filled later: the end is that of their own order."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from cloud.errors import NotFoundError
from tests.cloud.ingest.gateway import Gateway, add_gateway, serial_of
from tests.cloud.ingest.modelled import Bench, open_bench
from tests.cloud.ingest.orders import (
    GUEST_POINTS,
    SPLITS,
    day,
    frames,
    guest_of,
    parts_of,
    random_frames,
    revoked_of,
)
from tests.cloud.ingest.test_exactly_once import REVOKED_CARD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.cloud.ingest.conftest import Site
    from tests.proof.simulation.store_tables import Tables

SETTLEMENT = 4
PEOPLE = 10
"""Cards of one day."""


def state(tables: Tables) -> dict[str, Any]:
    """All that shall not depend on the order: everything but events, alarms, cursors and who carried what."""
    alike = ("visits", "weighings", "accounts", "claims", "pickups", "pickup_bins", "movements")
    kept: dict[str, Any] = {name: dict(getattr(tables, name)) for name in alike}
    kept["kilos"] = {key: net_g for key, net_g in tables.kilos.items() if net_g}
    kept["transfers"] = {key: row for key, row in tables.transfers.items() if row.code != SETTLEMENT}
    kept["held"] = [each.row for each in tables.quarantine.values() if each.state == "held"]
    kept["gaps"] = [each for each in tables.gaps.values() if each]
    kept["records"] = {row[3]: row[:7] for there in tables.records.values() for row in there}
    return kept


class Day:
    """A day in the model, taken in anew for each order."""

    def __init__(self, folder: Path) -> None:
        self.bench: Bench = open_bench(folder, seed=7)
        self.head = day(self.bench.gateway)
        self.bench.model.revoke_card(revoked_of(1), 0)
        self.empty = self.bench.model.snapshot()

    async def take_in(self, sent: Iterable[bytes], *, together: bool = False) -> dict[str, Any]:
        """What the cloud holds after these frames; `together`: they share a batch."""
        self.bench.model.restore(self.empty)
        async with self.bench.ingest() as ingest:
            if together:
                replies = await asyncio.gather(*(ingest.submit(each, "courier", None) for each in sent))
                assert all(each.ack for each in replies)
            else:
                for each in sent:
                    assert (await ingest.submit(each, "courier", None)).ack
        assert self.bench.model.faults() == []
        return state(self.bench.model.tables)


@pytest.fixture
def a_day(tmp_path: Path) -> Day:
    return Day(tmp_path)


@pytest.mark.parametrize("cuts", SPLITS, ids=str)
async def test_every_order_of_a_days_frames_ends_the_same(a_day: Day, cuts: tuple[int, ...]) -> None:
    gateway = a_day.bench.gateway
    with capture_logs():
        expected = await a_day.take_in([gateway.frame()])
        assert (expected["held"], expected["gaps"]) == ([], [])
        for number, order in enumerate(permutations(parts_of(gateway, cuts))):
            sent = frames(gateway, list(order))
            got = await a_day.take_in(sent, together=number % 2 == 1)
            assert got == expected, f"in the order {order}"


async def test_random_orders_of_a_day_with_a_part_of_it_carried_end_the_same(a_day: Day) -> None:
    gateway = a_day.bench.gateway
    with capture_logs():
        expected = await a_day.take_in([gateway.frame()])
        for seed in range(400):
            got = await a_day.take_in(random_frames(gateway, random.Random(seed)), together=seed % 2 == 1)
            del got["records"]
            assert got == {key: expected[key] for key in got}, f"with seed {seed}"


async def test_a_claim_between_any_two_frames_gets_the_guest_what_is_theirs(a_day: Day) -> None:
    bench, heir = a_day.bench, serial_of(9)[:8]
    with capture_logs():
        for seed in range(200):
            bench.model.restore(a_day.empty)
            bench.model.add_citizen(UUID(int=9), heir)
            async with bench.ingest() as ingest:
                for sent in random_frames(bench.gateway, random.Random(seed)):
                    assert (await ingest.submit(sent, "courier", None)).ack
                    with suppress(NotFoundError):
                        bench.model.claim(guest_of(1), heir)
            assert bench.model.faults() == []
            points = {
                row.kind: row.balance for row in bench.model.tables.accounts.values() if row.key == heir
            }
            assert (points["citizen"], points.get("receivable", 0)) == (GUEST_POINTS, 0), f"with seed {seed}"


IN_POSTGRES = {
    "visits": "SELECT seq, opened_at, closed_at, outcome, holder_kind FROM deposits t",
    "weighings": "SELECT t.seq, deposit_seq, net_g, points, manual, pending, holder_kind, v.seq"
    " FROM weighings t LEFT JOIN LATERAL (SELECT r.seq FROM records r"
    " WHERE (r.gateway_id, r.epoch) = (t.gateway_id, t.epoch) AND r.id = t.voided_by) v ON true",
    "transfers": "SELECT t.seq, x.code, x.state, x.amount, a.kind FROM weighings t"
    " JOIN transfers x ON x.source = t.id LEFT JOIN accounts a ON a.id = x.credit",
    "pickups": "SELECT seq, opened_at, closed_at, outcome, bins, net_g FROM pickups t",
    "bins": "SELECT seq, bin, net_g, estimated, emptied, pickup_seq FROM pickup_bins t",
    "movements": "SELECT seq, kind, net_g, estimated, lines::text, pickup_seq FROM custody_movements t",
    "held": "SELECT seq, code FROM quarantine t",
    "gaps": "SELECT first, last FROM gaps t",
}
KEPT = {"held": " AND state = 'held'"}
"""Rows of one gateway, told by their places: ids begin with the gateway's own."""


def in_postgres(site: Site, gateway: str, person: int) -> dict[str, Any]:
    """What a day left."""
    kept: dict[str, Any] = {
        name: sorted(site.rows(f"{query} WHERE t.gateway_id = %s{KEPT.get(name, '')}", gateway), key=repr)
        for name, query in IN_POSTGRES.items()
    }
    people = [serial_of(person + each) for each in range(PEOPLE)]
    kept["points"] = [site.balance(each[:8]) for each in people]
    kept["holding"] = site.balance(b"card:" + revoked_of(person), "holding")
    kept["guest"] = site.balance(b"guest:" + guest_of(person), "holding")
    parties = [f"gateway:{gateway}", *(f"card:{each[:8].hex()}" for each in people)]
    held = site.rows(
        "SELECT party, net_g FROM custody_balances WHERE party = ANY(%s) AND net_g <> 0", parties
    )
    kept["kilos"] = sorted((parties.index(row[0]), row[1]) for row in held)
    claims = "SELECT d.seq FROM claims c JOIN deposits d ON d.id = c.deposit_id WHERE c.hash = %s"
    kept["claims"] = site.rows(claims, guest_of(person))
    return kept


async def a_day_in_postgres(site: Site, number: int, chance: random.Random | None) -> dict[str, Any]:
    """A gateway of its own, with people of its own; without `chance` its day comes in order."""
    person = number * PEOPLE
    gateway = Gateway(f"ktm-day-{number}", site.gateway.catalog)
    add_gateway(site.url, gateway)
    day(gateway, person)
    site.write("INSERT INTO citizens VALUES (%s, %s)", UUID(int=person + 1), revoked_of(person)[:8])
    site.write(REVOKED_CARD, revoked_of(person), UUID(int=person + 1), 1_000_000_000)
    sent = [gateway.frame()] if chance is None else list(random_frames(gateway, chance))
    if number % 2:
        replies = await asyncio.gather(*(site.ingest.submit(each, "courier", None) for each in sent))
        assert all(each.ack for each in replies)
    else:
        for each in sent:
            await site.send(each, "courier")
    return in_postgres(site, gateway.id, person)


async def test_random_orders_of_a_day_end_the_same_in_postgres(site: Site) -> None:
    expected = await a_day_in_postgres(site, 0, None)
    assert (expected["held"], expected["gaps"], expected["guest"]) == ([], [], GUEST_POINTS)
    for seed in range(1, 13):
        assert await a_day_in_postgres(site, seed, random.Random(seed)) == expected, f"with seed {seed}"
