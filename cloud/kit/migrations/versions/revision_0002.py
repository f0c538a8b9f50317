"""When things happened, beside what gateways' clocks said."""

from __future__ import annotations

from cloud.kit.migrations.scripts import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add repaired times and what they are repaired from."""
    run_script("0002_times.sql")
