"""The gateway's journal: append-only, hash-chained, durable before anyone is told; one file per epoch."""

from edge.journal.asynchronous import AsyncJournal, JournalBusy
from edge.journal.entries import Entry
from edge.journal.journal import Journal

__all__ = ["AsyncJournal", "Entry", "Journal", "JournalBusy"]
