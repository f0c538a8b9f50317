"""Weighings as the cloud committed them: lists, details, export. Reads only; ingest writes them."""
