"""Ingest: what gateways signed becomes records, credits and events in one transaction, then an ack."""
