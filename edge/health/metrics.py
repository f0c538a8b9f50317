"""The gateway's figures for Prometheus, read at the moment they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.config import HealthSettings
    from edge.health.report import Report

_STATES = ("closed", "half-open", "open")


class MetricsError(EdgeError):
    """The metrics cannot be served."""

    code = "health.port_taken"


class _Gateway(Collector):
    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def describe(self) -> list[Metric]:
        return []  # otherwise registering would already ask for a report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        yield GaugeMetricFamily("reloop_backlog_records", "Records not acknowledged.", report.backlog)
        yield GaugeMetricFamily("reloop_journal_head", "Last seq saved in this epoch.", report.head)
        yield GaugeMetricFamily("reloop_journal_acked", "Last seq the cloud has committed.", report.acked)
        yield GaugeMetricFamily(
            "reloop_disk_free_bytes", "Free where the journal lives.", report.disk_free_bytes
        )
        if report.autonomy_h is not None:
            yield GaugeMetricFamily("reloop_autonomy_hours", "Until the disk is full.", report.autonomy_h)
        yield GaugeMetricFamily("reloop_online", "Whether a road is in use.", int(report.road is not None))
        yield GaugeMetricFamily("reloop_clock_quality", "0 unknown .. 3 synced.", report.clock_quality)
        yield self._breakers(report)
        yield self._alarms(report)
        yield CounterMetricFamily("reloop_frames", "Frames sent.", report.frames)
        yield CounterMetricFamily("reloop_uplink_bytes", "Bytes of frames sent.", report.bytes_up)
        yield CounterMetricFamily("reloop_timeouts", "Links given up without progress.", report.timeouts)

    def _breakers(self, report: Report) -> Metric:
        family = GaugeMetricFamily("reloop_breaker", "0 closed, 1 half-open, 2 open.", labels=["road"])
        for road, state in report.breakers.items():
            family.add_metric([road], _STATES.index(state))
        return family

    def _alarms(self, report: Report) -> Metric:
        family = CounterMetricFamily("reloop_alarms", "What an operator should see.", labels=["code"])
        for code, count in report.alarms.items():
            family.add_metric([code], count)
        return family


def serve_metrics(settings: HealthSettings, report: Callable[[], Report]) -> tuple[int, Callable[[], None]]:
    """Serve `/metrics` in a thread of its own, which calls `report`; returns the port and what stops it.

    Raises MetricsError if the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(_Gateway(report))
    try:
        server, thread = start_http_server(settings.port, settings.host, registry)
    except OSError as error:
        raise MetricsError(
            f"metrics cannot be served on {settings.host}:{settings.port} ({error.strerror}); stop the other "
            "program or set another `port` under [health]"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop
