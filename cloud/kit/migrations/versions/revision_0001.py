"""The first schema."""

from __future__ import annotations

from cloud.kit.migrations.scripts import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    run_script("0001_first.sql")
