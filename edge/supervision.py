"""Tasks that live and end together. Owns cancelling for real: some libraries swallow a cancellation that
arrives at the moment their own wait ends (asyncio.wait_for before Python 3.12), so once is not enough.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

_AGAIN_S = 0.2


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until every one has ended, whatever it ended with: nobody else needs to look at that."""
    tasks = list(tasks)
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains that it was not


async def run_until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_all(tasks)
    for task in done:
        task.result()
