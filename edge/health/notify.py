"""systemd's notify protocol (sd_notify(3)): ready, watchdog, stopping. Silent where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_STATUS_LENGTH_MAX = 400


class Notifier:
    """Speaks to the service manager named by `NOTIFY_SOCKET`.

    `watchdog_s` is how often `alive` must be said at least (half of systemd's limit), None if never.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit_us = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
        self.watchdog_s = int(limit_us) / 2_000_000 if ours and limit_us.isdigit() else None

    def ready(self, status: str) -> None:
        """Start-up is done."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def alive(self, status: str) -> None:
        """Everything made progress."""
        self._send(f"WATCHDOG=1\nSTATUS={_line(status)}")

    def stopping(self) -> None:
        """A clean stop has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # A manager that is away or busy is no reason to stop weighing; it is told again soon.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sock:
            sock.sendto(message.encode(), self._address)


def _line(text: str) -> str:
    """One line: a problem may quote a stranger, whose second line systemd would take for a command."""
    return " ".join(text.split())[:_STATUS_LENGTH_MAX]
