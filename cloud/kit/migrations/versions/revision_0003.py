"""The sides of a fork are told apart."""

from __future__ import annotations

from cloud.kit.migrations.scripts import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the function that stays on a record's own side, and whose pickup a bin is."""
    run_script("0003_sides.sql")
