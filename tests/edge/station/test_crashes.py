"""After a crash, a full disk or a commit nobody can tell of: the screen shows what the journal holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge.errors import JournalError
from edge.station.screen import Button, Message, Name
from protocol.bodies import (
    DepositClosed,
    DepositOpened,
    IntakeResumed,
    IntakeSuspended,
    Outcome,
    PickupClosed,
    WeighingRecorded,
    WeighingVoided,
)
from protocol.cards import Role
from protocol.codes import claim_hash
from tests.edge.station.bench import ZERO, Site, bin_code, card, card_text, stable

if TYPE_CHECKING:
    from pathlib import Path


async def guest_saves(site: Site, mass_g: int) -> str:
    """A guest weighs one load and leaves it on the plate; returns the claim code shown before."""
    await site.station.press(Button.GUEST)
    code = site.station.screen.claim_code
    assert code is not None
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(stable(mass_g))
    screen = await site.station.press(Button.CONFIRM)
    assert screen.name is Name.SAVED
    return code


async def test_a_visit_cut_off_by_a_crash_is_closed_as_interrupted_and_its_receipt_shown(site: Site) -> None:
    await guest_saves(site, 1240)
    station = await site.crash()
    screen = station.screen
    assert (screen.name, screen.message) == (Name.RECEIPT, Message.INTERRUPTED)
    assert screen.receipt is not None
    assert (screen.receipt.net_g, screen.receipt.points, screen.receipt.claim_code) == (1240, 62, None)
    assert [line.net_g for line in screen.lines] == [1240]
    (closed,) = await site.bodies(DepositClosed)
    assert closed == DepositClosed(1, Outcome.INTERRUPTED, 1, 1240, 62)
    await station.press(Button.DONE)
    assert station.screen.name is Name.IDLE


async def test_only_the_hash_of_the_claim_code_shown_is_ever_on_the_disk(
    site: Site,
) -> None:
    code = await guest_saves(site, 1240)
    await site.crash()
    (opened,) = await site.bodies(DepositOpened)
    (weighing,) = await site.bodies(WeighingRecorded)
    assert isinstance(opened, DepositOpened)
    assert isinstance(weighing, WeighingRecorded)
    assert opened.holder == weighing.holder == claim_hash(code)
    plain = code.replace("-", "").encode()
    data = b"".join(path.read_bytes() for path in site.folder.rglob("*") if path.is_file())
    assert code.encode() not in data
    assert plain not in data


async def test_a_load_saved_before_a_crash_is_never_weighed_again_as_new(site: Site) -> None:
    await guest_saves(site, 1240)
    station = await site.crash()
    await station.press(Button.DONE)
    await station.press(Button.GUEST)
    await station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    screen = await station.press(Button.CONFIRM)
    assert (screen.name, screen.message) == (Name.WEIGH, Message.NOT_ARMED)
    await station.press(Button.TARE)
    await site.see(stable(2000))
    await station.press(Button.CONFIRM)
    masses = [
        body.net_g for body in await site.bodies(WeighingRecorded) if isinstance(body, WeighingRecorded)
    ]
    assert masses == [1240, 760]


async def test_a_finished_receipt_is_shown_again_after_a_crash_but_not_an_old_one(site: Site) -> None:
    await guest_saves(site, 1240)
    await site.station.press(Button.FINISH)
    shown = site.station.screen.receipt
    again = (await site.crash()).screen
    assert shown is not None
    assert (again.name, again.message) == (Name.RECEIPT, None)
    assert again.receipt is not None
    assert (again.receipt.id, again.receipt.wall_ms) == (shown.id, shown.wall_ms)
    site.clock.now_s += 3600
    assert (await site.crash()).screen.name is Name.IDLE
    assert len(await site.bodies(DepositClosed)) == 1


SCRIPT: tuple[tuple[Button, str | None, int], ...] = (
    (Button.GUEST, None, 0),
    (Button.MATERIAL, "pet", 1240),
    (Button.CONFIRM, None, 1240),
    (Button.MATERIAL, "paper", 1240),
    (Button.TARE, None, 1240),
    (Button.PRESET_TARE, "500", 2000),
    (Button.CONFIRM, None, 2000),
    (Button.VOID, None, 2000),
    (Button.MATERIAL, "pet", 2000),
    (Button.CONFIRM, None, 2000),
    (Button.FINISH, None, 2000),
    (Button.DONE, None, 0),
)


@pytest.mark.parametrize("turns", [1, 3, None])
@pytest.mark.parametrize("cut_at", range(len(SCRIPT)))
async def test_power_cut_at_any_moment_of_a_visit_loses_nothing_shown_as_saved(
    site: Site, tmp_path: Path, cut_at: int, turns: int | None
) -> None:
    """The cut comes `turns` of the event loop after the last press, None: after it was answered."""
    shown: dict[int, int] = {}
    for step, (button, value, mass_g) in enumerate(SCRIPT[: cut_at + 1]):
        await site.see(stable(mass_g))
        pressing = asyncio.ensure_future(site.station.press(button, value))
        for _ in range(turns if turns is not None and step == cut_at else 0):
            await asyncio.sleep(0)
        if turns is None or step < cut_at:
            await pressing
        shown = {line.seq: line.net_g for line in site.station.screen.lines} or shown
    station = await site.cut_power(tmp_path / "image")
    entries = await site.journal.entries(1, site.journal.head)
    records = {entry.seq: entry.record.body for entry in entries}
    voided = {body.weighing for body in records.values() if isinstance(body, WeighingVoided)}
    kept = {seq: body.net_g for seq, body in records.items() if isinstance(body, WeighingRecorded)}
    assert shown.items() <= kept.items()
    lines = {line.seq: line.net_g for line in station.screen.lines}
    assert lines == {seq: net_g for seq, net_g in kept.items() if seq not in voided}
    closed = [body for body in records.values() if isinstance(body, DepositClosed)]
    assert len(closed) == sum(isinstance(body, DepositOpened) for body in records.values())
    assert sum(body.net_g for body in closed) == sum(lines.values())


async def test_a_pickup_cut_off_is_closed_as_interrupted(site: Site) -> None:
    await site.station.scanned(card(card_text("Bina", Role.COLLECTOR)))
    await site.station.scanned(bin_code("BIN-7"))
    await site.station.press(Button.BIN_ESTIMATE, "900")
    station = await site.crash()
    assert (station.screen.name, station.screen.message) == (Name.IDLE, Message.INTERRUPTED)
    assert await site.bodies(PickupClosed) == [PickupClosed(1, Outcome.INTERRUPTED, 1, 900)]


async def test_what_the_disk_refused_is_said_and_can_be_confirmed_again(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    site.journal.plan.append("refused")
    screen = await site.station.press(Button.CONFIRM)
    assert (screen.name, screen.message, screen.lines) == (Name.WEIGH, Message.NOT_SAVED, ())
    screen = await site.station.press(Button.CONFIRM)
    assert (screen.name, len(screen.lines)) == (Name.SAVED, 1)
    assert len(await site.bodies(WeighingRecorded)) == 1


@pytest.mark.parametrize("really", ["saved", "lost"])
async def test_a_commit_in_doubt_is_read_back_before_anybody_is_told(site: Site, really: str) -> None:
    code = await guest_saves(site, 1000)
    await site.see(ZERO)
    await site.station.press(Button.MATERIAL, "paper")
    await site.see(stable(2000))
    site.journal.plan.append("saved" if really == "saved" else "lost")
    screen = await site.station.press(Button.CONFIRM)
    assert (screen.name, screen.lines) == (Name.SUSPENDED, ())
    await site.tick()
    screen = site.station.screen
    masses = [1000, 2000] if really == "saved" else [1000]
    assert (screen.name, screen.message) == (Name.RECEIPT, Message.INTERRUPTED)
    assert [line.net_g for line in screen.lines] == masses
    assert screen.receipt is not None
    assert screen.receipt.claim_code == code
    assert len(await site.bodies(WeighingRecorded)) == len(masses)


async def test_while_the_disk_does_not_answer_nothing_is_taken_in_and_it_is_asked_again(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    site.journal.plan.extend(["lost", "lost", "lost"])
    await site.station.press(Button.CONFIRM)
    await site.tick(0.1)
    await site.tick(2.0)
    assert site.station.screen.name is Name.SUSPENDED
    assert await site.station.press(Button.GUEST) == site.station.screen
    await site.tick(2.0)
    assert (site.station.screen.name, site.station.screen.message) == (Name.IDLE, Message.INTERRUPTED)
    await site.tick(1.0)
    await site.tick(11.0)
    assert len(await site.bodies(IntakeSuspended)) == len(await site.bodies(IntakeResumed)) == 1


async def test_an_unexpected_failure_stops_the_station_for_its_supervisor(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    await site.journal.close()
    with pytest.raises(Exception):  # noqa: B017 - whatever a closed journal raises
        await site.station.press(Button.CONFIRM)
    assert site.station.screen.name is not Name.SAVED
    with pytest.raises(Exception) as caught:
        await site.station.run()
    assert not isinstance(caught.value, JournalError)
    await site.start()
    assert await site.bodies(WeighingRecorded) == []
