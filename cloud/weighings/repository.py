"""Weighings in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from cloud.kit.rows import fetch, fetch_one
from cloud.weighings.models import DayFigure, Weighing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT = """
select w.id, w.gateway_id as gateway, w.epoch, w.seq,
       case when w.manual then 'manual.entered' else 'weighing.recorded' end as kind,
       w.deposit_seq, d.code as drop_point, w.material, w.gross_g, w.tare_g, w.net_g, w.points_per_kg,
       w.points, w.points_shown, w.holder_kind, w.holder, w.recorded_at, w.happened_at,
       w.error_s, w.time_how, w.received_at, w.clock,
       w.late_catalog, w.manual, w.pending, w.voided_by
  from weighings w left join drop_points d on d.id = w.drop_point_id
"""
_NEWEST = """
 where (cast(:gateway as text) is null or w.gateway_id = :gateway)
   and (cast(:material as text) is null or w.material = :material)
   and (cast(:after_at as timestamptz) is null or (w.received_at, w.id) < (:after_at, :after_id))
   and w.received_at > coalesce(cast(:after_at as timestamptz), now()) - cast(:window as interval)
 order by w.received_at desc, w.id desc limit :limit
"""
_WINDOWS = ("1 hour", "1 day", "30 days", "1000 years")
_DAYS = """
with counted as (
    select (w.happened_at at time zone interval '05:45')::date as day, d.code as drop_point, w.material,
           w.net_g, case when w.pending then 0 else w.points end as points,
           w.error_s is null
           or (w.happened_at - w.error_s * interval '1 second') at time zone interval '05:45'
              < date_trunc('day', w.happened_at at time zone interval '05:45')
           or (w.happened_at + w.error_s * interval '1 second') at time zone interval '05:45'
              >= date_trunc('day', w.happened_at at time zone interval '05:45') + interval '1 day' as unsure
      from weighings w left join drop_points d on d.id = w.drop_point_id
     where w.voided_by is null
       and w.happened_at >= cast(:first as date)::timestamp at time zone interval '05:45'
       and w.happened_at < (cast(:last as date) + 1)::timestamp at time zone interval '05:45'
       and (cast(:drop_point as text) is null or d.code = :drop_point)
)
select day, drop_point, material, count(*) as weighings, sum(net_g)::bigint as net_g,
       sum(points)::bigint as points, count(*) filter (where unsure) as unsure,
       coalesce(sum(net_g) filter (where unsure), 0)::bigint as unsure_g
  from counted group by 1, 2, 3 order by 1, 2 nulls last, 3
"""
"""Nepal is 5:45 ahead of UTC and has no summer time."""
_EXPORT = """
 where (cast(:gateway as text) is null or w.gateway_id = :gateway)
 order by w.gateway_id, w.epoch, w.seq, w.id
"""


async def find(connection: AsyncConnection, weighing_id: UUID) -> Weighing | None:
    """One weighing."""
    return await fetch_one(connection, Weighing, _SELECT + " where w.id = :id", {"id": weighing_id})


async def newest(
    connection: AsyncConnection,
    gateway: str | None,
    material: str | None,
    after: tuple[str, UUID] | None,
    limit: int,
) -> list[Weighing]:
    """Weighings, newest commit first, from the one after (received_at, id).

    The table's only index on time is a BRIN one, so it is asked for ever longer stretches until there are
    enough: the newest page never sorts everything.
    """
    values = {
        "gateway": gateway,
        "material": material,
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "limit": limit,
    }
    rows: list[Weighing] = []
    for window in _WINDOWS:
        rows = await fetch(connection, Weighing, _SELECT + _NEWEST, {**values, "window": window})
        if len(rows) == limit:
            break
    return rows


async def in_order(connection: AsyncConnection, gateway: str | None) -> AsyncIterator[Weighing]:
    """All weighings in the order of gateway, epoch and seq, read through a cursor of the server."""
    result = await connection.stream(text(_SELECT + _EXPORT), {"gateway": gateway})
    async for row in result.mappings():
        yield Weighing(**{str(name): value for name, value in row.items()})


async def by_day(
    connection: AsyncConnection, first: date, last: date, drop_point: str | None
) -> list[DayFigure]:
    """What was weighed on these days, both included, by drop point and material."""
    values = {"first": first, "last": last, "drop_point": drop_point}
    return await fetch(connection, DayFigure, _DAYS, values)


async def count(connection: AsyncConnection, gateway: str | None) -> int:
    """About how many weighings there are."""
    result = await connection.execute(
        text("select count(*) from weighings where cast(:gateway as text) is null or gateway_id = :gateway"),
        {"gateway": gateway},
    )
    return int(result.scalar_one())
