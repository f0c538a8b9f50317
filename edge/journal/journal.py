"""The gateway's append-only journal: what is appended here is what "saved" means.

Owns the current epoch, its chain and its acknowledged mark; one thread writes, any thread may read.
Does not own threads (`asynchronous`), files of one epoch (`store`), nor what the station makes of records.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import JournalError
from edge.journal import database
from edge.journal.entries import Entry
from edge.journal.store import Reader, Row, State, Store
from protocol.errors import RecordError
from protocol.records import Record, encode_record, genesis_digest, next_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge.clock import Clock
    from edge.config import JournalSettings
    from protocol.bodies import Body
    from protocol.records import ClockQuality

SUFFIX = ".journal"
_QUALITY_MS = 1000
"""How long a judgement of the clock's quality is used; asking costs several system calls."""


class Journal:
    """One gateway's journal, open for writing. Use `Journal.open`."""

    def __init__(self, store: Store, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._reader = Reader(store.path)
        self._clock = clock
        self._random = random
        self._quality: tuple[int, ClockQuality] | None = None

    @classmethod
    def open(
        cls,
        directory: Path,
        gateway: str,
        clock: Clock,
        random: Callable[[int], bytes],
        settings: JournalSettings,  # noqa: ARG003 - the disk policy reads it
        *,
        boot_id: str | None = None,
    ) -> Journal:
        """Open or create the journal in `directory`.

        `random(n)` gives n random bytes; `boot_id` is the kernel's unless a test hands in another.
        """
        database.check_library()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        boot_id = boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stores = sorted(
            (Store(path) for path in directory.glob(f"*{SUFFIX}")), key=lambda store: store.state.generation
        )
        store = stores[-1] if stores else _born(directory, gateway, mint_epoch(random), boot_id)
        if store.state.boot_id != boot_id:
            store.change(("set_boot", {"boot": store.state.boot + 1, "boot_id": boot_id}))
        return cls(store, clock, random)

    @property
    def gateway(self) -> str:
        """The gateway's id."""
        return self._store.state.gateway

    @property
    def epoch(self) -> int:
        """The current epoch, 63 random bits."""
        return self._store.state.epoch

    @property
    def boot(self) -> int:
        """How many boots of the kernel this journal has seen, from 1."""
        return self._store.state.boot

    @property
    def head(self) -> int:
        """The last seq that is saved, 0 in a new epoch."""
        return self._store.head

    @property
    def head_digest(self) -> bytes:
        """The chain's digest at `head`."""
        return self._store.head_digest

    @property
    def acked(self) -> int:
        """The last seq the cloud has committed."""
        return self._store.state.acked

    @property
    def first_kept(self) -> int:
        """The oldest seq still held, `head + 1` if none is."""
        return self._store.state.anchor_seq + 1

    @property
    def server_time_ms(self) -> int:
        """The latest time the cloud has signed in an ack, 0 if never."""
        return self._store.state.server_time_ms

    def append(self, *bodies: Body) -> list[Entry]:
        """Save records of these bodies in one transaction; durable when it returns.

        Raises JournalError (`journal.full`, `journal.failed`, `journal.unsure`) or RecordError
        `record.too_large`; then none of them was saved.
        """
        outcome = self.append_groups([bodies])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def append_groups(
        self, groups: Sequence[Sequence[Body]]
    ) -> list[list[Entry] | JournalError | RecordError]:
        """Save several groups in one transaction; a group that cannot be encoded fails alone."""
        sample = self._clock.mono_ms(), self._clock.wall_ms()
        rows: list[Row] = []
        outcomes: list[list[Entry] | JournalError | RecordError] = []
        seq, digest = self._store.head, self._store.head_digest
        for bodies in groups:
            try:
                entries = self._chain(bodies, seq, digest, sample)
            except RecordError as error:
                outcomes.append(error)
                continue
            outcomes.append(entries)
            if entries:
                rows += [(entry.seq, entry.data, entry.digest) for entry in entries]
                seq, digest = entries[-1].seq, entries[-1].digest
        return self._commit(rows, outcomes)

    def _commit(
        self, rows: list[Row], outcomes: list[list[Entry] | JournalError | RecordError]
    ) -> list[list[Entry] | JournalError | RecordError]:
        try:
            if rows:
                self._store.insert(rows)
        except JournalError as error:
            return [error if isinstance(outcome, list) else outcome for outcome in outcomes]
        return outcomes

    def _chain(self, bodies: Sequence[Body], seq: int, digest: bytes, sample: tuple[int, int]) -> list[Entry]:
        mono_ms, wall_ms = sample
        quality, boot = self._clock_quality(mono_ms), self.boot
        entries = []
        for body in bodies:
            seq += 1
            record = Record(seq, boot, mono_ms, wall_ms, quality, body)
            data = encode_record(record)
            digest = next_digest(digest, data)
            entries.append(Entry(seq, digest, data, record))
        return entries

    def _clock_quality(self, mono_ms: int) -> ClockQuality:
        if self._quality is None or not 0 <= mono_ms - self._quality[0] < _QUALITY_MS:
            self._quality = (mono_ms, self._clock.quality())
        return self._quality[1]

    def read(self, first: int, bytes_max: int) -> list[bytes]:
        """Consecutive record bytes from seq `first`: at most `bytes_max`, but at least one if it exists."""
        return self._reader.read(first, bytes_max)

    def digest_at(self, seq: int) -> bytes | None:
        """The chain's digest at `seq`; 0 is the genesis. None if it is not held any more, or not yet."""
        state = self._store.state
        if seq == 0:
            return genesis_digest(state.gateway, state.epoch)
        return state.anchor_digest if seq == state.anchor_seq else self._reader.digest_at(seq)

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Entries with first ≤ seq ≤ last (the head if None), oldest first, as far as they are kept."""
        first, last = max(first, self.first_kept), self.head if last is None else last
        for seq, data, digest in self._reader.rows(first, last):
            yield Entry(seq, digest, data)

    def acknowledge(self, through: int, server_time_ms: int = 0) -> None:
        """The cloud has committed everything up to `through`; a restored cloud moves it back.

        `server_time_ms` is the time its ack signs. Raises JournalError `journal.range` beyond the head.
        """
        if not 0 <= through <= self.head:
            raise JournalError(
                f"seq {through} cannot be acknowledged, the journal ends at {self.head}", code="journal.range"
            )
        digest = self.digest_at(through) or self._store.state.anchor_digest
        values = {"acked": through, "digest": digest, "server_time_ms": server_time_ms}
        self._store.change(("set_acked", values))

    def close(self) -> None:
        """Close every connection; what was appended stays."""
        self._reader.close()
        self._store.close()


def mint_epoch(random: Callable[[int], bytes]) -> int:
    """A random number of 63 bits, never 0."""
    return int.from_bytes(random(8), "big") >> 1 or 1


def _born(directory: Path, gateway: str, epoch: int, boot_id: str) -> Store:
    genesis = genesis_digest(gateway, epoch)
    state = State(gateway, epoch, 1, "first", 1, boot_id, 0, 0, genesis, 0, genesis, 0, None)
    store = Store.create(directory / f"{epoch:016x}{SUFFIX}", state)
    database.sync_folder(directory)
    return store
