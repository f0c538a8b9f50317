"""Runs a row's tasks in processes of their own, counts along, and puts together what they found."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.proof.ending import ending_here, heed, heeding_sigterm
from tests.proof.row import Figures, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from multiprocessing.connection import Connection
    from multiprocessing.queues import Queue

    from tests.proof.row import Tick

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


def run_row(row: Row, count: int, seed: int, progress: Callable[[int], None], at_once: int = 0) -> Result:
    """Run `count` cases of a row; `progress` hears how many more are done. Raises what a task raises.

    `at_once` tasks run side by side, 0 for as many as the row bears.
    Ended by SIGTERM or Ctrl-C it stops what the tasks have started, and then raises.
    """
    begun_s = time.monotonic()
    tasks = list(row.split(count, seed))
    total = _Total()
    workers = min(len(tasks), at_once or row.at_once or os.cpu_count() or 1)
    with heeding_sigterm():
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
    ticks: Queue[int] = context.Queue()
    theirs, ours = context.Pipe(duplex=False)
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(ticks, ended, progress), daemon=True)
    listener.start()
    try:
        with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(ticks, theirs)) as pool:
            futures = [pool.submit(_run_one, row.run, task) for task in tasks]
            try:
                _gather(futures, total)
            except (SystemExit, KeyboardInterrupt):
                for future in futures:
                    future.cancel()
                ours.close()  # the workers stop what they have started, and the pool waits for them
                raise
    finally:
        ours.close()
        theirs.close()
        ended.set()
        listener.join()


def _gather(futures: Sequence[Future[Part]], total: _Total) -> None:
    """Take in what the tasks found; at the first that raises those not begun are dropped."""
    done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    for future in waiting:
        future.cancel()
    for future in futures:
        if future in done:
            total.add(future.result())


def _listen(ticks: Queue[int], ended: threading.Event, progress: Callable[[int], None]) -> None:
    while True:
        try:
            progress(ticks.get(timeout=_LOOK_S))
        except queue.Empty:
            if ended.is_set():
                return


class _Worker:
    """What a worker is given when it starts."""

    ticks: Queue[int]


def _begin(ticks: Queue[int], parent: Connection) -> None:
    _Worker.ticks = ticks
    heed(parent)


def _run_one(run: Callable[[Task, Tick], Part], task: Task) -> Part:
    with ending_here():
        return run(task, _Worker.ticks.put)
