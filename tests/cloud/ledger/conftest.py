"""The ledger is tested through ingest, which posts to it."""

from tests.cloud.ingest.conftest import site

__all__ = ["site"]
