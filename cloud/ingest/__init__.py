"""Ingest: what gateways signed becomes records, visits, credits and events, in one transaction, then an ack."""
