"""Transfers are numbered in the order in which they were made."""

from __future__ import annotations

from cloud.kit.migrations.scripts import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Take numbers one by one."""
    run_script("0004_order.sql")
