"""Runs a revision's `.sql` file, all of it, inside the migration's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import op

_VERSIONS = Path(__file__).parent / "versions"


def run_script(name: str) -> None:
    """Execute `versions/<name>` as it stands: several statements, no parameters."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None, "migrations run online"  # noqa: S101 - narrows the type
    connection.execute((_VERSIONS / name).read_text(encoding="utf-8"))
