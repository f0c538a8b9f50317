"""An event loop in which time is a number: nothing waits, everything that would happen happens in order.

Owns virtual time, the machines whose tasks run in it, and threads that are none: work for an executor runs
in this thread, at a seeded moment. Refuses sockets. Does not own wall clocks, disks or networks.

A machine can die at any await: its tasks are cancelled, and whatever they still do on their way out reaches
neither its disk nor its network, because those ask `Machine.alive`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")
_MACHINE: contextvars.ContextVar[Machine | None] = contextvars.ContextVar("machine", default=None)
_CALLBACKS_MAX = 5_000_000
"""More in one run than any schedule needs: something turns on the spot."""


class Standstill(Exception):  # noqa: N818 - names what happened
    """Nothing will ever happen again although somebody still waits, or far too much happens."""


class MachineDied(Exception):  # noqa: N818 - names what happened
    """Raised where a dead machine's code would touch the world."""


class Machine:
    """One computer, or one process of it: the tasks that die together. `alive` is false for ever after."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.on_work: Callable[[], None] | None = None
        """Called after work in an executor was done, before anybody hears of it: a good moment to die."""

    def start(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Run `work` on this machine; what it starts belongs to the machine too."""
        context = contextvars.copy_context()
        context.run(_MACHINE.set, self)
        return asyncio.get_running_loop().create_task(work, name=name, context=context)

    def die(self) -> None:
        """Stop here and now; call it from outside the machine's own tasks."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()

    def touch(self) -> None:
        """Raise MachineDied unless this machine lives."""
        if not self.alive:
            raise MachineDied(f"{self.name} is dead")


def machine_here() -> Machine | None:
    """Whose code is running."""
    return _MACHINE.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready, else moves time on to what is due next. `chance` decides how long threads take."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._now_s = 0.0
        self._free_at_s: dict[object, float] = {}
        self._count = 0
        self.unhandled: list[str] = []
        self.set_exception_handler(self._note)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run `func` in this thread a little later; tasks of one single-threaded executor queue up."""
        future: asyncio.Future[_T] = self.create_future()
        begin_s = self._now_s + self._chance.random() * 0.002
        alone = isinstance(executor, ThreadPoolExecutor) and executor._max_workers == 1
        if alone:
            begin_s = max(begin_s, self._free_at_s.get(executor, 0.0))
        end_s = begin_s + self._chance.random() * 0.02 * self._chance.random()
        if alone:
            self._free_at_s[executor] = end_s
        self.call_at(begin_s, self._work, future, end_s, func, args)
        return future

    def _work(
        self, future: asyncio.Future[Any], end_s: float, func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        machine = machine_here()
        if machine is not None and not machine.alive:
            future.cancel()
            return
        try:
            outcome, failed = func(*args), False
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, as a thread pool does
            outcome, failed = error, True
        self.call_at(end_s, _tell, future, outcome, failed)
        if machine is not None and machine.on_work is not None:
            machine.on_work()

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unhandled.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    # What BaseEventLoop leaves to its heirs

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise Standstill("everybody waits for somebody else")
            self._now_s = max(self._now_s, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            ready.append(handle)
        self._count += len(ready)
        if self._count > _CALLBACKS_MAX:
            raise Standstill("far too much happens")
        for _ in range(len(ready)):
            handle = ready.popleft()  # type: ignore[assignment]
            if not handle._cancelled:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _process_events(self, event_list: list[Any]) -> None:
        raise NotImplementedError("there are no sockets in here")


def _tell(future: asyncio.Future[Any], outcome: Any, failed: bool) -> None:
    if future.done():
        return
    if failed:
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    machine = context.get(_MACHINE) if context is not None else _MACHINE.get()
    if machine is not None:
        machine.tasks[task] = None
        task.add_done_callback(lambda done: machine.tasks.pop(done, None))
        if not machine.alive:
            task.cancel()
    return task
