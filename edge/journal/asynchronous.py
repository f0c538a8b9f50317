"""The journal for an event loop: one thread writes, another reads, appends that wait share one commit.

Owns threads and the bounded queue of waiting appends. Does not own a single row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from edge.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.journal.entries import Entry
    from edge.journal.journal import Journal
    from edge.journal.opening import Birth
    from edge.journal.verify import ChainReport
    from protocol.bodies import Body
    from protocol.frames import Older

GROUPS_MAX = 64
"""Appends sharing one commit: more would only make the first of them wait longer."""

_T = TypeVar("_T")


class JournalBusy(JournalError):  # noqa: N818 - a state of the queue, named as people say it
    """Too many appends are waiting for the disk; nothing of this one was saved. Try again."""

    code = "journal.busy"
    retry = True


class AsyncJournal:
    """Facade over a Journal that the station and sync share; every method belongs to one event loop.

    `on_append` functions are called in the loop after each commit with the new head.
    """

    def __init__(self, journal: Journal, queue_max: int = 1024) -> None:
        self.journal = journal
        self.on_append: list[Callable[[int], None]] = []
        self.last_check: ChainReport | None = None
        self._queue_max = queue_max
        self._waiting: deque[tuple[tuple[Body, ...], int | None, asyncio.Future[list[Entry]]]] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-read")

    @property
    def gateway(self) -> str:
        """The gateway's id."""
        return self.journal.gateway

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self.journal.epoch

    @property
    def boot(self) -> int:
        """The current boot's number."""
        return self.journal.boot

    @property
    def head(self) -> int:
        """The last seq that is saved."""
        return self.journal.head

    @property
    def head_digest(self) -> bytes:
        """The chain's digest at `head`."""
        return self.journal.head_digest

    @property
    def acked(self) -> int:
        """The last seq the cloud has committed."""
        return self.journal.acked

    @property
    def first_kept(self) -> int:
        """The oldest seq still held."""
        return self.journal.first_kept

    async def append(self, *bodies: Body, epoch: int | None = None) -> list[Entry]:
        """Save these bodies together; durable when it returns.

        Cancelling the caller does not undo it: the append still happens. Raises JournalBusy when
        the queue is full, else as `Journal.append`.
        """
        if len(self._waiting) >= self._queue_max:
            raise JournalBusy(f"{self._queue_max} appends are waiting for the disk; try again")
        future: asyncio.Future[list[Entry]] = asyncio.get_running_loop().create_future()
        self._waiting.append((bodies, epoch, future))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._write_waiting(), name="journal-appends")
        return await future

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(GROUPS_MAX, len(self._waiting)))]
            groups, epochs, futures = zip(*batch, strict=True)
            try:
                outcomes: list[Any] = await self._write(self.journal.append_groups, groups, epochs)
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it was
                outcomes = [error] * len(batch)
            for future, outcome in zip(futures, outcomes, strict=True):
                _resolve(future, outcome)
            if any(isinstance(outcome, list) for outcome in outcomes):
                self._announce()

    def _announce(self) -> None:
        for callback in self.on_append:
            callback(self.journal.head)

    async def read(self, first: int, bytes_max: int) -> list[bytes]:
        """As `Journal.read`; before it raises `journal.damaged` it repairs, so that asking anew works.

        The current epoch is another one then.
        """
        try:
            return await self._read(self.journal.read, first, bytes_max)
        except JournalError as error:
            if error.code == "journal.damaged":
                await self.repair()
            raise

    async def digest_at(self, seq: int) -> bytes | None:
        """As `Journal.digest_at`."""
        return await self._read(self.journal.digest_at, seq)

    async def entries(self, first: int, last: int) -> list[Entry]:
        """As `Journal.entries`, as a list; keep the range short."""
        return await self._read(lambda: list(self.journal.entries(first, last)))

    async def older(self) -> tuple[Older, ...]:
        """As `Journal.older`."""
        return await self._read(self.journal.older)

    async def acknowledge(self, through: int, server_time_ms: int = 0, epoch: int | None = None) -> None:
        """As `Journal.acknowledge`."""
        await self._write(self.journal.acknowledge, through, server_time_ms, epoch)

    async def quarantined(self, seq: int, code: str) -> None:
        """As `Journal.quarantined`."""
        await self._write(self.journal.quarantined, seq, code)

    async def new_epoch(self, reason: str, *, everything: bool = False) -> None:
        """As `Journal.new_epoch`; appends that wait go into the new epoch."""
        await self._write(lambda: self.journal.new_epoch(reason, everything=everything))
        self._announce()

    async def repair(self) -> Birth:
        """As `Journal.repair`."""
        birth = await self._write(self.journal.repair)
        self._announce()
        return birth

    async def prune(self) -> int:
        """Forget all that may go, a portion at a time with appends in between; returns how many went."""
        total = 0
        while gone := await self._write(self.journal.prune):
            total += gone
        return total

    async def check_rest(self) -> ChainReport:
        """Check every row of every epoch in a thread of its own; `last_check` keeps the report."""
        self.last_check = await asyncio.to_thread(self.journal.verify)
        return self.last_check

    def intake_problem(self) -> str | None:
        """Why no weighing may be taken (`disk_low`, `journal_failed`), None if all is well."""
        return self.journal.intake_allowed().reason or None

    def disk_free_bytes(self) -> int:
        """As `Journal.disk_free_bytes`."""
        return self.journal.disk_free_bytes()

    def autonomy_h(self) -> float:
        """As `Journal.autonomy_h`."""
        return self.journal.autonomy_h()

    async def close(self) -> None:
        """Let waiting appends finish, then close the journal."""
        if self._pump is not None:
            await self._pump
        await self._write(self.journal.close)
        self._writer.shutdown()
        self._reader.shutdown()

    async def _write(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)

    async def _read(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)


def _resolve(future: asyncio.Future[list[Entry]], outcome: list[Entry] | Exception) -> None:
    if future.done():
        return  # its caller was cancelled; the records are saved all the same
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
