"""The station around the sessions: who is served, time-outs, notices, watchers, notes of devices."""

from __future__ import annotations

import asyncio

import pytest

from edge.devices.events import Attached, Detached, Identified, Scan
from edge.errors import StationError
from edge.station.mailbox import SUBSCRIBERS_MAX
from edge.station.ports import Surroundings
from edge.station.screen import Button, Message, Name, Notice
from protocol.bodies import (
    BinWeighed,
    CustodyHandedOver,
    DepositClosed,
    DepositOpened,
    DeviceAttached,
    DeviceDetached,
    HolderKind,
    IntakeResumed,
    IntakeSuspended,
    Outcome,
    PickupClosed,
    PickupOpened,
    ScaleFaulted,
    WeighingRecorded,
)
from protocol.cards import Role
from protocol.codes import claim_hash
from protocol.records import ClockQuality
from tests.edge.station.bench import (
    FORGER_KEY,
    FRESH_S,
    ZERO,
    Site,
    bin_code,
    card,
    card_text,
    moving,
    published,
    stable,
    tag,
    unwell,
)


async def weigh(site: Site, mass_g: int, material: str = "pet") -> None:
    await site.see(ZERO)
    await site.station.press(Button.MATERIAL, material)
    await site.see(stable(mass_g))
    await site.station.press(Button.CONFIRM)


async def test_a_guest_sees_the_claim_code_on_every_screen_before_anything_is_saved(site: Site) -> None:
    screen = await site.station.press(Button.GUEST)
    code = screen.claim_code
    assert code is not None
    assert len(code.replace("-", "")) == 13
    await weigh(site, 1000)
    assert (site.station.screen.name, site.station.screen.claim_code) == (Name.SAVED, code)
    screen = await site.station.press(Button.FINISH)
    assert screen.receipt is not None
    assert (screen.receipt.claim_code, screen.claim_code) == (code, code)
    assert screen.receipt.qr.endswith(f"#{code}")
    (opened,) = await site.bodies(DepositOpened)
    assert opened == DepositOpened(HolderKind.GUEST, claim_hash(code))


async def test_a_tag_is_recorded_raw(site: Site) -> None:
    screen = await site.station.scanned(tag("010063E9AE"))
    assert (screen.name, screen.holder, screen.alias) == (Name.CHOOSE, "tag", None)
    assert await site.bodies(DepositOpened) == [DepositOpened(HolderKind.TAG, bytes.fromhex("010063E9AE"))]


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (card(card_text("Asha", key=FORGER_KEY)), Message.CARD_FORGED),
        (card(card_text("Asha", days=-1)), Message.CARD_EXPIRED),
        (card(card_text("Ravi")), Message.CARD_REVOKED),
        (card("RL1:%%%"), Message.CARD_UNREADABLE),
        (Scan("unknown", "8901234567890", b""), Message.CARD_UNREADABLE),
        (bin_code("BIN-7"), Message.CARD_UNREADABLE),
        (tag("XYZ"), Message.CARD_UNREADABLE),
    ],
)
async def test_whoever_cannot_be_identified_is_told_why_and_nothing_is_recorded(
    site: Site, scan: Scan, message: Message
) -> None:
    published(site.directory, 2, revoked=b"Ravi....\x01")
    screen = await site.station.scanned(scan)
    assert (screen.name, screen.message) == (Name.IDLE, message)
    assert await site.bodies() == []
    await site.tick(9.0)
    assert site.station.screen.message is None


@pytest.mark.parametrize("clock", [ClockQuality.UNKNOWN, ClockQuality.RESTORED, ClockQuality.RTC])
async def test_a_visit_is_not_lost_to_a_clock_that_calls_a_good_card_expired(
    site: Site, clock: ClockQuality
) -> None:
    site.clock.trust = clock
    site.clock.wall_offset_ms += 10 * 365 * 86_400_000
    await site.tick(1.1)
    screen = await site.station.scanned(card(card_text("Asha")))
    assert screen.name is Name.CHOOSE


async def test_a_card_that_a_signed_time_outlived_is_over_whatever_the_clock_says(site: Site) -> None:
    site.clock.trust, site.clock.wall_offset_ms = ClockQuality.UNKNOWN, 0
    await site.tick(1.1)
    screen = await site.station.scanned(card(card_text("Asha", days=-1)))
    assert (screen.name, screen.message) == (Name.IDLE, Message.CARD_EXPIRED)
    assert Notice.CLOCK_UNSURE in screen.notices


async def test_a_card_expires_on_a_clock_that_is_synchronised_again(site: Site) -> None:
    text = card_text("Asha", days=10)
    site.clock.wall_offset_ms += 11 * 86_400_000
    await site.tick(1.1)
    assert (await site.station.scanned(card(text))).message is Message.CARD_EXPIRED


async def test_a_reader_that_repeats_itself_opens_one_visit(site: Site) -> None:
    for _ in range(5):
        await site.station.scanned(tag("010063E9AE"))
        await site.tick(0.05)
    await site.station.press(Button.CANCEL)
    await site.station.scanned(tag("010063E9AE"))
    assert len(await site.bodies(DepositOpened)) == 1
    await site.tick(2.5)
    await site.station.scanned(tag("010063E9AE"))
    assert len(await site.bodies(DepositOpened)) == 2


async def test_a_visit_left_alone_ends_by_itself_and_what_was_saved_stays(site: Site) -> None:
    await site.station.scanned(card(card_text("Asha")))
    await weigh(site, 1000)
    await site.tick(89.0)
    assert site.station.screen.name is Name.SAVED
    await site.tick(2.0)
    assert (site.station.screen.name, site.station.screen.message) == (Name.IDLE, Message.TIMED_OUT)
    (closed,) = await site.bodies(DepositClosed)
    assert closed == DepositClosed(1, Outcome.TIMEOUT, 1, 1000, 50)


async def test_somebody_who_fills_the_scale_slowly_is_not_thrown_out_but_a_noisy_scale_is(site: Site) -> None:
    await site.station.scanned(card(card_text("Asha")))
    await site.station.press(Button.MATERIAL, "pet")
    for mass_g in range(100, 500, 100):
        await site.see(stable(mass_g))
        await site.tick(80.0)
    assert site.shown().name is Name.WEIGH
    for mass_g in range(100, 2000, 100):
        await site.see(moving(mass_g))
        await site.tick(80.0)
    assert site.shown().name is Name.IDLE


async def test_the_receipt_makes_room_by_itself_or_for_the_next_card(site: Site) -> None:
    await site.station.scanned(card(card_text("Asha")))
    await weigh(site, 1000)
    await site.station.press(Button.FINISH)
    screen = await site.station.scanned(card(card_text("Dina")))
    assert (screen.name, screen.alias, screen.lines) == (Name.CHOOSE, "Dina", ())
    await weigh(site, 700)
    await site.station.press(Button.FINISH)
    await site.tick(21.0)
    assert site.station.screen.name is Name.IDLE


async def test_a_collector_empties_bins_and_a_steward_takes_over(site: Site) -> None:
    station = site.station
    screen = await station.scanned(card(card_text("Bina", Role.COLLECTOR)))
    assert (screen.name, screen.alias) == (Name.COLLECT, "Bina")
    screen = await station.scanned(Scan("unknown", "8901234567890", b""))
    assert screen.message is Message.BIN_UNREADABLE
    screen = await station.scanned(bin_code("BIN-7"))
    assert (screen.name, screen.bin) == (Name.BIN, "BIN-7")
    await site.see(stable(8400))
    assert Button.BIN_WEIGH in station.screen.buttons
    await station.press(Button.BIN_WEIGH)
    await station.scanned(bin_code("BIN-8"))
    await station.press(Button.BIN_ESTIMATE, "600")
    screen = await station.press(Button.HANDOVER)
    assert (screen.name, screen.net_g) == (Name.HANDOVER, 9000)
    await site.tick(3.0)
    assert (await station.scanned(card(card_text("Bina", Role.COLLECTOR)))).message is Message.CARD_SAME
    assert (await station.scanned(card(card_text("Asha")))).message is Message.CARD_NOT_ALLOWED
    assert (await station.scanned(tag("010063E9AE"))).message is Message.CARD_NOT_ALLOWED
    assert (await station.scanned(card(card_text("Ravi", key=FORGER_KEY)))).message is Message.CARD_FORGED
    screen = await station.scanned(card(card_text("Chet", Role.STEWARD)))
    assert screen.name is Name.HANDED_OVER
    opened, weighed, moved, closed = await site.bodies(
        PickupOpened, BinWeighed, CustodyHandedOver, PickupClosed
    )
    assert isinstance(weighed, BinWeighed)
    assert (weighed.bin, weighed.net_g) == ("BIN-7", 8400)
    assert opened == PickupOpened(b"Bina....\x01")
    assert moved == CustodyHandedOver(1, b"Bina....\x01", b"Chet....\x01", 9000)
    assert closed == PickupClosed(1, Outcome.COMPLETED, 2, 9000)


async def test_with_an_old_catalogue_the_weight_is_shown_and_points_follow(site: Site) -> None:
    site.clock.now_s += FRESH_S + 1
    await site.tick(1.0)
    screen = await site.station.press(Button.GUEST)
    assert Notice.CATALOG_OLD in screen.notices
    assert {tile.points_per_kg for tile in screen.tiles} == {None}
    await weigh(site, 1000)
    screen = site.station.screen
    assert (screen.net_g, screen.points, screen.lines[0].points) == (1000, None, None)
    (body,) = await site.bodies(WeighingRecorded)
    assert isinstance(body, WeighingRecorded)
    assert (body.points_per_kg, body.points) == (None, None)
    assert body.catalog == site.directory.digests()["catalog"]


async def test_a_site_without_claim_or_bundle_takes_nothing(site: Site) -> None:
    site.around = Surroundings(claimed=False)
    await site.tick(1.1)
    assert (site.station.screen.name, site.station.screen.buttons) == (Name.UNCLAIMED, ())
    await site.station.press(Button.GUEST)
    await site.station.scanned(card(card_text("Asha")))
    assert await site.bodies() == []


async def test_when_the_disk_is_nearly_full_intake_stops_and_resumes_by_itself(site: Site) -> None:
    await site.station.scanned(card(card_text("Asha")))
    await site.station.press(Button.MATERIAL, "pet")
    site.intake = "disk.low"
    await site.tick(1.1)
    await site.see(stable(1240))
    assert Button.CONFIRM not in site.station.screen.buttons
    assert Notice.DISK_LOW in site.station.screen.notices
    screen = await site.station.press(Button.CONFIRM)
    assert (screen.name, screen.message) == (Name.WEIGH, Message.NOT_SAVED)
    await site.station.press(Button.CANCEL)
    assert site.shown().name is Name.SUSPENDED
    await site.station.press(Button.GUEST)
    await site.station.scanned(card(card_text("Dina")))
    assert site.shown().name is Name.SUSPENDED
    site.intake = None
    await site.tick(1.1)
    await site.tick(11.0)
    assert site.station.screen.name is Name.IDLE
    assert await site.bodies(WeighingRecorded) == []
    assert await site.bodies(IntakeSuspended) == [IntakeSuspended("disk.low")]
    assert await site.bodies(IntakeResumed) == [IntakeResumed("ok")]


async def test_a_kiosk_takes_nothing_in_once_its_gateway_is_revoked(site: Site) -> None:
    await site.station.scanned(card(card_text("Asha")))
    await site.station.press(Button.MATERIAL, "pet")
    site.intake = "gateway.revoked"
    await site.tick(1.1)
    await site.see(stable(1240))
    screen = await site.station.press(Button.CONFIRM)
    assert (screen.name, screen.message) == (Name.WEIGH, Message.NOT_SAVED)
    await site.station.press(Button.CANCEL)
    assert (site.shown().name, site.shown().notices) == (Name.SUSPENDED, (Notice.CLOSED,))
    assert await site.bodies(WeighingRecorded) == []
    assert await site.bodies(IntakeSuspended) == [IntakeSuspended("gateway.revoked")]


async def test_a_value_that_means_nothing_is_refused_with_what_it_must_be(site: Site) -> None:
    await site.station.press(Button.GUEST)
    for button, value in (
        (Button.MATERIAL, "gold"),
        (Button.PRESET_TARE, "123"),
        (Button.PRESET_TARE, None),
        (Button.MANUAL, "-5"),
        (Button.MANUAL, "٣"),
    ):
        with pytest.raises(StationError) as caught:
            await site.station.press(button, value)
        assert caught.value.code == "station.value"


async def test_a_preset_tare_is_recorded_as_such(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.station.press(Button.PRESET_TARE, "500")
    await site.see(stable(1500))
    await site.station.press(Button.CONFIRM)
    (body,) = await site.bodies(WeighingRecorded)
    assert isinstance(body, WeighingRecorded)
    assert (body.tare_kind.name, body.tare_g, body.net_g) == ("PRESET", 500, 1000)


async def test_a_steward_lets_a_mass_be_typed_in_while_the_scale_is_broken(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(unwell("fault", 1000))
    assert Notice.SCALE_FAULT in site.station.screen.notices
    screen = await site.station.scanned(card(card_text("Chet", Role.STEWARD)))
    assert screen.manual
    assert Button.MANUAL in screen.buttons
    screen = await site.station.press(Button.MANUAL, "700")
    assert (screen.name, screen.net_g) == (Name.SAVED, 700)


async def test_every_watcher_gets_the_newest_screen_and_never_an_older_one(site: Site) -> None:
    watcher = site.station.subscribe()
    first = await anext(watcher)
    await site.station.press(Button.GUEST)
    for mass_g in range(0, 1000, 100):
        await site.see(stable(mass_g))
    newest = await anext(watcher)
    assert newest is site.station.screen
    assert newest.version > first.version + 1
    others = [site.station.subscribe() for _ in range(SUBSCRIBERS_MAX - 1)]
    for other in others:
        await anext(other)
    with pytest.raises(StationError, match="close one"):
        await anext(site.station.subscribe())


async def test_a_shown_weight_beats_even_if_it_does_not_change_and_an_idle_screen_rests(site: Site) -> None:
    await site.tick()
    resting = site.station.screen.version
    for _ in range(20):
        await site.tick()
    assert site.station.screen.version == resting
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.tick()
    before = site.station.screen.version
    for _ in range(20):
        await site.tick()
    assert before + 4 <= site.station.screen.version <= before + 6


async def test_versions_keep_growing_over_a_restart(site: Site) -> None:
    before = site.station.screen.version
    assert (await site.crash()).screen.version > before


async def test_a_new_epoch_of_the_journal_ends_the_visit_it_would_tear_apart(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await weigh(site, 1000)
    site.journal.journal.new_epoch("forked")
    screen = await site.station.press(Button.VOID)
    assert (screen.name, screen.message, screen.net_g) == (Name.RECEIPT, Message.INTERRUPTED, 1000)


async def test_devices_that_come_and_go_are_noted_but_a_loose_plug_does_not_fill_the_disk(site: Site) -> None:
    for _ in range(600):
        site.station.take(Attached("scale", "/dev/ttyUSB0"))
        await site.tick(0.5)
        site.station.take(Detached("scale", "/dev/ttyUSB0", "device.port.gone", ""))
        await site.tick(0.5)
    notes = await site.bodies(DeviceAttached, DeviceDetached)
    assert 3 <= len(notes) <= 10
    assert notes[0] == DeviceAttached("scale", "/dev/ttyUSB0")


async def test_a_scale_that_fails_and_recovers_is_noted_under_the_name_it_told(site: Site) -> None:
    site.station.take(Identified("scale", "SN77", "ICS"))
    await site.see(unwell("fault", 0))
    await site.see(ZERO)
    await site.tick(11.0)
    assert await site.bodies(ScaleFaulted) == [
        ScaleFaulted("mt-sics:SN77", "fault", "say why"),
        ScaleFaulted("mt-sics:SN77", "ok", ""),
    ]


async def test_a_cancelled_caller_does_not_cancel_the_commit(site: Site) -> None:
    await site.station.press(Button.GUEST)
    await site.station.press(Button.MATERIAL, "pet")
    await site.see(stable(1240))
    pressing = asyncio.ensure_future(site.station.press(Button.CONFIRM))
    await asyncio.sleep(0)
    pressing.cancel()
    await asyncio.gather(pressing, return_exceptions=True)
    await site.station.settle()
    assert (site.station.screen.name, len(site.station.screen.lines)) == (Name.SAVED, 1)
    assert len(await site.bodies(WeighingRecorded)) == 1
