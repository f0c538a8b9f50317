"""What a wrong clock must not touch: prices, and the order of things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.custody.service import Custody
from protocol.bodies import BinEstimated, CustodyHandedOver, PickupOpened
from protocol.records import ClockQuality
from tests.cloud.clocks.box import DAY_MS
from tests.cloud.hand_clock import NOW_MS
from tests.cloud.ingest.gateway import WALL_MS, add_catalog, serial_of

if TYPE_CHECKING:
    from tests.cloud.clocks.box import Drop

RTC, SYNCED, UNKNOWN = ClockQuality.RTC, ClockQuality.SYNCED, ClockQuality.UNKNOWN
COLLECTOR, DRIVER = serial_of(5), serial_of(6)


@pytest.mark.parametrize(
    ("wall_ms", "rate"),
    [(0, 20_000), (WALL_MS - 2 * DAY_MS, 20_000), (WALL_MS, 12_000), (NOW_MS + 9 * DAY_MS, 20_000)],
    ids=["1970", "before there was a rate", "right", "after its arrival"],
)
async def test_points_that_follow_are_not_lost_to_an_old_rate_by_a_battery_clock_that_ran_empty(
    drop: Drop, wall_ms: int, rate: int
) -> None:
    add_catalog(drop.site.url, drop.site.keyring, 2, {"pet": 20_000})
    drop.site.write("UPDATE rates SET valid_from = '2026-08-01T00:00:00Z' WHERE version = 2")
    drop.box.show(wall_ms, RTC)
    drop.box.weigh(drop.box.open(), 1_000, rate=None, points=None)
    await drop.deliver()
    assert drop.site.rows("SELECT points_per_kg, points_shown FROM weighings") == [(rate, None)]


async def test_a_pickup_is_in_the_order_of_its_journal_though_the_clock_went_back(drop: Drop) -> None:
    box = drop.box
    box.show(box.true_ms, SYNCED)
    opened = box.append(PickupOpened(COLLECTOR))
    box.append(BinEstimated(opened, "BIN-1", 4_000))
    box.show(0, UNKNOWN)
    box.append(BinEstimated(opened, "BIN-2", 5_000))
    box.append(CustodyHandedOver(opened, COLLECTOR, DRIVER, 9_000))
    again = box.append(PickupOpened(COLLECTOR))
    await drop.deliver(1, opened + 3)
    await drop.deliver(again)
    custody = Custody()
    async with drop.site.engine.begin() as connection:
        listed = await custody.pickups(connection, None, 10)
        first = listed[-1]
        _, contents, movements = await custody.pickup(connection, first.id)
    assert [one.seq for one in listed] == [again, opened]
    assert [one.bin for one in contents] == ["BIN-1", "BIN-2"]
    assert [one.kind for one in movements] == ["collected", "collected", "handed_over"]
