"""What every test may rely on, however the run was started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Programs that tests start heed Ctrl-C, also where this run is a background job."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
