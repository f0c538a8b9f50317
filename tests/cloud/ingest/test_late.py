"""Records found in a gap later, or let out of quarantine, take full effect: as if they had come in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protocol.bodies import (
    BinEstimated,
    CustodyHandedOver,
    HolderKind,
    Outcome,
    PickupClosed,
    PickupOpened,
    WeighingVoided,
)
from protocol.records import ClockQuality
from tests.cloud.ingest.gateway import RATES, Gateway, add_catalog, serial_of
from tests.cloud.ingest.test_custody import COLLECTOR, DRIVER, holds, party
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

HASH = b"h" * 16


async def send_around(site: Site, first: int, last: int) -> None:
    """All records, those from `first` to `last` when the others are there: they were given up as lost."""
    gateway = site.gateway
    await site.send(gateway.frame(1, first - 1))
    await site.send(gateway.frame(last + 1, first_kept=last + 1))
    await site.send(gateway.frame(first, last), "courier")
    assert site.rows("SELECT first FROM gaps") == []


async def test_the_end_of_a_visit_is_not_lost_when_its_opening_is_found_later(site: Site) -> None:
    for _ in range(3):
        site.gateway.visit()
    gateway = site.gateway
    await site.send(gateway.frame(1, 3))
    ack = await site.send(gateway.frame(5, 9, first_kept=5))
    assert [(each.seq, each.code) for each in ack.quarantined] == [(6, "deposit.no_opening")]
    assert site.held() == [(6, "deposit.no_opening")]
    await site.send(gateway.frame(4, 9), "courier")
    ends = site.rows("SELECT seq, outcome, closed_at > opened_at FROM deposits ORDER BY seq")
    assert ends == [(1, "completed", True), (4, "completed", True), (7, "completed", True)]
    assert site.held() == []
    assert site.rows("SELECT seq, state, decided_by FROM quarantine") == [(6, "retried", "ingest")]


async def test_an_end_whose_opening_comes_in_the_same_batch_does_not_wait(site: Site) -> None:
    site.gateway.visit()
    opened = site.gateway.visit() - 1
    ends = (site.gateway.frame(1, 3), site.gateway.frame(5, first_kept=5), site.gateway.frame(4, 6))
    for arrival in [site.ingest.offer(frame, "mqtt", None) for frame in ends]:
        assert arrival is not None
        site.ack(await arrival)
    assert site.one("SELECT outcome FROM deposits WHERE seq = %s", opened) == "completed"
    assert site.held() == []


async def test_a_void_is_not_lost_when_its_weighing_is_found_later(site: Site) -> None:
    deposit = site.gateway.open()
    weighing = site.gateway.weigh(deposit)
    site.gateway.append(WeighingVoided(deposit, weighing, "taken back"))
    site.gateway.close(deposit)
    await send_around(site, weighing, weighing)
    assert (site.balance(PSEUDONYM), site.held()) == (0, [])
    assert site.one("SELECT count(*) FROM weighings WHERE voided_by IS NOT NULL") == 1
    assert holds(site) == {}


async def test_a_void_is_not_lost_when_its_weighing_is_let_out_of_quarantine(site: Site) -> None:
    deposit = site.gateway.open()
    unknown, site.gateway.catalog = site.gateway.catalog, b"c" * 32
    weighing = site.gateway.weigh(deposit, rate=9_000)
    site.gateway.append(WeighingVoided(deposit, weighing, "taken back"))
    site.gateway.catalog = unknown
    await site.send(site.gateway.frame())
    assert site.held() == [(2, "weighing.unknown_catalog"), (3, "void.no_weighing")]
    digest = add_catalog(site.url, site.keyring, 2, RATES | {"pet": 9_000})
    site.write("UPDATE documents SET digest = %s WHERE digest = %s", b"c" * 32, digest)
    asked = [row[0] for row in site.rows("SELECT id FROM quarantine WHERE seq = 2")]
    assert await site.ingest.retry(asked) == dict.fromkeys(asked)
    assert (site.balance(PSEUDONYM), site.held()) == (0, [])


async def test_all_that_is_asked_for_is_answered_when_one_lets_another_out(site: Site) -> None:
    deposit = site.gateway.open()
    unknown, site.gateway.catalog = site.gateway.catalog, b"c" * 32
    weighing = site.gateway.weigh(deposit, rate=9_000)
    site.gateway.append(WeighingVoided(deposit, weighing, "taken back"))
    site.gateway.catalog = unknown
    await site.send(site.gateway.frame())
    digest = add_catalog(site.url, site.keyring, 2, RATES | {"pet": 9_000})
    site.write("UPDATE documents SET digest = %s WHERE digest = %s", b"c" * 32, digest)
    asked = [row[0] for row in site.rows("SELECT id FROM quarantine")]
    assert await site.ingest.retry(asked) == dict.fromkeys(asked)


async def test_a_bin_found_after_its_hand_over_does_not_stay_with_the_collector(site: Site) -> None:
    opened = site.gateway.append(PickupOpened(COLLECTOR))
    site.gateway.append(BinEstimated(opened, "BIN-1", 700))
    site.gateway.append(BinEstimated(opened, "BIN-2", 700))
    site.gateway.append(CustodyHandedOver(opened, COLLECTOR, DRIVER, 1_400))
    site.gateway.append(BinEstimated(opened, "BIN-3", 50))
    site.gateway.append(PickupClosed(opened, Outcome.COMPLETED, 3, 1_450))
    await send_around(site, 3, 3)
    gateway = f"gateway:{site.gateway.id}"
    assert holds(site) == {(gateway, ""): -1_450, (party(COLLECTOR), ""): 50, (party(DRIVER), ""): 1_400}
    moved = site.rows("SELECT net_g, lines, estimated FROM custody_movements WHERE kind = 'handed_over'")
    assert moved == [(1_400, {"": 1_400}, True)]


async def test_a_hand_over_found_later_takes_no_bin_that_was_emptied_after_it(site: Site) -> None:
    opened = site.gateway.append(PickupOpened(COLLECTOR))
    site.gateway.append(BinEstimated(opened, "BIN-1", 700))
    site.gateway.append(CustodyHandedOver(opened, COLLECTOR, DRIVER, 700))
    site.gateway.append(BinEstimated(opened, "BIN-2", 50))
    await send_around(site, 3, 3)
    gateway = f"gateway:{site.gateway.id}"
    assert holds(site) == {(gateway, ""): -750, (party(COLLECTOR), ""): 50, (party(DRIVER), ""): 700}


async def test_a_pickup_is_not_lost_when_its_opening_is_found_later(site: Site) -> None:
    site.gateway.visit()
    opened = site.gateway.append(PickupOpened(COLLECTOR))
    site.gateway.append(BinEstimated(opened, "BIN-1", 700))
    site.gateway.append(CustodyHandedOver(opened, COLLECTOR, DRIVER, 700))
    site.gateway.append(PickupClosed(opened, Outcome.COMPLETED, 1, 700))
    await send_around(site, opened, opened)
    assert site.held() == []
    assert site.rows("SELECT outcome, bins, net_g FROM pickups") == [("completed", 1, 700)]
    assert holds(site)[party(DRIVER), ""] == 700
    assert (party(COLLECTOR), "") not in holds(site)


async def test_a_claim_names_its_visit_when_the_visit_is_found_after_its_weighing(site: Site) -> None:
    site.gateway.visit()
    opened = site.gateway.visit(kind=HolderKind.GUEST, holder=HASH) - 1
    await send_around(site, opened, opened)
    visit = site.one("SELECT id FROM deposits WHERE seq = %s", opened)
    assert site.rows("SELECT hash, deposit_id FROM claims") == [(HASH, visit)]


async def test_what_names_nothing_before_itself_never_takes_effect(site: Site) -> None:
    """Else it would depend on which frames arrive together."""
    deposit = site.gateway.open()
    site.gateway.append(WeighingVoided(deposit, 3, "not yet weighed"))
    site.gateway.weigh(deposit)
    site.gateway.close(5)
    site.gateway.open(holder=serial_of(2))
    site.gateway.close(deposit)
    await site.send(site.gateway.frame())
    assert site.held() == [(2, "void.no_weighing"), (4, "deposit.no_opening")]
    assert site.balance(PSEUDONYM) == 12_000
    assert site.rows("SELECT seq, outcome FROM deposits ORDER BY seq") == [(1, "completed"), (5, None)]


async def test_what_joined_no_chain_is_credited_when_it_comes_again_on_one(site: Site) -> None:
    """A folder of courier files, imported in the wrong order and then once more."""
    gateway = site.gateway
    for _ in range(3):
        gateway.visit()
    deposit = gateway.open()
    gateway.append(WeighingVoided(deposit, gateway.weigh(deposit), "taken back"))
    gateway.visit()
    await site.send(gateway.frame(1, 3))
    await site.send(gateway.frame(13, first_kept=13))
    await site.send(gateway.frame(7, 11), "courier")
    assert {code for _, code in site.held()} == {"record.stray"}
    ack = await site.send(gateway.frame(4, 12), "courier")
    assert ack.quarantined == []
    assert (site.held(), site.balance(PSEUDONYM)) == ([], 48_000)
    assert site.one("SELECT count(*) FROM weighings WHERE voided_by IS NOT NULL") == 1


async def test_a_stray_that_cannot_be_applied_keeps_none_of_its_neighbours(site: Site) -> None:
    gateway = site.gateway
    gateway.visit()
    gateway.visit()
    gateway.append(PickupClosed(4, Outcome.COMPLETED, 2**40, 0))
    gateway.append_bytes(b"rubbish")
    gateway.visit()
    gateway.visit()
    await site.send(gateway.frame(1, 3))
    await site.send(gateway.frame(12, first_kept=12))
    await site.send(gateway.frame(5, 10), "courier")
    await site.send(gateway.frame(4, 11), "courier")
    assert site.held() == [(7, "record.stray"), (8, "record.malformed")]
    assert site.balance(PSEUDONYM) == 48_000


async def test_a_void_that_arrives_while_its_weighing_is_let_out_of_quarantine_is_not_lost(
    site: Site,
) -> None:
    """Neither sees the other's work before it is committed: so one waits for the other."""
    gateway, known = site.gateway, site.gateway.catalog
    for number in range(2, 12):
        deposit = gateway.open()
        gateway.catalog = bytes([number]) * 32
        weighing = gateway.weigh(deposit, rate=9_000)
        gateway.catalog = known
        await site.send(gateway.frame(deposit))
        digest = add_catalog(site.url, site.keyring, number, RATES | {"pet": 9_000})
        site.write("UPDATE documents SET digest = %s WHERE digest = %s", bytes([number]) * 32, digest)
        asked = [row[0] for row in site.rows("SELECT id FROM quarantine WHERE state = 'held'")]
        void = gateway.append(WeighingVoided(deposit, weighing, "taken back"))
        await asyncio.gather(site.ingest.retry(asked), site.send(gateway.frame(void)))
        assert (site.balance(PSEUDONYM), site.held()) == (0, [])
    assert site.one("SELECT count(*) FROM weighings WHERE voided_by IS NOT NULL") == 10


async def test_the_time_of_a_weighing_that_joined_no_chain_can_be_repaired_once_it_did(site: Site) -> None:
    gateway = site.gateway
    gateway.visit()
    gateway.clock = ClockQuality.UNKNOWN
    gateway.visit()
    gateway.mono_ms += 2 * 3_600_000  # what joins nothing stands in an hour of its own
    weighed = gateway.visit()
    gateway.mono_ms += 2 * 3_600_000
    gateway.visit()
    await site.send(gateway.frame(1, 3))
    await site.send(gateway.frame(10, first_kept=10))
    await site.send(gateway.frame(7, 9), "courier")
    await site.send(gateway.frame(4, 10), "courier")
    unsure = "SELECT unsure FROM clock_hours WHERE %s BETWEEN first_seq AND last_seq"
    assert site.one(unsure, weighed) is True


async def test_a_weighing_is_not_lost_when_what_carries_it_was_set_aside_as_a_stray(site: Site) -> None:
    gateway = site.gateway
    older = Gateway(gateway.id, gateway.catalog, epoch=8)
    older.visit()
    gateway.visit()
    carry(older, gateway)
    gateway.visit()
    gateway.visit()
    await site.send(gateway.frame(1, 3))
    await site.send(gateway.frame(10, first_kept=10))
    await site.send(gateway.frame(5, 8), "courier")
    assert {code for _, code in site.held()} == {"record.stray"}
    await site.send(gateway.frame(4, 9), "courier")
    assert (site.held(), site.balance(PSEUDONYM)) == ([], 48_000)
