"""Holds a journal of a million rows against the cloud's tables, row by row, by neither side's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from cloud.kit.embedded import EmbeddedPostgres
from edge.journal.filesystem import FileSystem
from edge.journal.store import Reader
from protocol.bodies import WeighingRecorded
from protocol.records import decode_record, next_digest, record_id

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

Book = dict["UUID", tuple[int, int]]
"""Grams and points by weighing."""
_CREDITED = "SELECT id, net_g, points FROM weighings"
_WRONGLY_AWARDED = """
SELECT count(*) FROM weighings LEFT JOIN (
    SELECT source, count(*) AS times, sum(amount) AS amount FROM transfers GROUP BY source
) AS awarded ON awarded.source = weighings.id
WHERE coalesce(times, 0) <> (points > 0)::int OR coalesce(amount, 0) <> points
"""


def judge(journal: Path, postgres: Path, visits: int) -> list[str]:
    """Findings in words; none if each of the visits' weighings is credited once, as it was recorded."""
    recorded, findings = read_journal(journal)
    with psycopg.connect(EmbeddedPostgres(postgres).url) as connection:
        rows = connection.execute(_CREDITED).fetchall()
        wrong = connection.execute(_WRONGLY_AWARDED).fetchone()
        held = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    credited = {row[0]: (row[1], row[2]) for row in rows}
    findings += compare(recorded, credited)
    if len(recorded) != visits:
        findings.append(f"{len(recorded)} weighings are in the journal of {visits} that were taken")
    if wrong != (0,):
        findings.append(f"{wrong} weighings have no transfer of just their points, or more than one")
    if held != (0,):
        findings.append(f"{held} records stand in quarantine")
    return findings


def read_journal(folder: Path) -> tuple[Book, list[str]]:
    """Every weighing the journal holds, the chain walked on the way."""
    book: Book = {}
    findings: list[str] = []
    for path in sorted(folder.glob("*.journal")):
        reader = Reader(path, FileSystem())
        at, digest = reader.state.anchor_seq, reader.state.anchor_digest
        for seq, data, stored in reader.rows(at + 1, reader.head(at)):
            digest = next_digest(digest, data)
            if (seq, stored) != (at + 1, digest):
                findings.append(f"the chain of {path.name} breaks at {seq}")
                break
            at = seq
            body = decode_record(data).body
            if isinstance(body, WeighingRecorded):
                book[record_id(digest)] = (body.net_g, body.points or 0)
        reader.close()
    return book, findings


def compare(recorded: Book, credited: Book) -> list[str]:
    """What is lost, doubled, invented or changed, counted, with one example each."""
    kinds = {
        "lost": recorded.keys() - credited.keys(),
        "credited that nobody recorded": credited.keys() - recorded.keys(),
        "credited otherwise than recorded": {
            each for each in recorded.keys() & credited.keys() if recorded[each] != credited[each]
        },
    }
    return [f"{len(ids)} weighings are {what}, so {min(ids)}" for what, ids in kinds.items() if ids]
