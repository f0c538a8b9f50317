from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.config import HealthSettings
from edge.health.metrics import MetricsError, serve_metrics
from edge.health.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = Report(
    gateway="ktm-drop-01",
    software="1.0",
    epoch=7,
    head=120,
    acked=100,
    backlog=20,
    first_kept=1,
    road="mqtt",
    problem="",
    certificate="valid until 2027-02-22",
    breakers={"mqtt": "half-open", "https": "open"},
    alarms={"ack.mismatch": 2},
    frames=9,
    bytes_up=4096,
    timeouts=1,
    clock_quality=3,
    disk_free_bytes=1 << 30,
    autonomy_h=55.5,
    intake="open",
    screen="idle",
    scale="ok",
    scanners={},
    documents={},
    kiosk_url="http://127.0.0.1:8480",
)


@pytest.fixture
def looks() -> list[Report]:
    return [REPORT]


@pytest.fixture
def port(looks: list[Report]) -> Iterator[int]:
    port, stop = serve_metrics(HealthSettings(port=0), lambda: looks[-1])
    yield port
    stop()


def scrape(port: int) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_every_figure_is_read_at_the_moment_it_is_asked_for(port: int, looks: list[Report]) -> None:
    figures = scrape(port)
    assert figures["reloop_backlog_records",] == 20
    assert figures["reloop_journal_head",] == 120
    assert figures["reloop_online",] == 1
    assert figures["reloop_breaker", "mqtt"] == 1
    assert figures["reloop_breaker", "https"] == 2
    assert figures["reloop_alarms_total", "ack.mismatch"] == 2
    assert figures["reloop_autonomy_hours",] == 55.5
    looks.append(msgspec.structs.replace(REPORT, backlog=0, road=None, autonomy_h=None))
    figures = scrape(port)
    assert figures["reloop_backlog_records",] == 0
    assert figures["reloop_online",] == 0
    assert ("reloop_autonomy_hours",) not in figures


def test_a_taken_port_says_which_setting_to_change(port: int) -> None:
    with pytest.raises(MetricsError, match=r"under \[health\]") as caught:
        serve_metrics(HealthSettings(port=port), lambda: REPORT)
    assert caught.value.code == "health.port_taken"


def test_nothing_is_asked_before_somebody_scrapes_and_the_port_is_free_after_the_stop() -> None:
    asked: list[int] = []

    def report() -> Report:
        asked.append(1)
        return REPORT

    port, stop = serve_metrics(HealthSettings(port=0), report)
    assert asked == []
    stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)


async def test_the_agent_is_looked_at_in_its_own_loop() -> None:
    from edge.agent import _asked_in_loop

    threads: set[int] = set()

    def report() -> Report:
        threads.add(threading.get_ident())
        return REPORT

    port, stop = serve_metrics(HealthSettings(port=0), _asked_in_loop(report))
    assert (await asyncio.to_thread(scrape, port))["reloop_frames_total",] == 9
    assert threads == {threading.get_ident()}
    await asyncio.to_thread(stop)


def test_one_line_says_how_it_is() -> None:
    assert REPORT.line() == "mqtt; backlog 20; intake open; scale ok"
    away = msgspec.structs.replace(REPORT, road=None, problem="no byte left")
    assert away.line() == "offline (no byte left); backlog 20; intake open; scale ok"
