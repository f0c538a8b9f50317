"""The sides of a fork: what each wrote stays its own, waits for a person, and is found however it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.acks import Verdict
from protocol.bodies import (
    BinWeighed,
    CustodyHandedOver,
    Outcome,
    PickupClosed,
    PickupOpened,
    RecordCarried,
    Stability,
    TareKind,
)
from protocol.frames import Older
from protocol.records import record_id
from tests.cloud.ingest.gateway import Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

ALARMS = "SELECT code FROM alarms WHERE resolved_at IS NULL ORDER BY raised_at"
GAPS = "SELECT epoch, first, last FROM gaps ORDER BY 1, 2"


def after(side: Gateway, epoch: int, first: int) -> Gateway:
    """The epoch in which a side goes on, carrying its records from `first` on."""
    new = Gateway(side.id, side.catalog, epoch=epoch)
    new.mono_ms = side.mono_ms
    carry(side, new, first)
    return new


def older(side: Gateway, acked: int) -> Older:
    """What a frame says of this epoch."""
    return Older(side.epoch, acked, side.head, record_id(side.digest_at(acked)).bytes)


async def sides(site: Site) -> tuple[Gateway, Gateway]:
    """Two machines with three records in common, which the cloud has."""
    site.gateway.visit()
    await site.send(site.gateway.frame())
    return site.gateway, site.gateway.branch(3)


async def test_a_visit_is_ended_by_its_own_side_of_a_fork_alone(site: Site) -> None:
    one, other = await sides(site)
    for side, person in ((one, 2), (other, 3)):
        deposit = side.open(holder=serial_of(person))
        side.weigh(deposit, 1_000, holder=serial_of(person))
    await site.send(one.frame(4))
    assert (await site.send(other.frame(4))).verdict is Verdict.FORKED
    await site.send(after(other, 8, 4).frame())
    other.close(4)
    await site.send(after(other, 9, 6).frame())
    found = site.rows("SELECT holder, outcome FROM deposits WHERE seq = 4")
    assert {bytes(holder): outcome for holder, outcome in found} == {
        serial_of(2): None, serial_of(3): "completed",
    }  # fmt: skip


def picked_up(side: Gateway, collector: bytes, bins: dict[str, int]) -> int:
    """A pickup with these bins, not closed; its seq."""
    pickup = side.append(PickupOpened(collector))
    for code, net_g in bins.items():
        raw = b"S S\r\n"
        body = BinWeighed(
            pickup, code, "SN-1", "kg", 5, Stability.FLAG, TareKind.NONE, 0, raw, net_g, net_g, emptied=True
        )
        side.append(body)
    return pickup


async def test_a_hand_over_counts_the_bins_of_its_own_side_of_a_fork_alone(site: Site) -> None:
    one, other = await sides(site)
    picked_up(one, serial_of(20), {"BIN-1": 7_000})
    pickup = picked_up(other, serial_of(30), {"BIN-2": 400, "BIN-3": 50})
    await site.send(one.frame(4))
    assert (await site.send(other.frame(4))).verdict is Verdict.FORKED
    other.append(CustodyHandedOver(pickup, serial_of(30), serial_of(31), 450))
    other.append(PickupClosed(pickup, Outcome.COMPLETED, 2, 450))
    await site.send(after(other, 8, 4).frame())
    assert site.held() == []
    moved = site.rows("SELECT lines FROM custody_movements WHERE kind = 'handed_over'")
    assert moved == [({"": 450},)]
    found = site.rows("SELECT collector, net_g FROM pickups ORDER BY collector")
    assert {bytes(who): net_g for who, net_g in found} == {serial_of(20): None, serial_of(30): 450}


async def test_a_record_carried_to_a_place_that_is_taken_is_a_fork_and_not_spendable(site: Site) -> None:
    """The image of a card is put back; what it writes then comes in a new epoch, never in the old one."""
    one, other = await sides(site)
    one.visit(2_000)
    await site.send(one.frame(4))
    other.visit(500, holder=serial_of(2))
    new = after(other, 8, 4)
    new.older = (older(other, 3),)
    assert (await site.send(new.frame())).verdict is Verdict.OK
    assert site.balance(serial_of(2)[:8]) == 0
    assert site.rows(ALARMS) == [("epoch.forked",)]
    assert site.rows("SELECT pending FROM weighings WHERE epoch = 7 ORDER BY received_at, net_g") == [
        (False,), (False,), (True,),
    ]  # fmt: skip


async def test_a_carried_record_is_not_taken_for_the_one_that_another_side_has_there(site: Site) -> None:
    """A late frame of a twin would otherwise be acknowledged as if it were here."""
    one, other = await sides(site)
    one.visit(2_000)
    other.visit(500, holder=serial_of(2))
    await site.send(after(other, 8, 4).frame())
    assert site.balance(serial_of(2)[:8]) == 6_000, "the side that came first is not known to be one of two"
    assert (await site.send(one.frame(4, 5))).verdict is Verdict.FORKED
    await site.send(after(one, 9, 4).frame())
    assert site.balance(PSEUDONYM) == 12_000
    assert site.one("SELECT count(*) FROM weighings WHERE pending") == 1


async def test_a_card_that_went_back_is_told_of_even_if_it_wrote_nothing_in_the_old_epoch(site: Site) -> None:
    one, other = await sides(site)
    one.visit()
    await site.send(one.frame(4))
    new = Gateway(other.id, other.catalog, epoch=8)
    new.older = (older(other, 3),)
    new.visit(holder=serial_of(2))
    for _ in range(2):
        await site.send(new.frame())
    assert site.rows(ALARMS) == [("gateway.went_back",)]
    assert site.balance(serial_of(2)[:8]) == 12_000


async def test_a_cloud_that_lost_an_older_epoch_asks_for_it_and_gap_alarms_end_with_the_gap(
    site: Site,
) -> None:
    gateway = site.gateway
    for _ in range(3):
        gateway.visit()
    await site.send(gateway.frame(1, 3))
    # A later cloud had acknowledged 6 before it was lost; the gateway went on in a new epoch.
    new = after(gateway, 8, 7)
    new.older = (older(gateway, 6),)
    assert (await site.send(new.frame())).forgot
    assert site.rows(GAPS) == [(7, 4, 6)]
    assert site.rows(ALARMS) == [("epoch.gap",)]
    assert (await site.send(new.frame())).forgot, "until it has all"
    whole = after(gateway, 9, 1)
    assert not (await site.send(whole.frame())).forgot
    assert (site.rows(GAPS), site.rows(ALARMS)) == ([], [])
    assert site.balance(PSEUDONYM) == 36_000
    whole.older = (older(new, new.head),)
    assert not (await site.send(whole.frame(whole.head))).forgot


async def test_an_older_epoch_acknowledged_on_another_side_is_asked_for(site: Site) -> None:
    one, other = await sides(site)
    one.visit()
    other.visit(500)
    await site.send(one.frame(4))
    new = Gateway(other.id, other.catalog, epoch=8)
    new.older = (older(other, 6),)
    new.visit()
    assert (await site.send(new.frame())).forgot


@pytest.mark.parametrize("records", [0, 3])
async def test_a_frame_without_records_may_ask_too(site: Site, records: int) -> None:
    gateway = site.gateway
    gateway.visit()
    if records:
        await site.send(gateway.frame())
    new = Gateway(gateway.id, gateway.catalog, epoch=8)
    new.older = (older(gateway, 3),)
    ack = await site.send(new.frame(1, 0))
    assert (ack.verdict, ack.through, ack.forgot) == (Verdict.OK, 0, not records)


async def test_a_record_carried_in_its_own_epoch_is_set_aside(site: Site) -> None:
    gateway = site.gateway
    gateway.visit()
    carry(gateway, gateway, 3)
    ack = await site.send(gateway.frame())
    assert [each.code for each in ack.quarantined] == ["record.malformed"]
    assert site.rows("SELECT state FROM cursors") == [("open",)]


async def test_an_epoch_that_began_with_what_it_carried_alarms_nobody_when_it_is_carried_on(
    site: Site,
) -> None:
    gateway = site.gateway
    gateway.visit()
    second = after(gateway, 8, 1)
    second.visit()
    third = Gateway(gateway.id, gateway.catalog, epoch=9)
    carry(gateway, third)
    for seq in range(4, second.head + 1):  # the first three carry what is carried already
        third.append(RecordCarried(8, seq, second.digest_at(seq - 1), second.records[seq - 1]))
    await site.send(third.frame())
    assert site.balance(PSEUDONYM) == 24_000
    assert (site.rows(ALARMS), site.rows(GAPS)) == ([], [(8, 1, 3)])
