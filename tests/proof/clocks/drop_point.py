"""A drop point whose clock is thrown about: the real station, journal and timekeeper, and what people saw.

Knows the truth: when each record was written, and what the kiosk showed as saved.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.directory import Directory
from edge.kiosk.rendering import Pages
from edge.kiosk.words import Language
from edge.station.screen import Button, Name, Screen
from edge.sync.trust import NO_CHECK_TIME, mind_dates
from edge.timekeeping import Timekeeper
from protocol import VERSION
from protocol.bodies import WeighingRecorded
from protocol.cards import Role
from protocol.cose import SigningKey
from protocol.frames import ClockSample, Frame, build_frame
from protocol.records import ClockQuality
from tests.edge.station.bench import (
    GATEWAY,
    NOW_MS,
    ROOT_KEY,
    ZERO,
    Site,
    bin_code,
    card,
    card_text,
    moving,
    stable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

DAY_S = 86_400
YEAR_MS = 365 * DAY_S * 1_000
CHANGES: dict[str, Callable[[int], int]] = {
    "1970": lambda _: 0,
    "-10 years": lambda true_ms: true_ms - 10 * YEAR_MS,
    "-1 s": lambda true_ms: true_ms - 1_000,
    "+1 s": lambda true_ms: true_ms + 1_000,
    "+10 years": lambda true_ms: true_ms + 10 * YEAR_MS,
    "2038-01-19": lambda _: 2**31 * 1_000,
    "9999": lambda _: 253_402_300_740_000,
}
"""What the wall clock is set to, by what it really is (UTC milliseconds)."""
_PAGES = Pages(Language.NE)
KEY = SigningKey.from_seed(b"g" * 32)
CITIZEN = card_text("Asha")
COLLECTOR = card_text("Bina", Role.COLLECTOR)
STEWARD = card_text("Chet", Role.STEWARD)


class StuckError(AssertionError):
    """The kiosk did not come to the screen that a person would expect."""


@dataclass(slots=True)
class Saved:
    """What the kiosk showed as saved: grams, and points unless they follow."""

    net_g: int
    points: int | None


@dataclass(slots=True)
class DropPoint:
    """One site. `truth_ms`: UTC of the monotonic clock's zero, by boot."""

    site: Site
    saved: list[Saved] = field(default_factory=list)
    truth_ms: dict[int, int] = field(default_factory=dict)
    _boot: int = 1
    _keeper: Timekeeper | None = None

    @classmethod
    async def open(cls, folder: Path, number: int) -> DropPoint:
        """A site that starts with a clock that is right; its journal's epoch is drawn from `number`."""
        self = cls(Site(folder))
        self.site.__dict__["_random"] = itertools.count(1 + number * 1_000)
        self.truth_ms[1] = NOW_MS
        await self._start()
        return self

    async def _start(self) -> None:
        await self.site.start()
        self._boot = self.site.journal.boot
        self._keeper = Timekeeper(self.site.clock, self.site.journal, self.site.directory.earliest_ms)

    async def close(self) -> None:
        """Stop for good."""
        await self.site.close()

    # -- time -----------------------------------------------------------------------------------------------

    @property
    def true_ms(self) -> int:
        """What time it really is, UTC."""
        return self.truth_ms[self._boot] + self.site.clock.mono_ms()

    async def change(self, name: str, clock: ClockQuality) -> None:
        """Somebody sets the wall clock."""
        wall_ms = CHANGES[name](self.true_ms)
        self.site.clock.wall_offset_ms = wall_ms - self.site.clock.mono_ms()
        self.site.clock.trust = clock
        self.site.clock.now_s += 0.1
        self.site.station.tick()
        _PAGES.page(self.site.shown(), Language.EN)
        await self._keeper_of().look()  # no waiting for the station: it may be in the middle of a commit

    async def sync(self) -> None:
        """The network is there and sets the clock."""
        self.site.clock.wall_offset_ms = self.truth_ms[self._boot]
        self.site.clock.trust = ClockQuality.SYNCED
        await self._look()

    async def hear(self, server_ms: int) -> None:
        """An ack comes in with the time that the cloud signed."""
        self.site.directory.trust_time(server_ms)
        await self._look()

    def shut_roads(self) -> list[str]:
        """What is wrong if a certificate of today is not valid yet to a clock that is known to be behind."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        mind_dates(context, self.site.clock, self.site.directory.earliest_ms())
        behind = self.site.clock.wall_ms() < self.true_ms - DAY_S * 1_000
        if not behind or context.verify_flags & NO_CHECK_TIME:
            return []
        return ["the roads are shut: dates count on a clock that is behind what the cloud has signed"]

    async def pass_by(self, seconds: float) -> None:
        """Nothing happens for a while."""
        await self.site.tick(seconds)
        await self._look()

    async def cut(self, off_s: float, wall_ms: int = 0, clock: ClockQuality = ClockQuality.UNKNOWN) -> None:
        """The power goes for a while; the machine starts with whatever its clock says then."""
        truth_ms = self.true_ms + int(off_s * 1_000)
        await self.site.stop()
        self.site.directory.close()
        hand = self.site.clock
        hand.now_s, hand.wall_offset_ms, hand.trust = 20.0, wall_ms - 20_000, clock
        self.site.boot_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{truth_ms}"))
        self.site.directory = Directory.open(
            self.site.folder / "directory.db", ROOT_KEY.public, hand, GATEWAY
        )
        self.truth_ms[self._boot + 1] = truth_ms
        await self._start()

    async def _look(self) -> None:
        await self.site.tick()
        await self._keeper_of().look()

    def _keeper_of(self) -> Timekeeper:
        assert self._keeper is not None, "the site has started"
        return self._keeper

    # -- people ---------------------------------------------------------------------------------------------

    async def visit(self, mass_g: int = 860) -> None:
        """A guest comes, weighs one bag and goes."""
        await self._home()
        await self._play([step for _, step in self.deposit(mass_g, guest=True)])

    async def _home(self) -> None:
        """Whatever stands on the screen, the next person finds it idle."""
        await self.site.see(ZERO)
        if self.site.shown().name is not Name.IDLE:
            await self.site.station.press(Button.DONE)
        self.expect(Name.IDLE)

    async def _play(self, steps: list[Callable[[], Awaitable[None]]]) -> None:
        for step in steps:
            await step()

    def deposit(
        self, mass_g: int = 1_240, *, guest: bool = False
    ) -> list[tuple[str, Callable[[], Awaitable[None]]]]:  # fmt: skip
        """A visit, step by step: the state that each leads to."""
        confirming: list[asyncio.Task[Screen]] = []

        async def identify() -> None:
            if guest:
                await self.site.station.press(Button.GUEST)
            else:
                await self.site.station.scanned(card(CITIZEN))
            self.expect(Name.CHOOSE)

        async def choose() -> None:
            await self.site.station.press(Button.MATERIAL, "pet")
            self.expect(Name.WEIGH)

        async def confirm() -> None:
            confirming.append(asyncio.create_task(self.site.station.press(Button.CONFIRM)))
            await asyncio.sleep(0)

        async def save() -> None:
            await confirming[0]
            self.expect(Name.SAVED)
            line = self.site.shown().lines[-1]
            self.saved.append(Saved(line.net_g, line.points))

        async def finish() -> None:
            await self.site.station.press(Button.FINISH)
            self.expect(Name.RECEIPT)

        async def leave() -> None:
            await self.site.station.press(Button.DONE)
            await self.site.see(ZERO)
            self.expect(Name.IDLE)

        return [
            ("idle", self.site.tick),
            ("identified", identify),
            ("material chosen", choose),
            ("weighing", lambda: self.site.see(moving(mass_g - 300))),
            ("stable", lambda: self.site.see(stable(mass_g))),
            ("confirming", confirm),
            ("saved", save),
            ("receipt", finish),
            ("left", leave),
        ]

    def pickup(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """A collector's visit, step by step: the state that each leads to."""
        confirming: list[asyncio.Task[Screen]] = []

        async def begin() -> None:
            await self.site.station.scanned(card(COLLECTOR))
            self.expect(Name.COLLECT)

        async def scan() -> None:
            await self.site.station.scanned(bin_code("BIN-7"))
            self.expect(Name.BIN)

        async def weigh() -> None:
            confirming.append(asyncio.create_task(self.site.station.press(Button.BIN_WEIGH)))
            await asyncio.sleep(0)

        async def emptied() -> None:
            await confirming[0]
            self.expect(Name.COLLECT)
            await self.site.see(ZERO)

        async def hand_over() -> None:
            await self.site.station.press(Button.HANDOVER)
            self.expect(Name.HANDOVER)

        async def taken() -> None:
            await self.site.station.scanned(card(STEWARD))
            self.expect(Name.HANDED_OVER)

        async def leave() -> None:
            await self.site.station.press(Button.DONE)
            self.expect(Name.IDLE)

        return [
            ("collecting", begin),
            ("bin scanned", scan),
            ("bin on the scale", lambda: self.site.see(stable(8_400))),
            ("bin confirming", weigh),
            ("bin emptied", emptied),
            ("handing over", hand_over),
            ("handed over", taken),
            ("pickup left", leave),
        ]

    def expect_points(self) -> None:
        """The last one who weighed saw points: the catalogue is as fresh as ever. Raises StuckError."""
        if self.saved[-1].points is None:
            raise StuckError("points follow, although the clock is right again and the catalogue is fresh")

    def expect(self, name: Name) -> None:
        """The kiosk shows this screen, and its page can be rendered. Raises StuckError."""
        screen = self.site.shown()
        _PAGES.page(screen, Language.EN)
        if screen.name is not name:
            raise StuckError(f"the kiosk should show {name} and shows {screen.name} ({screen.message})")

    # -- what the cloud gets --------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The journal's."""
        return self.site.journal.epoch

    async def frame(self, first: int) -> bytes:
        """Everything from this seq on, signed, with what the clock says now."""
        journal, clock = self.site.journal, self.site.clock
        records = await journal.read(first, 1_000_000)
        before = await journal.digest_at(first - 1)
        assert before is not None
        head = journal.journal.head_digest
        sample = ClockSample(journal.boot, clock.mono_ms(), clock.wall_ms(), clock.quality())
        frame = Frame(
            VERSION, GATEWAY, journal.epoch, first, 1, before, head, sample, records
        )  # fmt: skip
        return build_frame(frame, KEY)

    async def truths(self) -> dict[int, int]:
        """When each record was really written (UTC ms), by seq."""
        entries = await self.site.journal.entries(1, self.site.journal.head)
        return {each.seq: self.truth_ms[each.record.boot] + each.record.mono_ms for each in entries}

    async def weighings(self) -> list[tuple[int, WeighingRecorded]]:
        """Seq and body of every weighing in the journal."""
        entries = await self.site.journal.entries(1, self.site.journal.head)
        return [
            (each.seq, each.record.body) for each in entries if isinstance(each.record.body, WeighingRecorded)
        ]
