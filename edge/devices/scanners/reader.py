"""What every kind of scanner gives a driver: bytes and times in, scans and faults out. Pure."""

from typing import Protocol

from edge.devices.events import Scan, ScanFault


class Reader(Protocol):
    """One attached scanner, from opening the port to losing it. `now` is the clock's monotonic seconds."""

    def feed(self, data: bytes, now: float) -> list[Scan | ScanFault]:
        """What became complete with `data`."""
        ...

    def idle(self, now: float) -> list[Scan | ScanFault]:
        """What became complete, or was dropped, because nothing came until `now`."""
        ...

    def wait_s(self, now: float) -> float | None:
        """Seconds until `idle` may have something to say; None if never without bytes."""
        ...
