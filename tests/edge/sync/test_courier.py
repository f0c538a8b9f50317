"""The third road: files out, answers in, on a real journal, whoever carried them and however late."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge.sync.courier import CourierFailed, Exported, export_courier, import_courier
from edge.sync.echoes import Echoes
from protocol.cose import SigningKey
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.delivery import Cursor
from protocol.errors import CourierError
from protocol.frames import open_frame
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.plain_cloud import PlainCloud

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge.sync.conftest import Gateway


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.rlc"


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    return tmp_path / "answer.rlc"


async def export(gateway: Gateway, path: Path) -> Exported:
    return await export_courier(gateway.wiring, path, lambda _done, _total: None)


def items_of(path: Path, direction: Direction = Direction.UP) -> list[tuple[Item, bytes]]:
    with path.open("rb") as stream:
        read_header(stream, direction)
        return list(read_items(stream))


def acks_for(cloud: PlainCloud, outbox: Path) -> list[bytes]:
    return [ack for item, data in items_of(outbox) if item is Item.FRAME for ack in cloud.take(data)]


def write_answer(path: Path, items: list[bytes], gateway: str = GATEWAY, item: Item = Item.ACK) -> None:
    with path.open("wb") as stream:
        write_header(stream, Header(Direction.DOWN, gateway, 1))
        for data in items:
            write_item(stream, item, data)


def restarted(gateway: Gateway, folder: Path) -> Gateway:
    """The same gateway in a process that has sent nothing itself."""
    return replace(gateway, wiring=replace(gateway.wiring, echoes=Echoes(folder / "courier.json")))


async def test_a_file_and_its_answer_free_the_outbox(gateway: Gateway, outbox: Path, answer: Path) -> None:
    await gateway.fill_noise(2_000)
    steps: list[tuple[int, int]] = []
    written = await export_courier(gateway.wiring, outbox, lambda *step: steps.append(step))
    assert (written.records, written.through) == (2_000, 2_000)
    assert written.frames == len(steps) >= 2
    assert steps[-1] == (2_000, 2_000)
    assert gateway.journal.acked == 0, "writing a file proves nothing"
    write_answer(answer, acks_for(gateway.cloud, outbox))
    result = await import_courier(gateway.wiring, answer)
    assert (result.acknowledged, result.refused, result.new_epoch) == (2_000, 0, False)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)
    again = await import_courier(gateway.wiring, answer)
    assert again.acknowledged == 0
    assert gateway.journal.acked == 2_000


async def test_the_last_answer_alone_is_enough(gateway: Gateway, outbox: Path, answer: Path) -> None:
    await gateway.fill_noise(2_000)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox)[-1:])
    assert (await import_courier(gateway.wiring, answer)).acknowledged == 2_000


async def test_an_empty_outbox_says_hello(gateway: Gateway, outbox: Path, answer: Path) -> None:
    await gateway.fill(3)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox))
    await import_courier(gateway.wiring, answer)
    written = await export(gateway, outbox)
    assert (written.records, written.frames) == (0, 0)
    ((item, data),) = items_of(outbox)
    assert item is Item.FRAME
    assert open_frame(data, lambda _: gateway.wiring.key.public).last == 3


async def test_a_cloud_that_was_restored_gets_all_again_by_courier(
    gateway: Gateway, outbox: Path, answer: Path, tmp_path: Path
) -> None:
    await gateway.fill(30)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox))
    await import_courier(gateway.wiring, answer)
    gateway.cloud.cursors.clear()
    gateway.cloud.applied.clear()
    gateway = restarted(gateway, tmp_path)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox))
    gateway = restarted(gateway, tmp_path)
    result = await import_courier(gateway.wiring, answer)
    assert (result.acknowledged, result.refused) == (0, 0)
    assert gateway.journal.acked == 0, "the cloud says that it has nothing"
    assert (await export(gateway, outbox)).records == 30
    write_answer(answer, acks_for(gateway.cloud, outbox))
    assert (await import_courier(gateway.wiring, answer)).acknowledged == 30
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def told_of_a_fork(gateway: Gateway, outbox: Path, answer: Path) -> int:
    """Export to a cloud that has closed this epoch, and take its answer; the epoch."""
    await gateway.fill(4)
    epoch = gateway.journal.epoch
    gateway.cloud.cursors[GATEWAY, epoch] = Cursor(GATEWAY, epoch, 0, bytes(32), closed=True)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox))
    return epoch


async def test_a_fork_is_told_by_courier_and_ends_the_epoch(
    gateway: Gateway, outbox: Path, answer: Path, tmp_path: Path
) -> None:
    epoch = await told_of_a_fork(gateway, outbox, answer)
    gateway = restarted(gateway, tmp_path)
    result = await import_courier(gateway.wiring, answer)
    assert result.new_epoch
    assert gateway.journal.epoch != epoch
    await export(gateway, outbox)
    old_answer = answer.read_bytes()
    write_answer(answer, acks_for(gateway.cloud, outbox))
    assert (await import_courier(gateway.wiring, answer)).acknowledged == gateway.journal.head
    answer.write_bytes(old_answer)
    after = gateway.journal.epoch
    again = await import_courier(gateway.wiring, answer)
    assert (again.refused, again.new_epoch) == (1, False), "yesterday's fork ends no epoch of today"
    assert gateway.journal.epoch == after


async def test_a_fork_that_answers_no_file_of_ours_ends_nothing(
    gateway: Gateway, outbox: Path, answer: Path, tmp_path: Path
) -> None:
    epoch = await told_of_a_fork(gateway, outbox, answer)
    (tmp_path / "courier.json").unlink()
    result = await import_courier(restarted(gateway, tmp_path).wiring, answer)
    assert (result.refused, result.new_epoch) == (1, False)
    assert gateway.journal.epoch == epoch


async def test_a_damaged_memory_of_what_was_sent_counts_as_none(
    gateway: Gateway, outbox: Path, answer: Path, tmp_path: Path
) -> None:
    await gateway.fill(4)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox))
    (tmp_path / "courier.json").write_bytes(b"\0\0\0")
    assert (await import_courier(gateway.wiring, answer)).acknowledged == 4


async def test_what_was_sent_is_remembered_with_a_bound(
    gateway: Gateway, outbox: Path, tmp_path: Path
) -> None:
    await gateway.fill(1)
    for _ in range(70):
        await export(gateway, outbox)
    assert len(gateway.wiring.echoes.of(gateway.journal.epoch)) == 64
    assert (tmp_path / "courier.json").stat().st_mode & 0o777 == 0o600


async def test_a_neighbours_answer_is_refused_whole(gateway: Gateway, outbox: Path, answer: Path) -> None:
    await gateway.fill(3)
    await export(gateway, outbox)
    write_answer(answer, acks_for(gateway.cloud, outbox), "ktm-drop-02")
    with pytest.raises(CourierError) as caught:
        await import_courier(gateway.wiring, answer)
    assert caught.value.code == "courier.wrong_gateway"
    assert gateway.journal.acked == 0


async def test_forged_and_foreign_items_are_counted_and_the_rest_is_used(
    gateway: Gateway, outbox: Path, answer: Path
) -> None:
    await gateway.fill(3)
    await export(gateway, outbox)
    (good,) = acks_for(gateway.cloud, outbox)
    stranger = PlainCloud(SigningKey(secrets.token_bytes(32)), gateway.wiring.key.public)
    (forged,) = acks_for(stranger, outbox)
    write_answer(
        answer, [forged, b"no ack at all", b"", bytes(9_000), good[:-1] + bytes([good[-1] ^ 1]), good]
    )
    result = await import_courier(gateway.wiring, answer)
    assert (result.acknowledged, result.refused) == (3, 5)


async def test_frames_in_an_answer_are_refused(gateway: Gateway, answer: Path) -> None:
    write_answer(answer, [b"x"], item=Item.FRAME)
    assert (await import_courier(gateway.wiring, answer)).refused == 1


async def test_a_cut_answer_is_used_up_to_the_cut(gateway: Gateway, outbox: Path, answer: Path) -> None:
    await gateway.fill_noise(2_000)
    await export(gateway, outbox)
    acks = acks_for(gateway.cloud, outbox)
    write_answer(answer, acks)
    answer.write_bytes(answer.read_bytes()[:-10])
    result = await import_courier(gateway.wiring, answer)
    assert result.cut
    assert 0 < result.acknowledged < 2_000


@pytest.mark.parametrize("damage", ["empty", "cut in the header", "garbage", "garbage behind", "outbox"])
async def test_what_is_no_answer_is_said_and_changes_nothing(
    gateway: Gateway, outbox: Path, answer: Path, damage: str
) -> None:
    await gateway.fill(3)
    await export(gateway, outbox)
    write_answer(answer, [])
    match damage:
        case "empty":
            answer.write_bytes(b"")
        case "cut in the header":
            answer.write_bytes(answer.read_bytes()[:6])
        case "garbage":
            answer.write_bytes(secrets.token_bytes(1000))
        case "garbage behind":
            answer.write_bytes(answer.read_bytes() + b"\xff" * 100)
        case _:
            answer.write_bytes(outbox.read_bytes())
    with pytest.raises(CourierError):
        await import_courier(gateway.wiring, answer)
    assert gateway.journal.acked == 0


async def test_files_that_cannot_be_read_or_written_are_named(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.fill(3)
    with pytest.raises(CourierFailed, match="absent"):
        await import_courier(gateway.wiring, tmp_path / "absent.rlc")
    with pytest.raises(CourierFailed, match="nowhere"):
        await export(gateway, tmp_path / "nowhere" / "outbox.rlc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CourierFailed, match="folder"):
        await export(gateway, tmp_path / "folder")
    assert not list(tmp_path.glob("*.part")), "nothing is left on the stick"


async def test_a_full_stick_is_said_and_the_old_file_stays(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.fill(3)
    (tmp_path / "outbox.part").symlink_to("/dev/full")
    (tmp_path / "outbox").write_text("of last week")
    with pytest.raises(CourierFailed, match="No space"):
        await export(gateway, tmp_path / "outbox")
    assert (tmp_path / "outbox").read_text() == "of last week"


async def test_the_enrolment_goes_first_until_the_cloud_knows_the_key(
    gateway: Gateway, outbox: Path, answer: Path
) -> None:
    await gateway.fill(3)
    gateway = replace(gateway, wiring=replace(gateway.wiring, enrolment=lambda: b"enrolment"))
    await export(gateway, outbox)
    assert [item for item, _ in items_of(outbox)] == [Item.ENROLMENT, Item.FRAME]
    write_answer(answer, acks_for(gateway.cloud, outbox))
    await import_courier(gateway.wiring, answer)
    assert [ack.through for ack in gateway.acks] == [3]
