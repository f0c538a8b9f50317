from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psycopg
import pytest

from cloud.kit.embedded import EmbeddedPostgres
from deploy.local.processes import free_port, wait_until
from tests.proof.processes.calls import CALLED, CALLS_MAX
from tests.proof.processes.kills import KILLED, merge
from tests.proof.processes.recovery import Watch, percentile
from tests.proof.processes.town import Town, open_town

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def settled() -> Iterator[Town]:
    """A town in which people weighed, and everything was acknowledged."""
    os.environ.pop("PYTHONWARNINGS", None)  # a warning in a child is not this test's
    with tempfile.TemporaryDirectory(prefix="rl-") as name, open_town(
        Path(name), "all", sites=1, seed=1
    ) as town:  # fmt: skip
        wait_until(lambda: town.saved >= 3, 60, "nobody weighed")
        town.send_people_home()
        town.drain()
        yield town


@pytest.mark.proof
def test_an_honest_town_is_judged_sound(settled: Town) -> None:
    assert settled.judge() == []


@pytest.mark.proof
def test_a_weighing_that_was_shown_and_is_not_in_the_journal_is_found(settled: Town) -> None:
    settled.people[0].seen.add((9_999, 1_234))
    try:
        assert any("1234 g as saved (seq 9999)" in finding for finding in settled.judge())
    finally:
        settled.people[0].seen.remove((9_999, 1_234))


@pytest.mark.proof
def test_a_weighing_that_the_cloud_lost_is_found(settled: Town) -> None:
    with psycopg.connect(
        EmbeddedPostgres(settled.stack.cloud.folder / "cloud" / "postgres").url
    ) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM weighings WHERE id = (SELECT min(id::text)::uuid FROM weighings)")
    assert any("lost" in finding for finding in settled.judge())


def test_every_town_of_a_split_is_counted_once_and_both_shapes_are_among_them() -> None:
    for count in (1, 2, 30, 41, 1_000):
        tasks = KILLED.split(count, 1)
        assert sum(task.count for task in tasks) == count
        assert all(int(task.work["key"].split(".")[4]) == task.count for task in tasks)
    assert {task.work["key"].split(".")[2] for task in KILLED.split(30, 1)} == {"all", "apart"}
    deep = Counter[str]()
    for task in KILLED.split(1_000, 1):
        deep[task.work["key"].split(".")[3]] += task.count
    assert deep == {"long": 500, "storm": 400, "calm": 100}


def test_figures_of_towns_are_put_together() -> None:
    merged = merge([
        {"weighings": 3, "drain_s_max": 2.0, "recovery agent": "1.0 2.0"},
        {"weighings": 4, "drain_s_max": 5.0, "recovery agent": "9.0"},
    ])  # fmt: skip
    assert merged == {"weighings": 7, "drain_s_max": 5.0, "recovery agent": "p50 2.0 s p99 9.0 s max 9.0 s"}
    assert percentile([], 0.99) == 0.0


def test_the_calls_of_a_split_follow_each_other_and_begin_again() -> None:
    tasks = CALLED.split(600, 1)
    assert sum(task.count for task in tasks) == 600
    firsts = [int(task.work["key"].split(".")[1]) for task in tasks]
    assert all(1 <= first <= CALLS_MAX for first in firsts)
    met = {
        1 + (first - 1 + step) % CALLS_MAX
        for first, task in zip(firsts, tasks, strict=True)
        for step in range(task.count)
    }
    assert met == set(range(1, CALLS_MAX + 1))


def test_a_fault_is_over_once_something_recorded_after_it_is_acknowledged_everywhere_it_met() -> None:
    watch = Watch([SimpleNamespace(name="one"), SimpleNamespace(name="two")])  # type: ignore[list-item]
    watch.struck("broker", None)
    watch.struck("agent", "two")
    for site, head, acked in (("one", 10, 10), ("one", 11, 11), ("two", 5, 5), ("two", 6, 5)):
        watch._seen(site, head, acked)
    assert watch.waits()
    assert not watch.seconds
    watch._seen("two", 6, 6)
    assert not watch.waits()
    assert {kind: len(each) for kind, each in watch.seconds.items()} == {"broker": 1, "agent": 1}


def test_an_empty_outbox_is_all_there_is_to_wait_for_once_everybody_went_home() -> None:
    watch = Watch([SimpleNamespace(name="one")])  # type: ignore[list-item]
    watch.struck("postgres", None)
    watch._seen("one", 10, 9)
    watch.nothing_more()
    watch._seen("one", 10, 9)
    assert watch.waits()
    watch._seen("one", 10, 10)
    assert not watch.waits()


def test_no_outgoing_connection_can_sit_on_the_port_of_a_process_that_was_killed() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(free_port() for _ in range(200)) < int(first)
