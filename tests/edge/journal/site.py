"""A folder with a journal in it, a clock that stands until moved, and seeded randomness."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import apsw

from edge.config import JournalSettings
from edge.journal import Journal
from edge.journal.filesystem import LOCAL
from protocol.bodies import (
    DepositClosed,
    DepositOpened,
    HolderKind,
    Outcome,
    Stability,
    TareKind,
    WeighingRecorded,
)
from protocol.records import genesis_digest, next_digest
from tests.edge import hand_clock
from tests.edge.hand_clock import HandClock

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal.filesystem import FileSystem
    from protocol.bodies import Body

GATEWAY = "ktm-drop-01"
NOW_MS = hand_clock.NOW_MS
BOOT = "8f0a51ce-0000-4000-8000-000000000001"
DAY_MS = 86_400_000
SMALL = JournalSettings(ballast_bytes=0, free_bytes_min=0)


@dataclass
class Site:
    """Opens the same journal again and again; call `crash` to leave it as a killed process would."""

    folder: Path
    seed: int = 1
    settings: JournalSettings = SMALL
    clock: HandClock = field(default_factory=HandClock)
    boot_id: str = BOOT

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def open(self, gateway: str = GATEWAY) -> Journal:
        return self.open_on(LOCAL, gateway)

    def open_on(self, disk: FileSystem, gateway: str = GATEWAY) -> Journal:
        return Journal.open(
            self.folder,
            gateway,
            self.clock,
            self.random_bytes,
            self.settings,
            boot_id=self.boot_id,
            disk=disk,
        )

    def journal_file(self) -> Path:
        (path,) = self.folder.glob("*.journal")
        return path


def crash(journal: Journal) -> None:
    """Drop every connection and lock without the clean closing: the WAL stays as it is."""
    journal._reader.close()
    journal._store._drop_writer()
    import os

    os.close(journal._lock)


def weighing(grams: int = 1235) -> Body:
    return WeighingRecorded(
        HolderKind.CARD,
        b"pseudony\x01",
        "pet",
        25,
        b"c" * 32,
        "B123",
        "kg",
        5,
        Stability.FLAG,
        TareKind.NONE,
        0,
        1,
        b"S S      1.235 kg\r\n",
        grams,
        grams,
        grams * 25 // 1000,
    )


def visits(journal: Journal, count: int) -> None:
    """Three records each."""
    for number in range(count):
        opened = journal.append(DepositOpened(HolderKind.GUEST, number.to_bytes(16, "big")))[0]
        journal.append(weighing(1000 + number))
        journal.append(DepositClosed(opened.seq, Outcome.COMPLETED, 1, 1000 + number, 25))


def chain_holds(journal: Journal) -> bool:
    """Whether the journal's own words add up, recomputed here from its bytes."""
    digest = genesis_digest(journal.gateway, journal.epoch)
    seq = 0
    for entry in journal.entries():
        seq, digest = seq + 1, next_digest(digest, entry.data)
        if (entry.seq, entry.digest) != (seq, digest):
            return False
    return (seq, digest) == (journal.head, journal.head_digest)


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Run a statement on a journal's file that nobody has open."""
    connection = apsw.Connection(str(path))
    try:
        return list(connection.execute(statement))
    finally:
        connection.close()
