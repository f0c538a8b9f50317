"""Certificates in place of the broker's passwords."""

from __future__ import annotations

from cloud.kit.migrations.scripts import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add what gateways ask for and what they were given."""
    run_script("0005_certificates.sql")
