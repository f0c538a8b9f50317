"""One look at the whole gateway, for the status command, the metrics and systemd's status line."""

from __future__ import annotations

import msgspec


class Report(msgspec.Struct, frozen=True):
    """Seqs are of `epoch`; `road` is None while offline; devices map a port to its health.

    `certificate` is how we stand with the broker (asked for, valid until, expired, refused), "" without one.
    `autonomy_h` is how long intake could go on with no link at the present rate, None if unknown.
    """

    gateway: str
    software: str
    epoch: int
    head: int
    acked: int
    backlog: int
    first_kept: int
    road: str | None
    problem: str
    certificate: str
    breakers: dict[str, str]
    alarms: dict[str, int]
    frames: int
    bytes_up: int
    timeouts: int
    clock_quality: int
    disk_free_bytes: int
    autonomy_h: float | None
    intake: str
    screen: str
    scale: str
    scanners: dict[str, str]
    documents: dict[str, str]
    kiosk_url: str

    def line(self) -> str:
        """One line for systemd and logs."""
        link = self.road or f"offline ({self.problem or 'no road yet'})"
        return f"{link}; backlog {self.backlog}; intake {self.intake}; scale {self.scale}"
