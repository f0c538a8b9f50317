"""One case after the other: a drop point whose clock goes wrong, in front of the real cloud; the findings."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.kit.embedded import EmbeddedPostgres
from protocol.points import points_for
from tests.edge.station.bench import MATERIALS
from tests.proof.clocks.cases import LIVE_S
from tests.proof.clocks.cloud import Postgres, nepal_day
from tests.proof.clocks.drop_point import KEY, DropPoint
from tests.proof.clocks.stored import errors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from tests.proof.clocks.cases import Case
    from tests.proof.clocks.cloud import Cloud, Time

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Wrong clocks are played here, not slow disks."""
_RATE = {one.code: one.points_per_kg for one in MATERIALS}["pet"]
_SHARP_S = 60
STORED = "stored life/"
_CITIZEN = b"Asha...."


@dataclass(slots=True)
class Tally:
    """What a share of the cases came to. `days`: grams by the day on which they really were weighed."""

    cases: int = 0
    weighings: int = 0
    bars: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    days: dict[date, int] = field(default_factory=dict)

    def weighed(self, day: date, net_g: int) -> None:
        """So many grams were weighed on this day."""
        self.days[day] = self.days.get(day, 0) + net_g


def run_cases(
    cases: Sequence[tuple[int, Case]], tick: Callable[[int], None], lives: Sequence[str] = ()
) -> Tally:
    """Run cases, each with its number, against one cloud; then these random lives through its database.

    A life is named `<seed>.<number>`; every fourth lies about its clock.
    """
    with (
        tempfile.TemporaryDirectory(prefix="clocks-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as server,
    ):
        postgres = Postgres(server)
        postgres.prepare()
        return asyncio.run(_run(postgres, cases, tick, lives))


async def _run(
    postgres: Postgres,
    cases: Sequence[tuple[int, Case]],
    tick: Callable[[int], None],
    lives: Sequence[str],
) -> Tally:
    tally = Tally()
    async with postgres.cloud(KEY) as cloud:
        for number, case in cases:
            try:
                await _case(cloud, number, case, tally)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
                tally.wrong.append((case.key, f"{type(error).__name__}: {error}"))
            tally.cases += 1
            tick(1)
        for life in lives:
            await _life(cloud, life, tally)
            tick(1)
        tally.wrong += [("all", what) for what in await _together(cloud, tally)]
    return tally


async def _life(cloud: Cloud, life: str, tally: Tally) -> None:
    number = int(life.rpartition(".")[2])
    try:
        bars, wrong = await errors_in(cloud, number, life, liar=number % 4 == 3)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        bars, wrong = 0, [f"{type(error).__name__}: {error}"]
    tally.cases += 1
    tally.bars += bars
    tally.wrong += [(f"{STORED}{life}", what) for what in wrong[:3]]


async def _case(cloud: Cloud, number: int, case: Case, tally: Tally) -> None:
    with tempfile.TemporaryDirectory(prefix="clock-", dir=FAST) as folder:
        site = await DropPoint.open(Path(folder), number)
        skewed: list[bool] = []
        shut: list[str] = []

        async def deliver(delay_s: float) -> None:
            first = max(cloud.known_through(site.epoch) + 1, 1)
            arrives_ms = site.true_ms + int(delay_s * 1_000)
            await cloud.take(await site.frame(first), arrives_ms)
            if delay_s <= LIVE_S:
                await site.pass_by(2 * delay_s)
                await site.hear(arrives_ms)
                shut.extend(site.shut_roads())
            skewed.append("clock.skewed" in cloud.alarms())

        try:
            await case.play(site, deliver)
            wrong = shut + await _check(cloud, site, tally)
            if case.sharp:
                wrong += _blunt(cloud.known(site.epoch))
            if case.skewed is not None and any(skewed) != case.skewed:
                wrong.append(
                    f"the operator was {'not told' if case.skewed else 'told'} that the clock is wrong"
                )
            if site.site.clock.quality() is site.site.clock.trust.SYNCED and skewed[-1]:
                wrong.append("the clock is right again and the alarm stands")
            tally.wrong += [(case.key, what) for what in wrong]
        finally:
            await site.close()


async def _check(cloud: Cloud, site: DropPoint, tally: Tally) -> list[str]:
    """What is wrong after a case: lost, doubled, out of order, or a bar that misses the truth."""
    wrong = []
    truths, written = await site.truths(), await site.weighings()
    known = cloud.known(site.epoch)
    if [body.net_g for _, body in written] != [one.net_g for one in site.saved]:
        wrong.append(f"{len(site.saved)} were shown as saved, the journal holds {len(written)}")
    if [seq for seq, _ in written] != list(known):
        wrong.append(f"the journal holds weighings {[seq for seq, _ in written]}, the cloud {list(known)}")
    if cloud.held():
        wrong.append(f"in quarantine: {cloud.held()}")
    wrong += [
        what
        for saved, one in zip(site.saved, known.values(), strict=False)
        for what in _credit(saved.points, one)
    ]
    for seq, one in known.items():
        tally.weighings += 1
        tally.weighed(nepal_day(truths[seq]), one.net_g)
        wrong += [f"{seq}: {what}" for what in _bar(truths[seq], one)]
    expected = sorted(truths.values())
    if list(truths.values()) != expected:
        wrong.append("the order by seq is not the order in which it happened")
    wrong += await _statement(cloud, known)
    return wrong


def _credit(shown: int | None, one: Time) -> list[str]:
    points = points_for(one.net_g, _RATE) if shown is None else shown
    if (one.points, one.shown) == (points, shown):
        return []
    return [f"{shown} points were shown, {one.points} credited for {one.net_g} g"]


def _bar(true_ms: int, one: Time) -> list[str]:
    if one.error_s is None:
        return ["its time was never worked out"]
    miss_ms = abs(true_ms - one.happened_ms) - one.error_s * 1_000
    return [f"its time misses the truth by {miss_ms} ms beyond its error"] if miss_ms > 0 else []


def _blunt(known: dict[int, Time]) -> list[str]:
    return [
        f"{seq}: {one.error_s} s of error, though its boot was synchronised minutes from it"
        for seq, one in known.items()
        if one.error_s is None or one.error_s > _SHARP_S
    ]


async def _statement(cloud: Cloud, known: dict[int, Time]) -> list[str]:
    """The statement of the citizen whose card was used says the same times."""
    lines = await cloud.statement(_CITIZEN)
    return [
        f"{seq}: the statement says {lines[one.id]}"
        for seq, one in known.items()
        if one.id in lines and lines[one.id] != (one.happened_ms, one.error_s)
    ]


async def _together(cloud: Cloud, tally: Tally) -> list[str]:
    """The ledger adds up, and the daily figures are right but for what they call unsure."""
    wrong = [f"ledger: {fault}" for fault in (await cloud.verify()).faults]
    if not tally.days:
        return wrong
    first, last = min(tally.days), max(tally.days)
    found: dict[date, int] = {}
    unsure_g = 0
    for begin in range(0, (last - first).days + 800, 90):
        day = first - timedelta(days=400) + timedelta(days=begin)
        for figure in await cloud.daily(day, day + timedelta(days=89)):
            found[figure.day] = found.get(figure.day, 0) + figure.net_g
            unsure_g += figure.unsure_g
    if sum(found.values()) != sum(tally.days.values()):
        wrong.append(f"daily figures hold {sum(found.values())} g of {sum(tally.days.values())} g")
    for day in sorted({*found, *tally.days}):
        off_g = abs(found.get(day, 0) - tally.days.get(day, 0))
        if off_g > unsure_g:
            wrong.append(f"daily figures of {day} are {off_g} g off, with {unsure_g} g unsure")
    return wrong
