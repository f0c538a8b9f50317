"""The third road: the outbox into a file, an answer file back into the journal.

Owns writing and reading courier files on the gateway. Any process may carry them; each item is signed.
A stick may be slow: it is written and read in threads.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, assert_never

from edge.errors import SyncError
from edge.files import sync_folder
from edge.sync.outbox import Wiring, apply_ack, new_sender, next_frame
from protocol.acks import Echo, open_ack
from protocol.bundle import peek_name
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.delivery import AckOutcome, Plan, Sender
from protocol.errors import CourierError, ProtocolError
from protocol.frames import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLOSED = "sync.epoch_closed"


class CourierFailed(SyncError):  # noqa: N818 - names what happened
    """A courier file could not be written or used."""

    code = "courier.failed"
    retry = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was put into a file; the hello of an empty outbox is not counted."""

    records: int
    frames: int
    through: int


@dataclass(slots=True)
class Imported:
    """What an answer file did. `refused` counts items that did not verify or were not for us.

    `acknowledged` counts records the outbox is freed of; `cut` says that the file ended before its time.
    """

    acknowledged: int = 0
    documents: int = 0
    refused: int = 0
    new_epoch: bool = False
    everything: bool = False
    cut: bool = False


async def export_courier(wiring: Wiring, path: Path, progress: Callable[[int, int], None]) -> Exported:
    """Write everything not acknowledged into a new file, durably, and leave the journal as it is.

    With nothing to send it says hello, so that the answer brings documents and tells of a restored cloud.
    `progress(records written, records in all)`. Raises CourierFailed if the file cannot be written.
    """
    fresh = path.with_name(path.name + ".part")
    try:
        try:
            with await asyncio.to_thread(fresh.open, "wb") as stream:
                exported, echoes = await _write(wiring, stream, progress)
                await asyncio.to_thread(_settle, stream)
            await asyncio.to_thread(wiring.echoes.keep, wiring.journal.epoch, echoes)
            await asyncio.to_thread(_show, fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CourierFailed(
            f"{path} cannot be written: {error.strerror or error}; is the stick full or read-only?"
        ) from error
    return exported


async def _write(
    wiring: Wiring, stream: IO[bytes], progress: Callable[[int, int], None]
) -> tuple[Exported, list[Echo]]:
    journal = wiring.journal
    sender, echoes = new_sender(journal), list[Echo]()
    write_header(stream, Header(Direction.UP, journal.gateway, wiring.clock.wall_ms()))
    enrolment = wiring.enrolment()
    if enrolment is not None:
        write_item(stream, Item.ENROLMENT, enrolment)
    total, before = sender.backlog, sender.acked
    plan = _whole(sender) or sender.hello()
    while plan is not None:
        frame, data = await next_frame(wiring, plan, sender.epoch)
        await asyncio.to_thread(write_item, stream, Item.FRAME, data)
        echo = Echo(frame.sample.boot, frame.sample.mono_ms)
        sender.dispatched(frame.last, echo)
        echoes.append(echo)
        progress(max(frame.last - before, 0), total)
        plan = _whole(sender)
    return Exported(total, len(echoes) if total else 0, sender.sent), echoes


def _whole(sender: Sender) -> Plan | None:
    """The next frame as large as frames get: nobody waits for an ack here."""
    return Plan(sender.sent + 1, FRAME_BYTES_MAX) if sender.sent < sender.head else None


def _settle(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _show(fresh: Path, path: Path) -> None:
    fresh.replace(path)
    sync_folder(path.parent)


async def import_courier(wiring: Wiring, path: Path) -> Imported:
    """Apply an answer file: documents first, then acks, until the first that ends this epoch.

    Items that do not verify are counted and skipped; a file cut short is used up to the cut. Raises
    CourierFailed if it cannot be read, CourierError if it is no answer file, another gateway's, or cut
    before anything of use; DirectoryError or JournalError if the disk refuses.
    """
    journal, result = wiring.journal, Imported()
    sender = wiring.echoes.recall(new_sender(journal))
    before = sender.acked
    try:
        with await asyncio.to_thread(path.open, "rb") as stream:
            _check_recipient(read_header(stream, Direction.DOWN), journal.gateway)
            items = read_items(stream)
            while not result.new_epoch and (item := await asyncio.to_thread(next, items, None)):
                await _take(*item, sender, wiring, result)
    except OSError as error:
        raise CourierFailed(f"{path} cannot be read: {error.strerror or error}") from error
    except CourierError:
        if sender.acked == before and not result.documents:
            raise
        result.cut = True
    result.acknowledged = max(sender.acked - before, 0)
    if result.new_epoch:
        await journal.new_epoch(_CLOSED, everything=result.everything)
    return result


def _check_recipient(header: Header, gateway: str) -> None:
    if header.gateway != gateway:
        raise CourierError(
            f"this answer is for {header.gateway}, and this is {gateway}", code="courier.wrong_gateway"
        )


async def _take(item: Item, data: bytes, sender: Sender, wiring: Wiring, result: Imported) -> None:
    try:
        match item:
            case Item.DOCUMENT:
                await wiring.documents.apply(peek_name(data), data)
                result.documents += 1
            case Item.ACK:
                await _acknowledge(data, sender, wiring, result)
            case Item.FRAME | Item.ENROLMENT:
                result.refused += 1
            case _:
                assert_never(item)
    except ProtocolError as error:
        wiring.traffic.alarm(error.code)
        result.refused += 1


async def _acknowledge(data: bytes, sender: Sender, wiring: Wiring, result: Imported) -> None:
    ack = open_ack(data, wiring.ack_key_for)
    match await apply_ack(ack, sender, wiring):
        case AckOutcome.NEW_EPOCH:
            result.new_epoch = True
        case AckOutcome.FORGOTTEN:
            result.new_epoch = result.everything = True
        case AckOutcome.FOREIGN | AckOutcome.MISMATCH | AckOutcome.STALE:
            result.refused += 1
        case AckOutcome.ADVANCED | AckOutcome.REPEATED | AckOutcome.REWOUND:
            pass
        case _ as unknown:
            assert_never(unknown)
