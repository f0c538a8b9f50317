"""A simulated scale: physics, one dialect and one serial port, beaten by the event loop.

Owns the beat and the faults that concern the value; bytes are the dialect's, the port is the wire's.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from firmware_sim.control import Json, text, whole_number
from firmware_sim.device import SimulatedDevice
from firmware_sim.dialects import DialectOptions, ScaleIdentity, Turn, make_adapter
from firmware_sim.errors import CommandError
from firmware_sim.faults import Fault, fault_named
from firmware_sim.indication import Condition, Indication, Unit
from firmware_sim.physics import (
    SAMPLE_PERIOD_S,
    Key,
    PlateInputs,
    PlateState,
    PresetTare,
    ScaleProfile,
    power_on,
    update,
)
from firmware_sim.wire import Wire, WireFault

_T = TypeVar("_T")

MAX_LOAD_G = 1_000_000
BOOT_S = 1.0
STALE_VALUE_S = 0.25
SECOND_BAG_G = 1_500
# Below this many divisions a stable value is an empty plate, not a weighing.
WEIGHING_DIVISIONS = 20


class SimulatedScale(SimulatedDevice):
    """A scale at `link` that speaks `dialect`. Async context manager; all methods are immediate.

    Without `link` a temporary folder is used and removed again. With `control` a control socket is
    served there. Raises UnknownDialectError, ProfileError or LinkError before anything is started.
    """

    def __init__(
        self,
        dialect: str,
        *,
        link: Path | None = None,
        control: Path | None = None,
        seed: int = 1,
        baud: int = 9600,
        profile: ScaleProfile | None = None,
        checksum: bool = True,
        identity: ScaleIdentity | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("scale", link, control)
        self.dialect = dialect
        self.profile = profile or ScaleProfile()
        self._options = DialectOptions(baud, checksum, identity or ScaleIdentity())
        self._adapter = make_adapter(dialect, self._options)
        self.wire = Wire(self.link, baud, seed, self._receive)
        self._seed = seed
        self._now = now
        self._load_g = 0
        self._extra_g: dict[Fault, int] = {}
        self._faults: set[Fault] = set()
        self._state: PlateState | None = power_on(self.profile, now(), 0.0)
        self._ready_s = 0.0
        self._frozen: Indication | None = None
        self._last_weighing: Indication | None = None
        self._stale_until_s = 0.0
        self._changed_s = now()
        self._attached_seen = 0

    @property
    def load_g(self) -> int:
        """What truly lies on the plate, faults included, in grams."""
        return self._load_g + sum(self._extra_g.values())

    @property
    def indication(self) -> Indication | None:
        """What the display shows now; None while the indicator has no power."""
        return self._shown(())

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that are on."""
        return frozenset(self._faults)

    def place(self, mass_g: int) -> None:
        """Put exactly this on the plate, instead of whatever people had put there."""
        self._set_load(mass_g)

    def add(self, mass_g: int) -> None:
        """Put this on top of what is there; a negative mass takes away."""
        self._set_load(self._load_g + mass_g)

    def clear(self) -> None:
        """Take everything off that people put there."""
        self._set_load(0)

    def press(self, key: Key | PresetTare) -> None:
        """Press a key on the indicator's front."""
        self._shown((key,))

    def fault(self, name: str, on: bool = True, *, mass_g: int | None = None) -> None:
        """Switch a fault on or off by name; `mass_g` is the second bag's. CommandError if unknown."""
        fault = fault_named(name)
        match fault:
            case Fault.UNPLUG:
                self.wire.unplug() if on else self._replug()
            case Fault.REPLUG:
                self.wire.unplug()
                self._replug()
                return
            case Fault.HALF_FRAME | Fault.GARBAGE | Fault.FREEZE_PORT | Fault.WRONG_BAUD:
                _toggle(self.wire.faults, WireFault(fault.value), on)
            case Fault.SECOND_BAG:
                self._extra(fault, (mass_g or SECOND_BAG_G) if on else 0)
            case Fault.OVERLOAD:
                self._extra(fault, self.profile.max_g + 20 * self.profile.division_g if on else 0)
            case Fault.FREEZE_VALUE:
                self._frozen = self.indication if on else None
            case Fault.POWER_CUT:
                self._cut_power() if on else self._restore_power()
            case Fault.STALE_FIRST_VALUE | Fault.LB:
                pass
        _toggle(self._faults, fault, on)

    async def settled(self, deadline_s: float = 10.0) -> Indication:
        """Wait until the display stands still on what is on the plate now; TimeoutError if it never does.

        Out of range counts as settled: the display says so and stays there.
        """
        changed_s = self._changed_s
        async with asyncio.timeout(deadline_s):
            while True:
                await asyncio.sleep(SAMPLE_PERIOD_S)
                shown = self.indication
                rested = self._now() - changed_s > self.profile.stable_window_s + SAMPLE_PERIOD_S
                if rested and shown is not None and shown.condition is not Condition.MOTION:
                    return shown

    def _set_load(self, mass_g: int) -> None:
        if not 0 <= mass_g <= MAX_LOAD_G:
            raise CommandError(f"the plate can carry 0 to {MAX_LOAD_G} g, not {mass_g} g")
        if self._load_g == 0 and mass_g:
            self._stale_until_s = self._now() + STALE_VALUE_S
        self._load_g = mass_g
        self._changed_s = self._now()
        self._shown(())

    def _extra(self, fault: Fault, mass_g: int) -> None:
        self._extra_g[fault] = mass_g
        self._changed_s = self._now()
        self._shown(())

    def _replug(self) -> None:
        self._faults.discard(Fault.UNPLUG)
        self.wire.plug()
        self._stale_until_s = self._now() + STALE_VALUE_S

    def _cut_power(self) -> None:
        self._state = None
        self._frozen = None

    def _restore_power(self) -> None:
        if self._state is not None:
            return
        now_s = self._now()
        self._state = power_on(self.profile, now_s, float(self.load_g))
        self._adapter = make_adapter(self.dialect, self._options)
        self._ready_s = now_s + BOOT_S

    def _shown(self, presses: tuple[Key | PresetTare, ...]) -> Indication | None:
        """Advance the physics to now and say what the display shows, value faults included."""
        if self._state is None:
            return None
        unit = Unit.LB if Fault.LB in self._faults else Unit.KG
        inputs = PlateInputs(float(self.load_g), presses, unit)
        self._state, shown = update(self.profile, self._seed, self._state, self._now(), inputs)
        if Fault.STALE_FIRST_VALUE in self._faults and self._now() < self._stale_until_s:
            return self._last_weighing or shown
        self._remember(shown)
        return self._frozen or shown

    def _remember(self, shown: Indication) -> None:
        heavy = abs(shown.gross_g) >= WEIGHING_DIVISIONS * shown.division_g
        if heavy and shown.condition is Condition.STABLE:
            self._last_weighing = shown

    async def _run(self) -> None:
        beat_s = self._now()
        while True:
            beat_s = max(beat_s + SAMPLE_PERIOD_S, self._now())
            await asyncio.sleep(beat_s - self._now())
            self._tick()

    def _tick(self) -> None:
        if self.wire.counters.attached != self._attached_seen:
            self._attached_seen = self.wire.counters.attached
            self._stale_until_s = self._now() + STALE_VALUE_S
        shown, now_s = self.indication, self._now()
        if shown is not None and now_s >= self._ready_s:
            self._perform(self._adapter.tick(shown, now_s))

    def _receive(self, data: bytes) -> None:
        """Line by line: what one command does to the display the next one must see."""
        for piece in data.splitlines(keepends=True):
            shown, now_s = self.indication, self._now()
            if shown is not None and now_s >= self._ready_s:
                self._perform(self._adapter.receive(piece, shown, now_s))

    def _perform(self, turn: Turn) -> None:
        if turn.presses:
            self._shown(turn.presses)
        for frame in turn.frames:
            self.wire.send(frame)

    async def _command(self, command: Json) -> dict[str, object]:
        match text(command, "cmd"):
            case "place":
                self.place(whole_number(command, "mass_g", 0, MAX_LOAD_G))
            case "add":
                self.add(whole_number(command, "mass_g", -MAX_LOAD_G, MAX_LOAD_G))
            case "clear":
                self.clear()
            case "press":
                self.press(_key(text(command, "key")))
            case "fault":
                self._command_fault(command)
            case "state":
                return self._report()
            case other:
                known = "place, add, clear, press, fault, state"
                raise CommandError(f"no command {other!r}; choose one of: {known}")
        return {}

    def _command_fault(self, command: Json) -> None:
        on = command.get("on", True)
        if not isinstance(on, bool):
            raise CommandError(f'"on" must be true or false, not {on!r}')
        mass_g = whole_number(command, "mass_g", 1, MAX_LOAD_G) if "mass_g" in command else None
        self.fault(text(command, "name"), on, mass_g=mass_g)

    def _report(self) -> dict[str, object]:
        shown = self.indication
        return {
            "load_g": self.load_g,
            "indication": asdict(shown) if shown else None,
            "faults": sorted(self._faults),
            "plugged": self.wire.plugged,
            "counters": asdict(self.wire.counters),
        }


def _key(name: str) -> Key:
    if name not in set(Key):
        raise CommandError(f"no key {name!r}; choose one of: {', '.join(Key)}")
    return Key(name)


def _toggle(members: set[_T], member: _T, on: bool) -> None:
    if on:
        members.add(member)
    else:
        members.discard(member)
