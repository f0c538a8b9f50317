"""Durable appends a second, against bare commits of the same rows in the same schema on the same disk."""

from __future__ import annotations

import secrets
import time
from statistics import median
from typing import TYPE_CHECKING

import apsw

from edge.clock import SystemClock
from edge.config import JournalSettings
from edge.journal import Journal
from edge.journal.statements import SCHEMA
from tests.bench.figures import Figure, ratio_at_least
from tests.bench.visits import SERIAL, weighing

if TYPE_CHECKING:
    from pathlib import Path

    from edge.journal import Entry
    from tests.bench.setup import Setup

_BLOCK = 50
_BLOCKS = 40
_INSERT = "INSERT INTO records (seq, data, digest) VALUES (?, ?, ?)"


def measure(setup: Setup) -> list[Figure]:
    """Blocks of appends and bare commits take turns, so that both meet the same moods of the disk."""
    rounds = [_round(setup.fresh_folder("append")) for _ in setup.rounds("append")]
    ours, bare = zip(*rounds, strict=True)
    return [Figure("append", "appends/s", ours, "bare SQLite FULL", bare, (ratio_at_least(0.7),))]


def _round(folder: Path) -> tuple[float, float]:
    """Appends a second of the journal and commits a second of bare SQLite, each of its median block."""
    journal = Journal.open(
        folder, "bench-gateway", SystemClock(), secrets.token_bytes, JournalSettings(ballast_bytes=0)
    )
    bare = bare_journal(folder / "bare.db")
    bodies = [weighing(SERIAL, number, 1) for number in range(_BLOCK)]
    ours_s, bare_s = [], []
    for _ in range(_BLOCKS):
        begun = time.perf_counter()
        entries = [journal.append(body)[0] for body in bodies]
        between = time.perf_counter()
        _insert(bare, entries)
        ours_s.append(between - begun)
        bare_s.append(time.perf_counter() - between)
    bare.close()
    journal.close()
    return _BLOCK / median(ours_s), _BLOCK / median(bare_s)


def bare_journal(path: Path) -> apsw.Connection:
    """A new SQLite file as durable as the journal, with its schema, and nothing else."""
    connection = apsw.Connection(str(path))
    connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "FULL")
    connection.execute(SCHEMA)
    return connection


def _insert(connection: apsw.Connection, entries: list[Entry]) -> None:
    for entry in entries:
        connection.execute(_INSERT, (entry.seq, entry.data, entry.digest))
