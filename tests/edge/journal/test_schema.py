"""The schema: its text is pinned, it only ever gains, and every historic file opens."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge.journal.statements import QUERIES, SCHEMA_VERSION, load_queries, migrations
from protocol.bodies import GatewayStarted
from tests.edge.journal.site import Site, chain_holds, sql

FIXTURES = Path(__file__).parent / "fixtures"
VERSION_1_HEAD = "92000a0847c37b1a0639ea7d4a2c143f31c8386fd08b3545b0b481910def0d95"

TABLES = {
    "records": """CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT""",
    "journal": """CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    gateway TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    reason TEXT NOT NULL,
    boot INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    carried_through INTEGER NOT NULL,
    anchor_seq INTEGER NOT NULL,
    anchor_digest BLOB NOT NULL,
    acked INTEGER NOT NULL,
    acked_digest BLOB NOT NULL,
    server_time_ms INTEGER NOT NULL,
    settled_ms INTEGER
) STRICT""",
    "sources": """CREATE TABLE sources (
    epoch INTEGER PRIMARY KEY,
    salvaged INTEGER NOT NULL
) STRICT""",
    "acks": """CREATE TABLE acks (
    hour INTEGER PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT""",
    "quarantined": """CREATE TABLE quarantined (
    seq INTEGER PRIMARY KEY,
    code TEXT NOT NULL
) STRICT""",
}
"""What is in the field. A change here needs a numbered migration that only adds, and a new fixture."""


def tables(path: Path) -> dict[object, object]:
    return dict(sql(path, "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"))  # type: ignore[arg-type]


def old_journal(site: Site) -> Path:
    site.folder.mkdir(mode=0o700)
    path = site.folder / "0081018202830384.journal"
    shutil.copy(FIXTURES / "version_1.journal", path)
    return path


def test_a_new_file_has_exactly_the_pinned_schema(site: Site) -> None:
    site.open().close()
    assert tables(site.journal_file()) == TABLES
    assert sql(site.journal_file(), "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_a_file_of_version_1_opens_with_every_record_and_takes_new_ones(site: Site) -> None:
    path = old_journal(site)
    journal = site.open()
    assert (journal.head, journal.acked, journal.head_digest.hex()) == (11, 4, VERSION_1_HEAD)
    assert journal.birth.reason == "continued"
    assert isinstance(next(journal.entries()).record.body, GatewayStarted)
    journal.append(GatewayStarted("0.2.0", "b", "upgrade"))
    journal.acknowledge(12, 1_780_000_000_900)
    assert chain_holds(journal)
    journal.close()
    assert tables(path) == TABLES


def test_a_file_of_a_newer_version_is_used_as_it_is(site: Site) -> None:
    site.open().close()
    path = site.journal_file()
    sql(path, "ALTER TABLE journal ADD COLUMN invented INTEGER NOT NULL DEFAULT 7")
    sql(path, "CREATE TABLE later (a)")
    sql(path, "PRAGMA user_version = 99")
    journal = site.open()
    journal.append(GatewayStarted("0.1.0", "b", "downgrade"))
    journal.new_epoch("restored")
    journal.close()
    site.open().close()
    assert sql(path, "PRAGMA user_version") == [(99,)]


def test_migrations_are_numbered_without_gaps_and_only_add() -> None:
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(2, SCHEMA_VERSION + 1))
    for _, script in migrations():
        code = " ".join(line for line in script.splitlines() if not line.startswith("--"))
        for bare in (statement.strip() for statement in code.split(";") if statement.strip()):
            assert bare.startswith(("CREATE TABLE", "CREATE INDEX", "ALTER TABLE")), bare
            assert "DROP" not in bare
            assert "RENAME" not in bare


def test_queries_are_found_by_their_names() -> None:
    assert load_queries("-- name: one\n-- why\nSELECT 1;\n\n-- name: two\nSELECT\n  2;\n") == {
        "one": "SELECT 1",
        "two": "SELECT\n  2",
    }
    assert QUERIES["insert_record"].startswith("INSERT INTO records")
