"""Visits at a station with a real journal on disk: what is shown as saved is what is in the journal."""

from __future__ import annotations

import asyncio

from edge.station.screen import Button, Message, Name
from protocol.bodies import (
    DepositClosed,
    DepositOpened,
    HolderKind,
    Outcome,
    Stability,
    TareKind,
    WeighingRecorded,
)
from tests.edge.station.bench import Site, card, card_text, moving, stable


async def test_a_member_scans_weighs_confirms_and_gets_a_receipt(site: Site) -> None:
    station = site.station
    assert station.screen.name is Name.IDLE
    screen = await station.scanned(card(card_text("Asha")))
    assert (screen.name, screen.alias, screen.holder) == (Name.CHOOSE, "Asha", "card")
    assert [tile.code for tile in screen.tiles] == ["pet", "paper"]
    screen = await station.press(Button.MATERIAL, "pet")
    assert screen.name is Name.WEIGH
    await site.see(moving(700))
    assert Button.CONFIRM not in station.screen.buttons
    await site.see(stable(1240))
    weight = station.screen.weight
    assert weight is not None
    assert (weight.net_g, weight.points, weight.armed, weight.stable) == (1240, 62, True, True)
    screen = await station.press(Button.CONFIRM)
    assert (screen.name, screen.lines[0].net_g, screen.lines[0].points) == (Name.SAVED, 1240, 62)
    screen = await station.press(Button.FINISH)
    assert screen.name is Name.RECEIPT
    assert screen.receipt is not None
    assert (screen.receipt.net_g, screen.receipt.points) == (1240, 62)
    assert screen.receipt.qr == f"RLR1:{screen.receipt.id}"
    opened, weighing, closed = await site.bodies(DepositOpened, WeighingRecorded, DepositClosed)
    assert isinstance(opened, DepositOpened)
    assert opened.holder_kind is HolderKind.CARD
    assert isinstance(weighing, WeighingRecorded)
    assert (weighing.gross_g, weighing.tare_g, weighing.net_g, weighing.points) == (1240, 0, 1240, 62)
    assert (weighing.tare_kind, weighing.stability) == (TareKind.NONE, Stability.FLAG)
    assert (weighing.scale, weighing.unit, weighing.division_g) == ("mt-sics:B123", "kg", 5)
    assert (weighing.raw, weighing.catalog) == (b"stable 1240", site.directory.digests()["catalog"])
    assert isinstance(closed, DepositClosed)
    assert (closed.outcome, closed.weighings, closed.net_g) == (Outcome.COMPLETED, 1, 1240)


async def test_confirm_pressed_many_times_at_once_records_once(site: Site) -> None:
    station = site.station
    await station.scanned(card(card_text("Asha")))
    await station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    screens = await asyncio.gather(*(station.press(Button.CONFIRM) for _ in range(20)))
    assert len(await site.bodies(WeighingRecorded)) == 1
    assert [screen.name for screen in screens].count(Name.SAVED) == 1  # the others came while it was saving
    screen = await station.press(Button.CONFIRM)
    assert (screen.name, len(screen.lines), screen.message) == (Name.SAVED, 1, None)
    assert Message.NOT_SAVED is not station.screen.message
