"""The one clock: what it says, how far to believe it, and that nothing else in the gateway reads time."""

import ast
import time
from pathlib import Path

import pytest
import time_machine

import edge
from edge.clock import SystemClock, judge_quality
from protocol.records import ClockQuality

FORBIDDEN_CALLS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "monotonic"),
    ("time", "monotonic_ns"),
    ("time", "sleep"),
    ("time", "clock_gettime"),
    ("time", "clock_gettime_ns"),
    ("time", "perf_counter"),
    ("asyncio", "sleep"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}


@pytest.mark.parametrize(
    ("kernel", "daemon", "flag", "rtc", "restored", "quality"),
    [
        (True, True, True, False, False, ClockQuality.SYNCED),
        (True, False, False, False, False, ClockQuality.SYNCED),
        (True, True, False, False, True, ClockQuality.RESTORED),
        (False, True, True, False, True, ClockQuality.RTC),
        (False, True, False, True, True, ClockQuality.RTC),
        (False, True, False, False, True, ClockQuality.RESTORED),
        (False, False, False, False, False, ClockQuality.UNKNOWN),
    ],
)
def test_daemon_and_kernel_must_agree_before_a_clock_counts_as_synced(
    *, kernel: bool, daemon: bool, flag: bool, rtc: bool, restored: bool, quality: ClockQuality
) -> None:
    assert (
        judge_quality(
            kernel_synced=kernel, daemon_present=daemon, daemon_synced=flag, rtc_used=rtc, restored=restored
        )
        is quality
    )


def test_the_files_of_a_machine_are_looked_up(tmp_path: Path) -> None:
    clock = SystemClock(tmp_path)
    before = clock.quality()
    assert before in (ClockQuality.UNKNOWN, ClockQuality.SYNCED)  # the kernel below us has its own opinion
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert clock.quality() is ClockQuality.UNKNOWN
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fake-hwclock.data").touch()
    assert clock.quality() is ClockQuality.RESTORED
    (tmp_path / "sys/class/rtc/rtc0").mkdir(parents=True)
    (tmp_path / "sys/class/rtc/rtc0/hctosys").write_text("1\n")
    assert clock.quality() is ClockQuality.RTC


def test_wall_time_steps_leave_monotonic_time_alone() -> None:
    clock = SystemClock()
    before_s, before_ms = clock.monotonic(), clock.mono_ms()
    with time_machine.travel("2036-01-01", tick=False):
        assert clock.monotonic() - before_s < 5
        assert clock.mono_ms() - before_ms < 5_000
    assert clock.mono_ms() >= before_ms


def test_wall_time_is_the_systems() -> None:
    assert abs(SystemClock().wall_ms() - time.time_ns() // 1_000_000) < 5_000


async def test_sleeping_takes_that_long() -> None:
    clock = SystemClock()
    began_s = clock.monotonic()
    await clock.sleep(0.05)
    assert 0.045 <= clock.monotonic() - began_s < 2


def test_nothing_else_in_the_gateway_reads_time() -> None:
    root = Path(edge.__path__[0])
    found = [
        f"{path.relative_to(root)}:{node.lineno} {owner}.{node.attr}"
        for path in root.rglob("*.py")
        if path != root / "clock.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        for owner in [_owner(node)]
        if (owner, node.attr) in FORBIDDEN_CALLS
    ]
    assert found == []


def _owner(node: ast.Attribute) -> str:
    match node.value:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case _:
            return ""
