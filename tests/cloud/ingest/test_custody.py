"""Pickups: who holds which kilos after bins were emptied and handed over, however often the records come."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from protocol.bodies import (
    BinEstimated,
    BinScanned,
    BinWeighed,
    CustodyHandedOver,
    Outcome,
    PickupClosed,
    PickupOpened,
    Stability,
    TareKind,
)
from tests.cloud.ingest.gateway import Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import carry

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

COLLECTOR, DRIVER = serial_of(5), serial_of(6)
DROP_POINT = UUID(int=0xD << 96)


def holds(site: Site) -> dict[tuple[str, str], int]:
    found = site.rows("SELECT party, material, net_g FROM custody_balances WHERE net_g <> 0")
    return {(row[0], row[1]): row[2] for row in found}


def party(serial: bytes) -> str:
    return f"card:{serial[:8].hex()}"


def pickup(gateway: Gateway) -> int:
    opened = gateway.append(PickupOpened(COLLECTOR))
    gateway.append(BinScanned(opened, "BIN-1"))
    weighed = (Stability.FLAG, TareKind.WEIGHED, 3_000, b"raw", 15_000, 12_000)
    gateway.append(BinWeighed(opened, "BIN-1", "SN", "kg", 5, *weighed))
    gateway.append(BinEstimated(opened, "BIN-9", 4_000))
    gateway.append(CustodyHandedOver(opened, COLLECTOR, DRIVER, 16_000))
    gateway.append(PickupClosed(opened, Outcome.COMPLETED, 2, 16_000))
    return opened


def settle_place(site: Site) -> None:
    site.write("INSERT INTO drop_points (id, code, name) VALUES (%s, 'ktm', 'Kathmandu')", DROP_POINT)
    site.write("UPDATE gateways SET drop_point_id = %s", DROP_POINT)
    site.write("INSERT INTO bins VALUES ('BIN-1', %s, 'pet')", DROP_POINT)


async def test_kilos_go_from_the_drop_point_to_the_collector_to_the_driver(site: Site) -> None:
    settle_place(site)
    place = f"drop-point:{DROP_POINT}"
    for _ in range(20):
        site.gateway.visit(1_000, "pet")
    await site.send(site.gateway.frame())
    assert holds(site) == {(place, "pet"): 20_000}
    pickup(site.gateway)
    await site.send(site.gateway.frame())
    assert holds(site) == {
        (place, "pet"): 8_000,
        (place, ""): -4_000,
        (party(DRIVER), "pet"): 12_000,
        (party(DRIVER), ""): 4_000,
    }
    kinds = site.rows("SELECT kind, net_g, estimated FROM custody_movements ORDER BY kind, net_g")
    assert kinds == [("collected", 4_000, True), ("collected", 12_000, False), ("handed_over", 16_000, True)]
    assert site.rows("SELECT outcome, bins, net_g FROM pickups") == [("completed", 2, 16_000)]
    assert site.rows("SELECT DISTINCT drop_point_id FROM weighings") == [(DROP_POINT,)]


async def test_a_pickup_that_comes_twice_moves_the_kilos_once(site: Site) -> None:
    pickup(site.gateway)
    await site.send(site.gateway.frame())
    before = holds(site)
    again = Gateway(site.gateway.id, site.gateway.catalog, epoch=8)
    carry(site.gateway, again)
    await site.send(again.frame())
    assert holds(site) == before
    assert before[party(DRIVER), ""] == 16_000
    assert site.held() == []


async def test_a_bin_without_its_pickup_is_quarantined(site: Site) -> None:
    site.gateway.visit()
    site.gateway.append(BinEstimated(1, "BIN-1", 4_000))
    site.gateway.visit()
    await site.send(site.gateway.frame())
    assert site.held() == [(4, "custody.no_pickup")]
    assert site.one("SELECT count(*) FROM weighings") == 2


async def test_a_hand_over_to_oneself_is_quarantined(site: Site) -> None:
    opened = site.gateway.append(PickupOpened(COLLECTOR))
    site.gateway.append(CustodyHandedOver(opened, COLLECTOR, COLLECTOR, 0))
    await site.send(site.gateway.frame())
    assert site.held() == [(2, "custody.one_card")]
