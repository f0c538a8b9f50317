"""Prometheus figures: requests as they happen, ingest's counters, and what the database says at scrape time.

One registry per app, handed in: nothing global, so that two apps in one process do not mix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Every figure this process shows. `requests` has labels method, route, status."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.requests = Histogram(
            "http_request_duration_seconds",
            "Time to answer a request",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._silence = self._gauge("gateway_silence_seconds", "Since a gateway was last heard", "gateway")
        self._backlog = self._gauge("gateway_backlog_records", "Backlog a gateway last announced", "gateway")
        self._lag = self._gauge("gateway_ack_age_seconds", "Since records were last committed", "gateway")
        self._through = self._gauge("gateway_acked_records", "Records committed per gateway", "gateway")
        self._held = self._gauge("quarantine_held_records", "Records waiting for an operator")
        self._alarms = self._gauge("alarms_open", "Alarms not resolved", "code")
        self._gateways = self._gauge("gateways", "Gateways by state", "state")
        self._ingest = self._gauge("ingest", "What this process's ingest counted since it started", "figure")
        self._active = self._gauge("active_users_total", "Holders with a weighing in the last 24 hours")
        self._submissions = Counter(
            "waste_submissions_total",
            "Weighings committed since this process started",
            ("category", "region"),
            registry=self.registry,
        )
        self._counted_to: datetime | None = None

    def render(self) -> bytes:
        """The text exposition of all figures."""
        return generate_latest(self.registry)

    def count_ingest(self, figures: Mapping[str, float]) -> None:
        """Show ingest's own counters."""
        for name, value in figures.items():
            self._ingest.labels(name).set(value)

    async def refresh(self, connection: AsyncConnection) -> None:
        """Read the figures that live in the database."""
        await self._refresh_gateways(connection)
        await self._refresh_submissions(connection)
        held = await connection.execute(text("select count(*) from quarantine where state = 'held'"))
        self._held.set(held.scalar_one())
        self._active.set((await connection.execute(text(_ACTIVE))).scalar_one())
        for gauge, sql in ((self._alarms, _ALARMS), (self._gateways, _STATES)):
            gauge.clear()
            for label, count in await connection.execute(text(sql)):
                gauge.labels(label).set(count)

    async def _refresh_gateways(self, connection: AsyncConnection) -> None:
        for gauge in (self._silence, self._backlog, self._lag, self._through):
            gauge.clear()
        rows = await connection.execute(text(_GATEWAY_FIGURES))
        for gateway, silence_s, backlog, ack_age_s, through in rows:
            if silence_s is not None:
                self._silence.labels(gateway).set(silence_s)
            if backlog is not None:
                self._backlog.labels(gateway).set(backlog)
            if ack_age_s is not None:
                self._lag.labels(gateway).set(ack_age_s)
            self._through.labels(gateway).set(through)

    async def _refresh_submissions(self, connection: AsyncConnection) -> None:
        """Add what was committed since the last scrape, up to a moment that no open transaction is before."""
        (until,) = (await connection.execute(text(_SETTLED))).one()
        if self._counted_to is not None:
            values = {"after": self._counted_to, "until": until}
            for material, region, count in await connection.execute(text(_SUBMISSIONS), values):
                self._submissions.labels(material, region).inc(count)
        self._counted_to = until

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)


_SETTLED = "select now() - interval '10 seconds'"
_ALARMS = "select code, count(*) from alarms where resolved_at is null group by code"
_STATES = "select state, count(*) from gateways group by state"
_ACTIVE = "select count(distinct account_id) from weighings where received_at > now() - interval '1 day'"
_SUBMISSIONS = """
select w.material, coalesce(d.code, ''), count(*)
  from weighings w left join drop_points d on d.id = w.drop_point_id
 where w.received_at > :after and w.received_at <= :until
 group by 1, 2
"""
_GATEWAY_FIGURES = """
select g.id,
       extract(epoch from now() - greatest(g.last_seen_at, max(c.updated_at)))::float8,
       (g.birth ->> 'head')::bigint - coalesce((g.birth ->> 'acked')::bigint, 0),
       extract(epoch from now() - max(c.updated_at))::float8,
       coalesce(sum(c.through), 0)::bigint
  from gateways g left join cursors c on c.gateway_id = g.id
 where g.state = 'claimed'
 group by g.id
"""
