"""The scorecard: what was proven, how often, at which commit, and whether it still stands.

Kept as `scorecard.json` for programs and `SCORECARD.md` for people; written by `make prove` alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.proof.row import Figures, Row
    from tests.proof.runner import Result

ROOT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).with_name("scorecard.json")
PAGE = Path(__file__).with_name("SCORECARD.md")

_HEAD = """\
# Scorecard

What was put to the test, how often, and what was found broken. A row stands while no file it covers has
changed since its commit; `make prove` runs again only what no longer stands. 0 violations in n independent
cases bound their rate at about 3/n with 95 % confidence, no better.

| row | what ran | count | violations | seed | seconds | commit | figures |
|---|---|---:|---:|---:|---:|---|---|
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row's last run. `commit` ends in `+` if the tree had changes beside it."""

    row: str
    name: str
    unit: str
    count: int
    violations: int
    seed: int
    seconds: float
    commit: str
    fingerprint: str
    figures: Figures = field(default_factory=dict)

    def stands(self, row: Row, count: int) -> bool:
        """Whether this run answers for `count` cases of the row as the files are now."""
        return self.violations == 0 and self.count >= count and self.fingerprint == fingerprint(row)


def entry_of(row: Row, seed: int, result: Result, begun_with: str) -> Entry:
    """What to keep of a run; `begun_with` is the fingerprint from before it."""
    return Entry(
        row.id, row.name, row.unit, result.count, result.violations, seed, result.seconds,
        commit(), begun_with, result.figures,
    )  # fmt: skip


def load(path: Path = STORE) -> dict[str, Entry]:
    """The entries by row; none if nothing was ever kept."""
    if not path.exists():
        return {}
    return {each["row"]: Entry(**each) for each in json.loads(path.read_text())}


def keep(entry: Entry, order: Iterable[str]) -> None:
    """Write an entry into both files beside what others, running other rows now, have written there."""
    folder = os.open(STORE.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = load() | {entry.row: entry}
        ordered = [entries[name] for name in order if name in entries]
        STORE.write_text(json.dumps([asdict(each) for each in ordered], indent=1) + "\n")
        PAGE.write_text(page_of(ordered))
    finally:
        os.close(folder)


def page_of(entries: Sequence[Entry]) -> str:
    """The scorecard as Markdown."""
    return _HEAD + "".join(_line(each) for each in entries)


def _line(entry: Entry) -> str:
    return (
        f"| {entry.row} | {entry.name} | {entry.count:,} {entry.unit} | {entry.violations:,} | {entry.seed} "
        f"| {entry.seconds:,.0f} | {entry.commit} | {spelled(entry.figures)} |\n"
    )


def spelled(figures: Figures) -> str:
    """Figures in one line, for people."""
    return ", ".join(f"{name} {_number(value)}" for name, value in figures.items())


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def fingerprint(row: Row) -> str:
    """A digest of every tracked file the row covers, as it lies in the folder now.

    Tests beside a row's files are left out: they judge the row, no row uses them.
    """
    digest = hashlib.sha256()
    for name in sorted(_git("ls-files", "-z", "--", *row.covers).split("\0")):
        path = ROOT / name
        if name and path.is_file() and not path.name.startswith("test_"):
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def commit() -> str:
    """The commit checked out, with `+` if tracked files differ from it (the scorecard itself aside)."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{STORE.relative_to(ROOT)}",
                   f":!{PAGE.relative_to(ROOT)}")  # fmt: skip
    return _git("rev-parse", "--short=10", "HEAD").strip() + ("+" if changed.strip() else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout
