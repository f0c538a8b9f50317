"""Days, statements and exports go by when it really was, and say how sure that is."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from cloud.errors import InvalidError
from cloud.ledger import service as ledger
from cloud.weighings.schemas import shown
from cloud.weighings.service import DAYS_MAX, Weighings
from protocol.points import points_for
from protocol.records import ClockQuality
from tests.cloud.clocks.box import HOUR_MS, repair_all
from tests.cloud.ingest.gateway import RATES, serial_of

if TYPE_CHECKING:
    from uuid import UUID

    from cloud.ledger.models import Line
    from cloud.weighings.models import DayFigure
    from tests.cloud.clocks.box import Drop

UNKNOWN, SYNCED = ClockQuality.UNKNOWN, ClockQuality.SYNCED
MIDNIGHT_MS = 1_790_014_500_000  # 2026-09-21T18:15Z: the 22nd begins in Nepal
DAY = date(2026, 9, 21)


async def figures(drop: Drop, first: date, last: date) -> list[DayFigure]:
    async with drop.site.engine.begin() as connection:
        return await Weighings().by_day(connection, first, last)


async def lines(drop: Drop) -> list[Line]:
    citizen: UUID = drop.site.one("SELECT id FROM citizens WHERE pseudonym = %s", serial_of(1)[:8])
    async with drop.site.engine.begin() as connection:
        return await ledger.statement(connection, citizen)


def at(drop: Drop, true_ms: int) -> Any:
    """Move everybody's truth to this time."""
    drop.box.pass_by(true_ms - drop.box.true_ms)


async def test_a_day_ends_at_midnight_in_nepal(drop: Drop) -> None:
    at(drop, MIDNIGHT_MS - 60_000)
    drop.box.show(drop.box.true_ms, SYNCED)
    drop.box.visit(1_000)
    at(drop, MIDNIGHT_MS + 60_000)
    drop.box.visit(2_000)
    await drop.deliver()
    found = await figures(drop, DAY, date(2026, 9, 22))
    assert [(one.day, one.net_g, one.points, one.unsure) for one in found] == [
        (DAY, 1_000, points_for(1_000, RATES["pet"]), 0),
        (date(2026, 9, 22), 2_000, points_for(2_000, RATES["pet"]), 0),
    ]
    assert [one.net_g for one in await figures(drop, DAY, DAY)] == [1_000]


async def test_a_weighing_seconds_from_midnight_may_be_of_either_day(drop: Drop) -> None:
    at(drop, MIDNIGHT_MS - 5_000)
    drop.box.show(drop.box.true_ms, SYNCED)
    drop.box.visit(1_000)
    await drop.deliver()
    (one,) = await figures(drop, DAY, DAY)
    assert (one.weighings, one.unsure, one.unsure_g) == (1, 1, 1_000)


async def test_repaired_weighings_move_to_the_day_they_were_taken_and_no_point_moves(drop: Drop) -> None:
    box = drop.box
    at(drop, MIDNIGHT_MS - 3 * HOUR_MS)
    box.show(0, UNKNOWN)
    seq = box.visit(1_000)
    box.pass_by(20 * HOUR_MS)
    drop.clock.now_ms = box.true_ms + 1_000
    await drop.site.send(box.send(1))
    before = await lines(drop)
    await repair_all(drop.site)
    box.sync()
    await drop.deliver(4)
    assert [(one.day, one.net_g) for one in await figures(drop, date(2026, 1, 1), date(2026, 3, 1))] == []
    assert [(one.day, one.net_g, one.unsure) for one in await figures(drop, DAY, date(2026, 9, 22))] == [
        (DAY, 1_000, 0)
    ]
    after = await lines(drop)
    strip = [(one.number, one.id, one.at, one.code, one.amount, one.balance) for one in after]
    assert strip == [(one.number, one.id, one.at, one.code, one.amount, one.balance) for one in before]
    assert after[0].happened_at is not None
    assert after[0].error_s is not None
    assert abs(after[0].happened_at.timestamp() * 1000 - box.truth_ms[seq]) <= after[0].error_s * 1000


async def test_a_line_about_a_void_happened_when_its_weighing_did(drop: Drop) -> None:
    box = drop.box
    box.show(box.true_ms, SYNCED)
    deposit = box.open()
    seq = box.weigh(deposit)
    box.void(deposit, seq)
    await drop.deliver()
    reversal, award = await lines(drop)
    assert (reversal.code, award.code) == ("reversal", "award")
    assert reversal.happened_at == award.happened_at is not None
    assert await figures(drop, date(2026, 9, 1), date(2026, 10, 1)) == []


async def test_an_export_has_the_raw_time_and_the_repaired_one(drop: Drop) -> None:
    box = drop.box
    box.show(0, UNKNOWN)
    box.visit()
    box.sync()
    await drop.deliver()
    async with drop.site.engine.begin() as connection:
        (line,) = [shown(one) async for one in Weighings().export(connection)]
    assert (line.recorded_at.year, line.happened_at.year, line.time_source) == (1970, 2026, "anchored")
    assert line.error_s is not None


@pytest.mark.parametrize("days", [-1, DAYS_MAX])
async def test_figures_of_too_many_days_are_refused(drop: Drop, days: int) -> None:
    with pytest.raises(InvalidError, match="days"):
        await figures(drop, DAY, date.fromordinal(DAY.toordinal() + days))
