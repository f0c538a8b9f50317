"""The gateway's one clock: nothing else in `edge` reads time or sleeps.

It also says how far its wall time can be trusted. It never sets the time and never corrects it.
"""

import asyncio
import ctypes
import time
from pathlib import Path
from typing import Protocol

from protocol.records import ClockQuality

STA_UNSYNC = 0x40
"""Status bit of adjtimex(2): nothing disciplines the kernel's time (error above 16 s, or never set)."""


class Clock(Protocol):
    """What every part of the gateway is handed instead of the `time` module."""

    def monotonic(self) -> float:
        """Seconds that only go forward, for deadlines and ages; comparable within one process."""
        ...

    def mono_ms(self) -> int:
        """Milliseconds since boot, sleep included; comparable within one boot."""
        ...

    def wall_ms(self) -> int:
        """UTC in milliseconds since 1970, exactly as the system clock says, right or wrong."""
        ...

    def quality(self) -> ClockQuality:
        """How far `wall_ms` can be trusted now."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; zero yields to other tasks."""
        ...


class SystemClock:
    """The real clock of a Linux machine.

    `root` is where `/run`, `/sys` and `/var` are looked up; only tests hand in another.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._timesync = root / "run/systemd/timesync"
        self._rtc = root / "sys/class/rtc/rtc0/hctosys"
        self._restored = (root / "var/lib/systemd/timesync/clock", root / "etc/fake-hwclock.data")
        self._kernel = _KernelTime()

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the clock asyncio itself runs on."""
        return time.monotonic()

    def mono_ms(self) -> int:
        """Milliseconds of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wall_ms(self) -> int:
        """Milliseconds of CLOCK_REALTIME."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000

    def quality(self) -> ClockQuality:
        """Combine the time daemon's flag with the kernel's bit, since either alone is known to mislead."""
        return judge_quality(
            kernel_synced=self._kernel.synced(),
            daemon_present=self._timesync.is_dir(),
            daemon_synced=(self._timesync / "synchronized").exists(),
            rtc_used=_reads_one(self._rtc),
            restored=any(path.exists() for path in self._restored),
        )

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the event loop."""
        await asyncio.sleep(seconds)


def judge_quality(
    *, kernel_synced: bool, daemon_present: bool, daemon_synced: bool, rtc_used: bool, restored: bool
) -> ClockQuality:
    """Weigh what is known about the wall time.

    systemd-timesyncd leaves its flag standing when the network goes away, and another program may clear
    the kernel's bit without having the time. So `SYNCED` needs both where timesyncd runs, and the kernel's
    bit where another daemon (chrony, ntpd) keeps the time. A clock that was set this boot and has drifted
    for hours since is worth as much as one read from a battery clock.
    """
    if kernel_synced and (daemon_synced or not daemon_present):
        return ClockQuality.SYNCED
    if daemon_synced or rtc_used:
        return ClockQuality.RTC
    return ClockQuality.RESTORED if restored else ClockQuality.UNKNOWN


def _reads_one(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


class _Timex(ctypes.Structure):
    """Head of `struct timex`; the tail is never read, only room is left for it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_tail", ctypes.c_char * 256),
    )


class _KernelTime:
    """Asks the kernel, read-only (`modes` stays 0), whether its time is disciplined."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._adjtimex = getattr(libc, "adjtimex", None)

    def synced(self) -> bool:
        """True if the kernel answers and its STA_UNSYNC bit is clear."""
        if self._adjtimex is None:
            return False
        timex = _Timex()
        state: int = self._adjtimex(ctypes.byref(timex))
        return state >= 0 and not timex.status & STA_UNSYNC
