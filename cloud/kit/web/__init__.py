"""What every endpoint shares: problems, access, idempotency, pages, limits. Knows FastAPI, no domain."""
