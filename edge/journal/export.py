"""Records as JSON-ready objects, one a line, for anyone to compare with the cloud's.

Pure except for `export_directory`, which reads every epoch's file beside a running agent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from edge.errors import JournalError
from edge.journal import files
from edge.journal.filesystem import LOCAL
from edge.journal.store import Reader
from protocol.bodies import HolderKind, RecordCarried
from protocol.cards import PSEUDONYM_LENGTH
from protocol.errors import RecordError
from protocol.records import decode_record, next_digest, record_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.records import Record

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def export_line(gateway: str, epoch: int, seq: int, digest: bytes, data: bytes) -> dict[str, Any]:
    """One record: `gateway, epoch, seq, id, kind, recorded_at` and the fields of its body.

    Bytes are lower-case hex, enumerations lower-case words. `holder` is as journalled, `citizen` the card's
    pseudonym. A record that this version cannot read has kind None and its bytes in `data`.
    """
    line: dict[str, Any] = {"gateway": gateway, "epoch": epoch, "seq": seq, "id": str(record_id(digest))}
    try:
        record = decode_record(data)
    except RecordError as error:
        return {**line, "kind": None, "code": error.code, "data": data.hex()}
    return {**line, **_told(record)}


def _told(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: _readable(value) for name, value in msgspec.structs.asdict(record.body).items()
    }
    told: dict[str, Any] = {
        "kind": record.kind,
        "recorded_at": _timestamp(record.wall_ms),
        "boot": record.boot,
        "mono_ms": record.mono_ms,
        "clock": record.clock.name.lower(),
    }
    if getattr(record.body, "holder_kind", None) is HolderKind.CARD:
        told["citizen"] = fields["holder"][: 2 * PSEUDONYM_LENGTH]
    # Bodies name other records' seq and epoch too; a line's own come first.
    return {**{name: value for name, value in fields.items() if name not in _OWN}, **told}


_OWN = frozenset({"gateway", "epoch", "seq", "id", "kind"})


def _readable(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    name = getattr(value, "name", None)
    return name.lower() if isinstance(name, str) else value


def _timestamp(wall_ms: int) -> str | None:
    try:
        return (_UNIX + timedelta(milliseconds=wall_ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def unwrapped(epoch: int, seq: int, digest: bytes, data: bytes) -> tuple[int, int, bytes, bytes]:
    """(epoch, seq, digest, data) of the record itself: of the one inside, if this one carries it."""
    try:
        body = decode_record(data).body
    except RecordError:
        return epoch, seq, digest, data
    if isinstance(body, RecordCarried):
        return body.epoch, body.seq, next_digest(body.prev_digest, body.data), body.data
    return epoch, seq, digest, data


def export_directory(directory: Path) -> Iterator[dict[str, Any]]:
    """Every record of every epoch still held, oldest epoch first, each once under its original epoch and seq.

    A carried record has `carried_in` [epoch, seq] if only the later epoch still holds it. Raises JournalError
    if a file is damaged; what was set aside is not looked into.
    """
    seen: set[bytes] = set()
    for reader in _readers(directory):
        state = reader.state
        try:
            for row_seq, row_data, row_digest in reader.rows(state.anchor_seq + 1, reader.head(0)):
                epoch, seq, digest, data = unwrapped(state.epoch, row_seq, row_digest, row_data)
                if digest[:16] in seen:
                    continue
                seen.add(digest[:16])
                line = export_line(state.gateway, epoch, seq, digest, data)
                yield line if epoch == state.epoch else {**line, "carried_in": [state.epoch, row_seq]}
        finally:
            reader.close()


def _readers(directory: Path) -> list[Reader]:
    try:
        readers = [Reader(path, LOCAL) for path in files.epoch_files(directory, LOCAL)]
    except apsw.Error as error:
        raise JournalError(
            f"a journal in {directory} cannot be opened: {error}; start the gateway once to repair it",
            code="journal.unread",
        ) from error
    return sorted(readers, key=lambda reader: reader.state.generation)
