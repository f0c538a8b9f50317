"""Which clock goes wrong when: every state of the station times every change, and lives that have a name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.records import ClockQuality
from tests.proof.clocks.drop_point import CHANGES, DAY_S

if TYPE_CHECKING:
    from tests.proof.clocks.drop_point import DropPoint

Deliver = Callable[[float], Awaitable[None]]
"""Let the outbox arrive so many seconds from now."""
Play = Callable[["DropPoint", Deliver], Awaitable[None]]
UNKNOWN, RESTORED, RTC, SYNCED = (
    ClockQuality.UNKNOWN,
    ClockQuality.RESTORED,
    ClockQuality.RTC,
    ClockQuality.SYNCED,
)
DEPOSIT = (
    "idle", "identified", "material chosen", "weighing", "stable", "confirming", "saved", "receipt", "left",
)  # fmt: skip
PICKUP = (
    "collecting", "bin scanned", "bin on the scale", "bin confirming", "bin emptied", "handing over",
    "handed over", "pickup left",
)  # fmt: skip
LIVE_S, COURIER_S = 2.0, 30 * DAY_S
MINUTE_S, HOUR_S = 60.0, 3_600.0
MIDNIGHT_S = 78_500.0
"""On the monotonic clock of a first boot: 2026-05-29T18:15Z, when a day begins in Nepal."""


@dataclass(frozen=True, slots=True)
class Case:
    """One life. `key` names it for ever; `skewed`: the operator must hear of the clock before it is right.

    `sharp`: the boot's clock was synchronised once and never lied, so that no error may be above a minute.
    """

    key: str
    play: Play
    skewed: bool | None = None
    sharp: bool = False


def matrix() -> list[Case]:
    """Every state × every change × what the clock is said to be worth afterwards."""
    cases = []
    for state in (*DEPOSIT, *PICKUP):
        for change in CHANGES:
            for clock in (UNKNOWN, RTC, SYNCED):
                if clock is SYNCED and state in PICKUP:
                    continue  # who trusts a clock that lies refuses cards that it calls expired, and says so
                key = f"{state}/{change}/{clock.name.lower()}"
                skewed = change not in {"-1 s", "+1 s"}
                cases.append(Case(key, _changed(state, change, clock), skewed, sharp=clock is not SYNCED))
    return cases


def _changed(state: str, change: str, clock: ClockQuality) -> Play:
    async def play(site: DropPoint, deliver: Deliver) -> None:
        for name, step in site.pickup() if state in PICKUP else site.deposit(guest=clock is SYNCED):
            await step()
            if name == state:
                await site.change(change, clock)
        await site.visit()
        await site.pass_by(MINUTE_S)
        await deliver(LIVE_S)
        await site.sync()
        await site.pass_by(LIVE_S)
        await site.visit()
        site.expect_points()
        await deliver(LIVE_S)

    return play


async def _boot_in_1970(site: DropPoint, deliver: Deliver) -> None:
    await site.visit()
    await site.cut(HOUR_S)
    await site.visit()
    await deliver(LIVE_S)
    await site.pass_by(HOUR_S)
    await site.visit()
    await site.sync()
    await deliver(LIVE_S)


async def _never_synced(site: DropPoint, deliver: Deliver) -> None:
    await site.cut(HOUR_S)
    for _ in range(3):
        await site.visit()
        await site.pass_by(HOUR_S)
        await deliver(LIVE_S)
    await deliver(LIVE_S)


async def _three_days(site: DropPoint, deliver: Deliver) -> None:
    await site.cut(10 * MINUTE_S)
    for _ in range(3):
        await site.visit()
        await site.pass_by(DAY_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _by_courier(site: DropPoint, deliver: Deliver) -> None:
    await site.cut(HOUR_S)
    await site.visit()
    await site.pass_by(3 * DAY_S)
    await site.visit()
    await deliver(COURIER_S)


async def _unknown_gap(site: DropPoint, deliver: Deliver) -> None:
    await site.visit()
    await site.cut(5 * HOUR_S)
    await site.visit()
    await site.cut(7 * HOUR_S)
    await site.visit()
    await site.cut(MINUTE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _restored(site: DropPoint, deliver: Deliver) -> None:
    stopped_ms = site.true_ms
    await site.cut(2 * DAY_S, stopped_ms, RESTORED)
    await site.visit()
    await deliver(LIVE_S)
    await site.pass_by(10 * MINUTE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _drifting_rtc(site: DropPoint, deliver: Deliver) -> None:
    await site.cut(HOUR_S, site.true_ms + int(HOUR_S * 1_000) + 90_000, RTC)
    for _ in range(4):
        site.site.clock.wall_offset_ms += 7_000  # a day's drift of a cheap crystal
        await site.visit()
        await site.pass_by(DAY_S)
    await deliver(LIVE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _leap_second(site: DropPoint, deliver: Deliver) -> None:
    await site.visit()
    site.site.clock.wall_offset_ms -= 1_000  # 23:59:59 comes twice, and the clock stays synchronised
    await site.visit()
    await deliver(LIVE_S)


async def _midnight(site: DropPoint, deliver: Deliver) -> None:
    await site.pass_by(MIDNIGHT_S - MINUTE_S - site.site.clock.now_s)
    await site.visit(700)
    await site.change("1970", UNKNOWN)
    await site.pass_by(2 * MINUTE_S)
    await site.visit(900)
    await deliver(LIVE_S)
    await site.sync()
    await deliver(LIVE_S)


async def _cut_in_mid_visit(site: DropPoint, deliver: Deliver) -> None:
    for name, step in site.deposit():
        await step()
        if name == "saved":
            break
    await site.cut(HOUR_S)
    await site.visit()
    await site.sync()
    await deliver(LIVE_S)


async def _to_and_fro(site: DropPoint, deliver: Deliver) -> None:
    for change in CHANGES:
        await site.change(change, UNKNOWN)
        await site.visit()
        await deliver(LIVE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _boots_in_the_future(site: DropPoint, deliver: Deliver) -> None:
    for wall_ms in (2**31 * 1_000, 253_402_300_740_000, 0):
        await site.cut(MINUTE_S, wall_ms, RTC)
        await site.visit()
        await deliver(LIVE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


async def _lost_its_weeks(site: DropPoint, deliver: Deliver) -> None:
    await site.visit()
    await deliver(LIVE_S)
    await site.change("-10 years", SYNCED)  # its time server lost count of its satellites' weeks
    await site.visit()
    await deliver(LIVE_S)
    await site.sync()
    await site.visit()
    await deliver(LIVE_S)


NAMED = (
    Case("boot in 1970", _boot_in_1970),
    Case("never synchronised in this boot", _never_synced, skewed=True, sharp=True),
    Case("synchronised after three days", _three_days),
    Case("never synchronised, by courier a month later", _by_courier),
    Case("two boots without a sync between", _unknown_gap),
    Case("restored from the last shutdown", _restored),
    Case("a battery clock that drifts", _drifting_rtc),
    Case("a leap second", _leap_second, skewed=False),
    Case("midnight in Nepal", _midnight),
    Case("the power goes in mid-visit", _cut_in_mid_visit),
    Case("to and fro", _to_and_fro, skewed=True, sharp=True),
    Case("a synchronised clock that lost its weeks", _lost_its_weeks, skewed=True),
    Case("boots in 2038, 9999 and 1970", _boots_in_the_future),
)


def all_cases() -> list[Case]:
    """Every named case, always in this order."""
    return [*NAMED, *matrix()]
