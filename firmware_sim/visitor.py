"""Carries out one visit: hands on the scale, card before the scanner, fingers and eyes on the kiosk.

Owns patience: a person waits for a button or a weight, lifts a bag that is not taken and puts it back,
and in the end gives up, cancels and leaves with the bag.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, assert_never

from firmware_sim.errors import CommandError, KioskError
from firmware_sim.kiosk import Kiosk, KioskScreen, SavedLine
from firmware_sim.people import (
    Action,
    AwaitScreen,
    AwaitWeight,
    Choose,
    HoldTag,
    Press,
    Put,
    ShowBin,
    ShowCard,
    TakeOff,
    Visit,
)

LOOK_EVERY_S = 0.2
PATIENCE_S = 20.0
# Seconds in which a steady weight should have been taken; after that people lift the bag once more.
LIFT_AFTER_S = 2.5
LIFTED_FOR_S = 2.5
LIFTS_MAX = 2


class Plate(Protocol):
    """What hands can do to a scale."""

    def add(self, mass_g: int) -> None:
        """Put something on top, in grams; a negative mass takes it away."""
        ...

    def clear(self) -> None:
        """Take everything off."""
        ...


class CodeReader(Protocol):
    """What hands can do to a scanner."""

    def scan(self, code: str) -> None:
        """Hold a code before it."""
        ...


class TagReader(Protocol):
    """What hands can do to an RFID reader."""

    def tag(self, tag: str) -> None:
        """Hold a tag before it."""
        ...


class Ending(StrEnum):
    """How a visit ended."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    GAVE_UP = "gave_up"


@dataclass(slots=True)
class Outcome:
    """What came of a visit: `saved` by seq is what the kiosk showed as saved, `placed_g` is the truth.

    `foreign` are lines of an earlier visit that the screen still showed on arrival.
    """

    visit: Visit
    ending: Ending = Ending.FINISHED
    reason: str = ""
    saved: dict[int, SavedLine] = field(default_factory=dict)
    placed_g: list[int] = field(default_factory=list)
    foreign: frozenset[int] = frozenset()
    voids: int = 0
    receipt_id: str | None = None
    claim_code: str | None = None


class GaveUp(Exception):  # noqa: N818 - what the person did, not an error of the program
    """The person's patience is over."""


class Visitor:
    """Carries out visits one after another at one kiosk."""

    def __init__(
        self,
        kiosk: Kiosk,
        plate: Plate,
        scanner: CodeReader,
        tag_reader: TagReader,
        *,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kiosk = kiosk
        self._plate = plate
        self._scanner = scanner
        self._tag_reader = tag_reader
        self._patience_s = patience_s
        self._now = now
        self._last_bag_g = 0

    async def perform(self, visit: Visit) -> Outcome:
        """Do every step; never raises for what the kiosk does, that is the outcome."""
        outcome = Outcome(visit)
        try:
            await self._arrive(outcome)
            for step in visit.steps:
                await asyncio.sleep(step.after_s)
                await self._act(step.action, outcome)
        except GaveUp as reason:
            outcome.ending, outcome.reason = Ending.GAVE_UP, str(reason)
            await self._leave(outcome)
        except CommandError as refused:  # somebody else has their hands on the devices too
            outcome.ending, outcome.reason = Ending.GAVE_UP, str(refused)
            await self._leave(outcome)
        self._plate.clear()
        return outcome

    async def _arrive(self, outcome: Outcome) -> None:
        """Put away the last person's receipt; what their screen still shows is not this visit's."""
        screen = await self._until(lambda _: True, "any screen", outcome)
        outcome.foreign = frozenset(line.seq for line in screen.lines)
        outcome.saved.clear()
        if screen.buttons is not None and "done" in screen.buttons:
            await self._pressed("done", None, outcome)
        outcome.receipt_id = outcome.claim_code = None

    async def _act(self, action: Action, outcome: Outcome) -> None:
        match action:
            case ShowCard(text) | ShowBin(text):
                self._scanner.scan(text)
            case HoldTag(tag):
                self._tag_reader.tag(tag)
            case Press(button, value):
                await self._press(button, value, outcome)
            case Choose(code, position):
                await self._choose(code, position, outcome)
            case Put(mass_g):
                self._put(mass_g, outcome)
            case TakeOff():
                self._plate.clear()
            case AwaitWeight():
                await self._await_weight(outcome)
            case AwaitScreen(names):
                await self._await_screen(names, outcome)
            case _:
                assert_never(action)

    async def _press(self, button: str, value: str | None, outcome: Outcome) -> None:
        await self._until(lambda screen: _offers(screen, button), f"button {button}", outcome)
        await self._pressed(button, value, outcome)
        if button == "cancel":
            outcome.ending = Ending.CANCELLED
        outcome.voids += button == "void"

    async def _choose(self, code: str | None, position: int, outcome: Outcome) -> None:
        screen = await self._until(lambda seen: _offers(seen, "material"), "the materials", outcome)
        offered = screen.materials
        if offered and code not in offered:
            code = offered[position % len(offered)]
        if code is None:
            raise GaveUp("the kiosk shows no material and none was planned")
        await self._pressed("material", code, outcome)

    def _put(self, mass_g: int, outcome: Outcome) -> None:
        self._last_bag_g = mass_g
        outcome.placed_g.append(mass_g)
        self._plate.add(mass_g)

    async def _await_weight(self, outcome: Outcome) -> None:
        """Wait for a weight that can be confirmed; a bag the kiosk does not take is lifted and put back."""
        deadline_s = self._now() + self._patience_s
        lifts = 0
        lift_at_s = self._now() + LIFT_AFTER_S
        while self._now() < deadline_s:
            screen = await self._look(outcome)
            if screen is not None and screen.ready:
                return
            if screen is not None and screen.steady and self._now() >= lift_at_s and lifts < LIFTS_MAX:
                await self._lift()
                lifts += 1
                lift_at_s = self._now() + LIFT_AFTER_S
            await asyncio.sleep(LOOK_EVERY_S)
        raise GaveUp("no weight could be confirmed")

    async def _lift(self) -> None:
        """Take everything off, until the scale shows zero, and put only the last bag back."""
        self._plate.clear()
        await asyncio.sleep(LIFTED_FOR_S)
        self._plate.add(self._last_bag_g)

    async def _await_screen(self, names: tuple[str, ...], outcome: Outcome) -> None:
        if names:
            await self._until(lambda screen: screen.name in names, f"screen {'/'.join(names)}", outcome)

    async def _until(self, wanted: Callable[[KioskScreen], bool], what: str, outcome: Outcome) -> KioskScreen:
        deadline_s = self._now() + self._patience_s
        seen = "nothing"
        while True:
            screen = await self._look(outcome)
            if screen is not None and wanted(screen):
                return screen
            seen = screen.name if screen is not None else seen
            if self._now() >= deadline_s:
                raise GaveUp(f"waited in vain for {what}, last saw {seen}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, outcome: Outcome) -> KioskScreen | None:
        """The screen, or None while the kiosk does not answer: people just wait."""
        try:
            return _noted(await self._kiosk.screen(), outcome)
        except KioskError:
            return None

    async def _pressed(self, button: str, value: str | None, outcome: Outcome) -> None:
        """Press once; a kiosk that dies under the finger is given up on, never pressed twice."""
        try:
            _noted(await self._kiosk.press(button, value), outcome)
        except KioskError as error:
            raise GaveUp(str(error)) from error

    async def _leave(self, outcome: Outcome) -> None:
        """Take the bag and press whatever ends the visit, so that the next person finds a free kiosk."""
        self._plate.clear()
        with contextlib.suppress(KioskError):
            screen = _noted(await self._kiosk.screen(), outcome)
            for _ in range(3):
                button = next((each for each in ("finish", "done", "cancel") if _offers(screen, each)), None)
                if button is None or screen.name == "idle":
                    return
                screen = _noted(await self._kiosk.press(button), outcome)


def _offers(screen: KioskScreen, button: str) -> bool:
    """Whether the button is there; a kiosk that lists none is taken at its word that all work."""
    return screen.buttons is None or button in screen.buttons


def _noted(screen: KioskScreen, outcome: Outcome) -> KioskScreen:
    """Remember what this screen shows as saved."""
    own = [line for line in screen.lines if line.seq not in outcome.foreign]
    outcome.saved.update({line.seq: line for line in own})
    outcome.receipt_id = screen.receipt_id or outcome.receipt_id
    outcome.claim_code = screen.claim_code or outcome.claim_code
    return screen
