"""Bins, pickups, and who holds which kilos. Ingest writes the movements; operators register bins."""
