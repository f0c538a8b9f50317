"""What the journal owes to those whom it told something, and the examination whether a reopened one pays.

Written against the journal's public face and the protocol's words alone: the chain is recomputed here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from protocol.bodies import RecordCarried
from protocol.records import decode_record, genesis_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge.journal import Journal
    from edge.journal.filesystem import FileSystem


@dataclass(frozen=True, slots=True)
class Promise:
    """Records are named by the digest under which they were born.

    `owed`: told as saved and not acknowledged, so they are held and will be sent. `known`: all that ever were
    asked to be saved, but for those that were refused. `marks`: what an epoch's acknowledged seq may be.
    `together`: records of one transaction that is under way: all of them are there or none, unless the
    journal had to be salvaged: nobody can tell a log torn by a power cut from one that was damaged, where
    every record may have been told, so whatever the chain vouches for is kept. `unsure`: masses of weighings
    of which it was said that nobody can tell whether they were saved.
    """

    owed: frozenset[bytes] = frozenset()
    known: frozenset[bytes] = frozenset()
    marks: frozenset[tuple[int, int]] = frozenset()
    together: tuple[bytes, ...] = ()
    unsure: frozenset[int] = frozenset()

    def broken_by(self, found: Found) -> Iterator[str]:
        """Every way in which the promise is broken by what was found."""
        yield from found.problems
        unsent = frozenset(found.unsent)
        if lost := self.owed - unsent:
            yield f"{len(lost)} of {len(self.owed)} records told as saved are lost, as {min(lost).hex()[:12]}"
        known = self.known
        strange = {
            one for one, mass_g in zip(found.held, found.masses_g, strict=True)
            if one not in known and mass_g not in self.unsure
        }  # fmt: skip
        if strange:
            yield f"{len(strange)} records are there that nobody saved, as {min(strange).hex()[:12]}"
        if len(unsent) != len(found.unsent):
            yield "a record is there twice"
        there = [digest in unsent for digest in self.together]
        if any(there) and not all(there) and not found.salvaged:
            yield f"of {len(there)} records of one transaction only {sum(there)} are there"
        epochs = {epoch for epoch, _ in self.marks}
        mark = (found.epoch, found.acked)
        if mark not in self.marks if found.epoch in epochs else found.acked:
            yield f"acknowledged through {found.acked}, which nobody said of epoch {found.epoch}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a journal says of itself: the records held by their born digests, those beyond its acknowledged
    mark, and what is wrong with it whatever was promised. `salvaged`: a file was damaged.
    `masses_g`: what was weighed, 0 for records that are no weighing; like `held`."""

    epoch: int
    acked: int
    held: tuple[bytes, ...]
    unsent: tuple[bytes, ...]
    problems: tuple[str, ...]
    salvaged: bool
    masses_g: tuple[int, ...]


def born(data: bytes, digest: bytes) -> tuple[bytes, int]:
    """A record's digest and mass at its birth: those of the one inside, if this one carries it."""
    body = decode_record(data).body
    if isinstance(body, RecordCarried):
        digest = hashlib.sha256(body.prev_digest + body.data).digest()
        body = decode_record(body.data).body
    return digest, getattr(body, "net_g", 0)


def unsent(journal: Journal) -> list[bytes]:
    """Born digests of what the cloud has not acknowledged."""
    return [born(entry.data, entry.digest)[0] for entry in journal.entries(journal.acked + 1)]


def held(journal: Journal) -> list[bytes]:
    """Born digests of all that the current epoch holds."""
    return [born(entry.data, entry.digest)[0] for entry in journal.entries()]


class Written(NamedTuple):
    """A record as it lies on the disk: what proves it is the digest before it."""

    data: bytes
    digest: bytes
    previous: bytes


def written(journal: Journal) -> dict[bytes, Written]:
    """By its born digest, each record that the cloud has not acknowledged."""
    found: dict[bytes, Written] = {}
    previous = journal.digest_at(journal.acked) or b""
    for entry in journal.entries(journal.acked + 1):
        found[born(entry.data, entry.digest)[0]] = Written(entry.data, entry.digest, previous)
        previous = entry.digest
    return found


def examine(journal: Journal, disk: FileSystem) -> Found:
    """Read all of it, check the chain and SQLite's own structure."""
    problems: list[str] = []
    rows: list[tuple[int, bytes, int]] = []
    at = journal.first_kept - 1
    digest = journal.digest_at(at) if at else genesis_digest(journal.gateway, journal.epoch)
    for entry in journal.entries():
        at += 1
        digest = hashlib.sha256((digest or b"") + entry.data).digest()
        if (entry.seq, entry.digest) != (at, digest):
            problems.append(f"the chain breaks at seq {at} of epoch {journal.epoch}")
            break
        rows.append((entry.seq, *born(entry.data, entry.digest)))
    if not problems and (journal.head, journal.head_digest) != (at, digest):
        problems.append(f"the head is {journal.head}, the last record {at}")
    problems += _structure(journal, disk)
    return Found(
        epoch=journal.epoch,
        acked=journal.acked,
        held=tuple(digest for _, digest, _ in rows),
        unsent=tuple(digest for seq, digest, _ in rows if seq > journal.acked),
        problems=tuple(problems),
        salvaged=journal.birth.reason == "damaged",
        masses_g=tuple(mass_g for _, _, mass_g in rows),
    )


def _structure(journal: Journal, disk: FileSystem) -> list[str]:
    path = str(journal.directory / f"{journal.epoch:016x}.journal")
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs=disk.vfs)
    try:
        found: list[Any] = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close(True)
    return [] if found == ["ok"] else [f"integrity_check says {found[0]}"]


def acknowledged(promise: Promise, digests: Iterable[bytes]) -> Promise:
    """The cloud has these: they are owed no more, though they may still be there."""
    return replace(promise, owed=promise.owed - frozenset(digests))
