"""One row of the journal as the rest of the gateway sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.records import Record, decode_record, record_id

if TYPE_CHECKING:
    import uuid


class Entry:
    """A journalled record: `seq` within its epoch, the chain's 32-byte `digest` after it, its bytes.

    `record` is decoded when asked for, because a journal may hold kinds of a newer version: it raises
    RecordError then, while seq, digest, data and id stay usable.
    """

    __slots__ = ("_record", "data", "digest", "seq")

    def __init__(self, seq: int, digest: bytes, data: bytes, record: Record | None = None) -> None:
        self.seq = seq
        self.digest = digest
        self.data = data
        self._record = record

    @property
    def record(self) -> Record:
        """The decoded record. Raises RecordError."""
        if self._record is None:
            self._record = decode_record(self.data)
        return self._record

    @property
    def id(self) -> uuid.UUID:
        """The record's id for ever."""
        return record_id(self.digest)

    def __repr__(self) -> str:
        return f"Entry(seq={self.seq}, digest={self.digest.hex()[:16]}, bytes={len(self.data)})"
