"""The gateway's journal: append-only, hash-chained, durable before anyone is told; one file per epoch."""

from edge.journal.asynchronous import AsyncJournal, JournalBusy
from edge.journal.disk import Intake
from edge.journal.entries import Entry
from edge.journal.journal import Journal
from edge.journal.opening import Birth
from edge.journal.verify import ChainFault, ChainReport

__all__ = ["AsyncJournal", "Birth", "ChainFault", "ChainReport", "Entry", "Intake", "Journal", "JournalBusy"]
