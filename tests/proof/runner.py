"""Runs a row's tasks in processes of their own, counts along, and puts together what they found."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.proof.row import Figures, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VIOLATIONS_MAX = 100
"""Kept of a row that goes wrong; their number is counted all the same."""
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """What a whole row found."""

    count: int
    violations: int
    kept: Sequence[Violation]
    figures: Figures
    seconds: float


@dataclass(slots=True)
class _Total:
    count: int = 0
    violations: list[Violation] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)

    def add(self, part: Part) -> None:
        self.count += part.count
        self.violations += part.violations
        if part.figures:
            self.figures.append(part.figures)


def run_row(row: Row, count: int, seed: int, progress: Callable[[int], None]) -> Result:
    """Run `count` cases of a row; `progress` hears how many more are done. Raises what a task raises."""
    begun_s = time.monotonic()
    tasks = list(row.split(count, seed))
    total = _Total()
    workers = min(len(tasks), row.at_once or os.cpu_count() or 1)
    if workers <= 1:
        for task in tasks:
            total.add(row.run(task, progress))
    else:
        _run_apart(row, tasks, workers, total, progress)
    figures = row.merge(total.figures) if total.figures else {}
    seconds = time.monotonic() - begun_s
    return Result(
        total.count, len(total.violations), total.violations[:VIOLATIONS_MAX], figures, round(seconds, 1)
    )


def _run_apart(
    row: Row, tasks: Sequence[Task], workers: int, total: _Total, progress: Callable[[int], None]
) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        ticks: Any = manager.Queue()
        ended = threading.Event()
        listener = threading.Thread(target=_listen, args=(ticks, ended, progress), daemon=True)
        listener.start()
        try:
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                futures = [pool.submit(_run_one, row.id, task, ticks) for task in tasks]
                done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
                for future in waiting:
                    future.cancel()
                for future in futures:
                    if future in done:
                        total.add(future.result())
        finally:
            ended.set()
            listener.join()


def _listen(ticks: Any, ended: threading.Event, progress: Callable[[int], None]) -> None:
    while True:
        try:
            progress(ticks.get(timeout=_LOOK_S))
        except queue.Empty:
            if ended.is_set():
                return


def _run_one(row_id: str, task: Task, ticks: Any) -> Part:
    from tests.proof.rows import row_of

    return row_of(row_id).run(task, ticks.put)
