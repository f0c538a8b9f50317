"""The third road: the outbox into a file, an answer file back into the journal.

Owns writing and reading courier files on the gateway. Any process may carry them; each item is signed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import SyncError
from edge.sync.outbox import Wiring, apply_ack, new_sender, next_frame
from edge.sync.roads import DocumentArrived
from protocol.acks import open_ack
from protocol.bundle import peek_name
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.delivery import AckOutcome, Plan
from protocol.errors import CourierError, ProtocolError
from protocol.frames import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class CourierFailed(SyncError):  # noqa: N818 - names what happened
    """A courier file could not be written or used."""

    code = "courier.failed"
    retry = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was put into a file."""

    records: int
    frames: int
    through: int


@dataclass(slots=True)
class Imported:
    """What an answer file did. `refused` counts items that did not verify or were not for us."""

    acknowledged: int = 0
    documents: int = 0
    refused: int = 0
    new_epoch: bool = False


async def export_courier(wiring: Wiring, path: Path, progress: Callable[[int, int], None]) -> Exported:
    """Write everything not acknowledged into a new file, durably, and leave the journal as it is.

    `progress(records written, records in all)`. Raises CourierFailed if the file cannot be written.
    """
    journal = wiring.journal
    sender = new_sender(journal)
    total, frames, position = sender.backlog, 0, sender.acked
    fresh = path.with_suffix(path.suffix + ".part")
    try:
        with fresh.open("wb") as stream:
            write_header(stream, Header(Direction.UP, journal.gateway, wiring.clock.wall_ms()))
            enrolment = wiring.enrolment()
            if enrolment is not None:
                write_item(stream, Item.ENROLMENT, enrolment)
            while position < sender.head:
                frame, data = await next_frame(wiring, Plan(position + 1, FRAME_BYTES_MAX))
                write_item(stream, Item.FRAME, data)
                position, frames = frame.last, frames + 1
                progress(position - sender.acked, total)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        raise CourierFailed(f"{path} cannot be written: {error}; is the stick full or read-only?") from error
    return Exported(total, frames, position)


async def import_courier(wiring: Wiring, path: Path) -> Imported:
    """Apply an answer file: documents first, then acks.

    Items that do not verify are counted and skipped; a file cut short is used up to the cut. Raises
    CourierFailed if it cannot be read, CourierError if it is no answer file or another gateway's.
    """
    journal, result = wiring.journal, Imported()
    before = journal.acked
    try:
        with path.open("rb") as stream:
            _check_recipient(read_header(stream, Direction.DOWN), journal.gateway)
            for item, data in read_items(stream):
                await _take(item, data, wiring, result)
    except OSError as error:
        raise CourierFailed(f"{path} cannot be read: {error}") from error
    except CourierError as error:
        if error.code != "courier.cut" or journal.acked == before:
            raise
        result.refused += 1
    result.acknowledged = journal.acked - before
    return result


def _check_recipient(header: Header, gateway: str) -> None:
    if header.gateway != gateway:
        raise CourierError(
            f"this answer is for {header.gateway}, and this is {gateway}", code="courier.wrong_gateway"
        )


async def _take(item: Item, data: bytes, wiring: Wiring, result: Imported) -> None:
    try:
        match item:
            case Item.DOCUMENT:
                await wiring.documents.arrived(DocumentArrived(peek_name(data), data))
                result.documents += 1
            case Item.ACK:
                await _acknowledge(data, wiring, result)
            case Item.FRAME | Item.ENROLMENT:
                result.refused += 1
    except ProtocolError as error:
        wiring.traffic.alarm(error.code)
        result.refused += 1


async def _acknowledge(data: bytes, wiring: Wiring, result: Imported) -> None:
    ack = open_ack(data, wiring.ack_key_for)
    outcome = await apply_ack(ack, new_sender(wiring.journal), wiring)
    match outcome:
        case AckOutcome.NEW_EPOCH:
            result.new_epoch = True
        case AckOutcome.FOREIGN | AckOutcome.MISMATCH | AckOutcome.STALE:
            result.refused += 1
        case AckOutcome.ADVANCED | AckOutcome.REPEATED | AckOutcome.REWOUND:
            pass
