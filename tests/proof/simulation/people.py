"""People at a kiosk: members, guests, owners of tags, collectors. They press what the screen offers, change
their minds, walk away, and tell the reference what they saw.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge.devices.events import Scan
from edge.station.screen import Button, Message, Name
from tests.proof.simulation.world import CITIZENS, COLLECTORS, card_text

if TYPE_CHECKING:
    import random

    from edge.station.screen import Screen
    from tests.proof.simulation.gateway import Gateway
    from tests.proof.simulation.reference import Load, Reference

_LOOK_S = 0.2
_PATIENCE_S = 5.0
_DIVISION_G = 5


class People:
    """Everybody who comes to one gateway, one after the other."""

    def __init__(self, gateway: Gateway, reference: Reference, chance: random.Random, used: set[int]) -> None:
        self._gateway, self._reference, self._chance = gateway, reference, chance
        self._used = used
        self.visits = 0

    async def come(self, visits: int, pause_s: float) -> None:
        """So many visits, with pauses of about so many seconds."""
        for _ in range(visits):
            await asyncio.sleep(self._chance.expovariate(1 / pause_s))
            self._gateway.attended = True
            try:
                await self._visit()
            finally:
                self._gateway.scale.mass_g = 0
                self._gateway.attended = False

    async def _visit(self) -> None:
        if await self._until({Name.IDLE, Name.RECEIPT}) is None:
            return
        self.visits += 1
        if self._chance.random() < 0.12:
            await self._collect()
        elif await self._identify():
            await self._weigh_all()

    async def _identify(self) -> bool:
        kind = self._chance.random()
        if kind < 0.25:
            screen = self._gateway.screen
            if screen is not None and screen.name is Name.RECEIPT:
                await self._gateway.press(Button.DONE)
            await self._gateway.press(Button.GUEST)
        elif kind < 0.4:
            tag = self._chance.randbytes(5).hex()
            await self._gateway.scan(Scan("tag", tag, tag.encode()))
        else:
            await self._gateway.scan(_card(self._chance.randrange(CITIZENS)))
        return await self._until({Name.CHOOSE}) is not None

    async def _weigh_all(self) -> None:
        for _ in range(self._chance.choice((1, 1, 1, 2, 3))):
            if not await self._weigh():
                return
            if self._chance.random() < 0.15:
                await self._void()
            elif self._chance.random() < 0.1:
                await self._again()
        how = self._chance.random()
        if how < 0.75:
            await self._gateway.press(Button.FINISH)
            if self._chance.random() < 0.6:
                await self._gateway.press(Button.DONE)
        elif how < 0.85:
            await self._gateway.press(Button.CANCEL)

    async def _weigh(self) -> bool:
        screen = self._gateway.screen
        if screen is None or not screen.tiles:
            return False
        self._gateway.scale.mass_g = 0
        if await self._until({Name.CHOOSE, Name.SAVED}, armed=True) is None:
            return False
        await self._gateway.press(Button.MATERIAL, self._chance.choice(screen.tiles).code)
        load = self._put_on()
        for _ in range(self._chance.choice((1, 1, 2))):  # some press again when told that it was not saved
            if await self._until({Name.WEIGH}, Button.CONFIRM) is None:
                return False
            self._reference.offered(load)
            after = await self._gateway.press(Button.CONFIRM)
            if after is not None and after.name is Name.SAVED:
                return True
            if after is None or after.message is not Message.NOT_SAVED or after.busy:
                return False
            self._reference.refused(load)
        return False

    def _put_on(self) -> Load:
        self._gateway.scale.mass_g = mass_g = self._mass_g()
        return self._gateway.name, mass_g

    def _mass_g(self) -> int:
        """A mass that nobody else brings."""
        mass_g = 0
        while not mass_g or mass_g in self._used:
            mass_g = _DIVISION_G * self._chance.randrange(20, 8_000)
        self._used.add(mass_g)
        return mass_g

    async def _again(self) -> None:
        """Try to have the same load counted once more, without lifting it."""
        screen = self._gateway.screen
        if screen is not None and screen.tiles:
            await self._gateway.press(Button.MATERIAL, screen.tiles[0].code)
            await asyncio.sleep(self._chance.random())
            await self._gateway.press(Button.CONFIRM)

    async def _void(self) -> None:
        screen = self._gateway.screen
        if screen is None or not screen.lines or Button.VOID not in screen.buttons:
            return
        load = (self._gateway.name, screen.lines[-1].net_g)
        self._reference.voiding(load)
        after = await self._gateway.press(Button.VOID)
        if after is not None and after.message is Message.VOIDED:
            self._reference.voided(load)

    async def _collect(self) -> None:
        collectors = [CITIZENS + number for number in range(COLLECTORS)]
        self._chance.shuffle(collectors)
        await self._gateway.scan(_card(collectors[0]))
        if await self._until({Name.COLLECT}) is None:
            return
        for number in range(self._chance.choice((1, 2))):
            code = f"RLB1:BIN-{number}"
            await self._gateway.scan(Scan("bin", code, code.encode()))
            if await self._until({Name.BIN}) is None:
                return
            if self._chance.random() < 0.5:
                await self._gateway.press(Button.BIN_ESTIMATE, str(self._mass_g()))
                continue
            self._put_on()
            if await self._until({Name.BIN}, Button.BIN_WEIGH) is None:
                return
            await self._gateway.press(Button.BIN_WEIGH)
            self._gateway.scale.mass_g = 0
        await self._gateway.press(Button.HANDOVER)
        if await self._until({Name.HANDOVER}) is not None:
            await self._gateway.scan(_card(collectors[1]))
            await self._gateway.press(Button.DONE)

    async def _until(
        self, names: set[Name], button: Button | None = None, *, armed: bool = False
    ) -> Screen | None:
        """Look at the screen until it is as wanted; None when patience ends or the kiosk went dark."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _PATIENCE_S
        while loop.time() < until_s:
            if armed:
                await asyncio.sleep(2 * _LOOK_S)  # the plate is seen empty
            screen = self._gateway.screen
            if screen is None and not armed and names == {Name.IDLE, Name.RECEIPT}:
                pass  # it starts again
            elif screen is None:
                return None
            elif screen.name in names and not screen.busy and (button is None or button in screen.buttons):
                return screen
            await asyncio.sleep(_LOOK_S)
        return None


def _card(number: int) -> Scan:
    text = card_text(number)
    return Scan("card", text, text.encode())
