"""What every test may rely on, however the run was started, and which come first."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_LONGEST = "tests/proof/test_rows.py"


def pytest_configure() -> None:
    """Programs that tests start heed Ctrl-C, also where this run is a background job."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file begins first, so that no core waits for it in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
