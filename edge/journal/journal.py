"""The gateway's append-only journal: what is appended here is what "saved" means.

Owns the current epoch, its chain, its acknowledged mark and what is kept how long; one thread writes, any
thread may read. Does not own threads (`asynchronous`) nor what the station makes of records.
"""

from __future__ import annotations

import os
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from edge.errors import JournalError
from edge.journal import database, files, opening
from edge.journal.disk import Disk, Intake
from edge.journal.entries import Entry
from edge.journal.filesystem import LOCAL, FileSystem
from edge.journal.older import EVERYTHING, older_epochs
from edge.journal.opening import Birth, Site
from edge.journal.retention import Retention
from edge.journal.store import Reader, Store, telling
from edge.journal.verify import ChainReport, Progress, verify_directory
from protocol.errors import RecordError
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge.clock import Clock
    from edge.config import JournalSettings
    from edge.journal.store import Row
    from protocol.bodies import Body
    from protocol.frames import Older

    Outcome = list[Entry] | JournalError | RecordError

_T = TypeVar("_T")
_QUALITY_MS: Final = 1000
"""How long a judgement of the clock's quality is used; asking costs several system calls."""
_STEP_MS: Final = 100
"""Wall and monotonic time may part by this much between two looks without anybody having set the clock."""
_HOUR_MS: Final = 3_600_000
_BUSY_HOUR_BYTES: Final = 256 * 1024
"""What a busy hour writes at least: a visit a minute, ten records each, SQLite's pages around them."""


class Journal:
    """One gateway's journal, open for writing by this process alone. Use `Journal.open`."""

    def __init__(self, site: Site, settings: JournalSettings, lock: int) -> None:
        self._site = site
        self._lock = lock
        self._disk = Disk(site.directory, settings, site.disk)
        self._retention = Retention(site.directory, self._disk, settings.keep_days, site.disk)
        self._written = (site.clock.mono_ms(), 0)
        self._quality: tuple[int, int, ClockQuality] | None = None
        self._failed = False
        self._older: tuple[int, tuple[Older, ...]] | None = None
        self._doubtful = False
        self._store, self._reader, self.birth = self._opened()
        self._disk.keep_ballast()

    @classmethod
    def open(
        cls,
        directory: Path,
        gateway: str,
        clock: Clock,
        random: Callable[[int], bytes],
        settings: JournalSettings,
        *,
        boot_id: str | None = None,
        disk: FileSystem = LOCAL,
    ) -> Journal:
        """Open, repair or create the journal in `directory`; `birth` tells which.

        `random(n)` gives n random bytes; `boot_id` is the kernel's and `disk` this machine's unless others
        are handed in. Raises JournalError: `journal.locked`, `journal.foreign`, `journal.sqlite_old`,
        `journal.not_durable`, `journal.full`, `journal.unopened`.
        """
        database.check_library()
        boot_id = boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with telling():
            disk.make_folder(directory)
            lock = files.take_lock(directory, disk)
        try:
            return cls(Site(directory, gateway, boot_id, clock, random, disk), settings, lock)
        except BaseException:
            os.close(lock)
            raise

    def _opened(self) -> tuple[Store, Reader, Birth]:
        try:
            return self._open_current(thorough=self._doubtful)
        except JournalError as error:
            # Even opening writes a little. If the disk is full, the ballast is what makes that possible.
            damaged = error.code == "journal.damaged" and not self._doubtful
            if not (damaged or (self._disk.low() and self._disk.release_ballast())):
                raise
            return self._open_current(thorough=damaged or self._doubtful)

    def _open_current(self, *, thorough: bool) -> tuple[Store, Reader, Birth]:
        with telling():
            store, birth = opening.open_current(self._site, thorough=thorough)
            try:
                return store, Reader(store.path, self._site.disk), birth
            except BaseException:
                store.close()
                raise

    @property
    def directory(self) -> Path:
        """The folder the journal is in."""
        return self._site.directory

    @property
    def gateway(self) -> str:
        """The gateway's id."""
        return self._site.gateway

    @property
    def epoch(self) -> int:
        """The current epoch, 53 random bits."""
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

    def append(self, *bodies: Body, epoch: int | None = None) -> list[Entry]:
        """Save records of these bodies in one transaction; durable when it returns.

        Bodies that name seqs say of which `epoch`. Raises JournalError (`journal.full`, `journal.failed`,
        `journal.epoch` if that is over, `journal.damaged` which the next change repairs: none was saved;
        `journal.unsure`: the disk does not answer, so nobody can tell before it does) or RecordError
        `record.too_large`.
        """
        outcome = self.append_groups([bodies], [epoch])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def append_groups(
        self, groups: Sequence[Sequence[Body]], epochs: Sequence[int | None] = ()
    ) -> list[Outcome]:
        """Save several groups in one transaction; a group that cannot be encoded fails alone.

        `epochs` says of each group in which epoch alone it makes sense; None, or nothing: in any.
        """
        try:
            self._certain()
            self._store.ready()
        except JournalError as error:
            self._suspect(error)
            return [error for _ in groups]
        sample = self._site.clock.mono_ms(), self._site.clock.wall_ms()
        rows: list[Row] = []
        outcomes: list[Outcome] = []
        seq, digest = self._store.head, self._store.head_digest
        for bodies, epoch in zip_longest(groups, epochs):
            if epoch not in {None, self.epoch}:
                outcomes.append(JournalError("the epoch that these speak of is over", code="journal.epoch"))
                continue
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

    def _commit(self, rows: list[Row], outcomes: list[Outcome]) -> list[Outcome]:
        try:
            if rows:
                self._insert(rows)
                self._failed = False
                self._disk.keep_ballast()
                self._written = (self._written[0], self._written[1] + sum(len(row[1]) for row in rows))
        except JournalError as error:
            self._failed = True
            self._suspect(error)
            return [error if isinstance(outcome, list) else outcome for outcome in outcomes]
        return outcomes

    def _insert(self, rows: list[Row]) -> None:
        try:
            self._store.insert(rows)
        except JournalError as error:
            if error.code != "journal.full" or not self._disk.release_ballast():
                raise
            self._store.insert(rows)

    def _certain(self) -> None:
        """If a change of files was broken off, find out which one is current. Raises JournalError."""
        if self._doubtful:
            self.repair()

    def _with_room(self, work: Callable[[], _T]) -> _T:
        """Do what moves marks or frees space; if the disk is full, with the ballast given back."""
        try:
            done = work()
        except JournalError as error:
            self._suspect(error)
            if error.code == "journal.damaged" or not self._disk.release_ballast():
                raise
            return work()
        self._disk.keep_ballast()
        return done

    def _suspect(self, error: JournalError) -> None:
        """What was found damaged is repaired before the next change."""
        self._doubtful = self._doubtful or error.code == "journal.damaged"

    def _chain(self, bodies: Sequence[Body], seq: int, digest: bytes, sample: tuple[int, int]) -> list[Entry]:
        mono_ms, wall_ms = sample
        quality, boot = self._clock_quality(mono_ms, wall_ms), self.boot
        entries = []
        for body in bodies:
            seq += 1
            record = Record(seq, boot, mono_ms, wall_ms, quality, body)
            data = encode_record(record)
            digest = next_digest(digest, data)
            entries.append(Entry(seq, digest, data, record))
        return entries

    def _clock_quality(self, mono_ms: int, wall_ms: int) -> ClockQuality:
        """What the clock is worth that showed these times. A step makes a remembered judgement worthless."""
        clock, offset_ms, known = self._site.clock, wall_ms - mono_ms, self._quality
        if known is None or not 0 <= mono_ms - known[0] < _QUALITY_MS or abs(offset_ms - known[1]) > _STEP_MS:
            quality = clock.quality()
            if abs(clock.wall_ms() - clock.mono_ms() - offset_ms) > _STEP_MS:
                return ClockQuality.UNKNOWN  # set at this very moment: nobody can tell which time is meant
            known = self._quality = (mono_ms, offset_ms, quality)
        return known[2]

    def read(self, first: int, bytes_max: int) -> list[bytes]:
        """Consecutive record bytes from seq `first`: at most `bytes_max`, but at least one if it exists.

        Empty if `first` is pruned or beyond the head. Raises JournalError `journal.damaged` if the chain
        breaks there: `repair` then.
        """
        previous = self.digest_at(first - 1)
        if previous is None:
            return []
        try:
            return self._reader.read(first, bytes_max, previous)
        except JournalError:
            if first < self.first_kept:
                return []  # pruned between the two questions
            raise

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

    def acknowledge(self, through: int, server_time_ms: int = 0, epoch: int | None = None) -> None:
        """The cloud has committed everything up to `through`; a restored cloud moves it back.

        `server_time_ms` is the time its ack signs; what is kept how long is counted in it. Raises
        JournalError `journal.range` beyond the head, `journal.epoch` if `epoch` is not the present one.
        """
        self._certain()
        if epoch not in {None, self.epoch}:
            raise JournalError("what was acknowledged is of an epoch that is over", code="journal.epoch")
        if not 0 <= through <= self.head:
            raise JournalError(
                f"seq {through} cannot be acknowledged, the journal ends at {self.head}", code="journal.range"
            )
        state = self._store.state
        digest = self.digest_at(through) or state.anchor_digest
        self._with_room(lambda: self._store.acknowledge(through, digest, max(server_time_ms, 0)))

    def quarantined(self, seq: int, code: str) -> None:
        """The cloud holds record `seq` but could not apply it, for the reason `code`."""
        self._certain()
        self._with_room(lambda: self._store.change(("note_quarantined", {"seq": seq, "code": code})))

    def quarantine(self) -> dict[int, str]:
        """Codes by seq of kept records that the cloud said it quarantined."""
        return self._reader.quarantined()

    def older(self) -> tuple[Older, ...]:
        """What to tell a cloud of the epochs before this one, oldest first; from any thread."""
        known, state = self._older, self._store.state
        if known is None or known[0] != state.epoch:
            known = self._older = state.epoch, older_epochs(self.directory, self._site.disk, state)
        return known[1]

    def new_epoch(self, reason: str, *, everything: bool = False) -> None:
        """Go on in a new file that carries whatever is not acknowledged; the old one is kept until it is.

        `everything` carries also what is acknowledged and still kept, of older epochs too: for a cloud that
        was restored from before them; the reason is EVERYTHING then. Raises JournalError; then the old epoch
        goes on, or the new one if its
        file had its name already: what comes next finds out.
        """
        self._certain()

        def build() -> tuple[Store, Birth]:
            with telling():
                found = opening.examine_all(self._site)
                if any(one.damage for one in found):
                    self.repair()
                    found = opening.whole_files(self._site)
                why = EVERYTHING if everything else reason
                return opening.next_epoch(self._site, why, found, everything=everything)

        self._doubtful = True
        store, birth = self._with_room(build)
        with telling():
            reader = Reader(store.path, self._site.disk)
        self._switch(store, reader, birth)

    def repair(self) -> Birth:
        """Examine every file again, as at a start: damage is set aside and what is intact carried on."""
        self._doubtful = True
        self._reader.close()
        self._store.close()
        self._store, self._reader, self.birth = self._opened()
        self._doubtful = False
        return self.birth

    def _switch(self, store: Store, reader: Reader, birth: Birth) -> None:
        old_store, old_reader = self._store, self._reader
        self._store, self._reader, self.birth, self._doubtful = store, reader, birth, False
        old_reader.close()
        old_store.close()

    def verify(self, progress: Progress | None = None) -> ChainReport:
        """Check every row of every epoch; reads only, from any thread, beside appends."""
        return verify_directory(self.directory, progress, self._site.disk)

    def prune(self) -> int:
        """Forget one portion of what is acknowledged and old, or sooner if room is short.

        Returns how many rows and files went; call again until 0. Raises JournalError.
        """
        self._certain()
        gone = self._with_room(self._pruned)
        if gone:
            self._older = None
        else:
            self._with_room(self._store.checkpoint)
        return gone

    def take_forgotten(self) -> list[str]:
        """Names of files that were set aside and then removed, each told once; from any thread."""
        forgotten = self._retention.forgotten
        return [forgotten.popleft() for _ in range(len(forgotten))]

    def _pruned(self) -> int:
        with telling():
            return self._retention.step(self._store)

    def intake_allowed(self) -> Intake:
        """Whether a weighing may be taken: room on the disk, and a journal that takes appends."""
        if self._failed:
            return Intake(False, "journal_failed")
        nothing_to_prune = self.first_kept > self.acked
        if self._disk.low() or (nothing_to_prune and self._disk.over_budget()):
            return Intake(False, "disk_low")
        return Intake(True)

    def disk_free_bytes(self) -> int:
        """What this process could still write to the journal's disk."""
        return self._disk.free_bytes()

    def autonomy_h(self) -> float:
        """Hours until intake stops for want of room, at the greater of this run's rate and a busy hour's."""
        since_ms, written = self._written
        hours = max((self._site.clock.mono_ms() - since_ms) / _HOUR_MS, 1.0)
        pages = 3 * written / hours  # a row takes up to three times its bytes, its digest and pages included
        return self._disk.room_bytes() / max(pages, _BUSY_HOUR_BYTES)

    def close(self) -> None:
        """Close every connection; what was appended stays."""
        self._reader.close()
        self._store.close()
        os.close(self._lock)
