"""The journal's SQL, read from `queries.sql` and `schema.sql`; no SQL is written anywhere else."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(text: str) -> dict[str, str]:
    """Map the name in each `-- name:` line to the statement below it, comments dropped."""
    pieces = _NAME.split(text)
    return {name: _bare(sql) for name, sql in zip(pieces[1::2], pieces[2::2], strict=True)}


def _bare(sql: str) -> str:
    lines = (line for line in sql.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip().removesuffix(";")


def _text(name: str) -> str:
    return (resources.files("edge.journal") / name).read_text(encoding="utf-8")


def migrations() -> list[tuple[int, str]]:
    """(version, script) of every numbered migration, ascending; a script brings version - 1 to version."""
    folder = resources.files("edge.journal") / "migrations"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(int(name[:4]), _text(f"migrations/{name}")) for name in names]


SCHEMA: Final = _text("schema.sql")
QUERIES: Final = load_queries(_text("queries.sql"))
SCHEMA_VERSION: Final = max((version for version, _ in migrations()), default=1)
"""Version of `schema.sql`; 1 is the schema before the first migration."""
