"""Whatever is pressed, scanned, weighed, broken and crashed in any order: every load counts at most once.

The model knows the truth about the plate: which bags lie there, which of them a weighing has counted. The
station is the real one, on the real journal.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.devices.readings import Status
from edge.station.screen import Button, Name, Screen
from protocol.bodies import (
    BinWeighed,
    DepositClosed,
    DepositOpened,
    ManualEntered,
    TareKind,
    WeighingRecorded,
    WeighingVoided,
)
from protocol.cards import Role
from tests.edge.station.bench import (
    DIVISION_G,
    Site,
    bin_code,
    card,
    card_text,
    moving,
    refused,
    stable,
    unwell,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Thousands of commits: crashes of the process are played here, not those of a disk."""
FAULTS: tuple[Literal["refused", "lost", "saved"], ...] = ("refused", "lost", "saved")
RESTLESS = ("moving", "overload", "underload", "error", "stale", "absent", "fault")
MASSES_G = st.integers(min_value=1, max_value=600).map(lambda steps: steps * DIVISION_G)
PICKS = st.integers(0, 11)
WEIGHS = (Button.CONFIRM, Button.BIN_WEIGH)
OTHERS = [button for button in Button if button not in WEIGHS]
VALUES = {Button.MATERIAL: "pet", Button.PRESET_TARE: "500", Button.BIN_ESTIMATE: "900", Button.MANUAL: "700"}
CARDS = {
    role: card_text(name, role)
    for name, role in (("Asha", Role.CITIZEN), ("Bina", Role.COLLECTOR), ("Chet", Role.STEWARD))
}


@dataclass(eq=False)
class Bag:
    """One load from being put on the plate to being taken off; `counted_g` are its grams by weighing.

    A bag held up by a hand while it is confirmed is counted in part, and its rest may be counted later.
    """

    mass_g: int
    counted_g: dict[int, int] = field(default_factory=dict)

    @property
    def rest_g(self) -> int:
        return self.mass_g - sum(self.counted_g.values())


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(dir=FAST)
        self.site = Site(Path(self.folder.name))
        self.loop.run_until_complete(self.site.start())
        self.plate: list[Bag] = []
        self.known: dict[int, WeighingRecorded | BinWeighed] = {}
        self.voids: set[int] = set()
        self.may_record = False
        self.at_rest = True

    def teardown(self) -> None:
        self.loop.run_until_complete(self.site.close())
        self.loop.close()
        self.folder.cleanup()

    @property
    def on_plate_g(self) -> int:
        return sum(bag.mass_g for bag in self.plate)

    def see(self, lifted_g: int = 0) -> None:
        self.at_rest = True
        self.loop.run_until_complete(self.site.see(stable(self.on_plate_g - lifted_g)))

    @rule(mass_g=MASSES_G)
    def put_a_bag_on(self, mass_g: int) -> None:
        self.plate.append(Bag(mass_g))
        self.see()

    @rule(which=PICKS)
    @precondition(lambda self: self.plate)
    def take_a_bag_off(self, which: int) -> None:
        self.plate.pop(which % len(self.plate))
        self.see()

    @rule(mass_g=MASSES_G, which=PICKS)
    @precondition(lambda self: self.plate)
    def swap_a_bag_without_a_zero(self, mass_g: int, which: int) -> None:
        self.plate[which % len(self.plate)] = Bag(mass_g)
        self.see()

    @rule()
    def clear_the_plate(self) -> None:
        self.plate.clear()
        self.see()

    @rule(percent=st.integers(1, 99))
    @precondition(lambda self: self.on_plate_g > 2 * DIVISION_G)
    def support_the_load_by_hand(self, percent: int) -> None:
        self.see(lifted_g=min(self.on_plate_g * percent // 100, self.on_plate_g - DIVISION_G))

    @rule()
    def let_it_settle(self) -> None:
        self.see()

    @rule(kind=st.sampled_from(RESTLESS))
    def the_scale_is_not_at_rest(self, kind: str) -> None:
        self.at_rest = False
        mass_g = self.on_plate_g
        match kind:
            case "moving":
                view = moving(mass_g)
            case "stale" | "absent" | "fault" as health:
                view = unwell(health, mass_g)
            case _:
                view = refused(Status(kind))
        self.loop.run_until_complete(self.site.see(view))

    @rule(times=st.integers(1, 3))
    def confirm(self, times: int) -> None:
        self.get_ready()
        button = Button.BIN_WEIGH if self.screen.name is Name.BIN else Button.CONFIRM
        self.may_record = self.at_rest
        self.presses(*[button] * times)

    @rule(mass_g=MASSES_G)
    def put_a_bag_on_and_confirm(self, mass_g: int) -> None:
        self.put_a_bag_on(mass_g)
        self.confirm(1)

    @rule(mass_g=MASSES_G, trick=st.integers(0, 4))
    def put_a_bag_on_top_of_what_was_saved(self, mass_g: int, trick: int) -> None:
        if trick == 1:
            self.support_the_load_by_hand(90)
        self.tare()
        if trick == 2:
            self.preset_tare()
        if trick == 3:
            self.support_the_load_by_hand(90)
            self.tare()
        if trick == 4:
            self.void()
        self.put_a_bag_on_and_confirm(mass_g)

    @rule()
    def tare(self) -> None:
        self.get_ready()
        self.presses(Button.TARE)

    @rule()
    def preset_tare(self) -> None:
        self.get_ready()
        self.presses(Button.PRESET_TARE)

    @rule()
    def void(self) -> None:
        self.presses(Button.VOID)

    @rule(which=PICKS)
    @precondition(lambda self: self.screen.buttons)
    def press_what_is_offered(self, which: int) -> None:
        buttons = self.screen.buttons or (Button.DONE,)
        button = buttons[which % len(buttons)]
        self.may_record = button in WEIGHS and self.at_rest
        self.presses(button)

    @rule(button=st.sampled_from(OTHERS))
    def press_anything_else(self, button: Button) -> None:
        offered, head = button in self.screen.buttons, self.site.journal.head
        self.presses(button)
        assert offered or self.site.journal.head == head, "a button that is not offered journals nothing"

    @rule()
    def begin_a_pickup(self) -> None:
        self.loop.run_until_complete(self.site.station.scanned(card(CARDS[Role.COLLECTOR])))
        self.scan_a_bin(1)

    def get_ready(self) -> None:
        """Bring whoever is there to the scale."""
        if self.screen.name in {Name.IDLE, Name.RECEIPT, Name.HANDED_OVER}:
            self.presses(Button.DONE)
            self.presses(Button.GUEST)
        if self.screen.name in {Name.CHOOSE, Name.SAVED}:
            self.presses(Button.MATERIAL)

    def presses(self, *buttons: Button) -> None:
        async def all_at_once() -> None:
            station = self.site.station
            await asyncio.gather(*(station.press(button, VALUES.get(button)) for button in buttons))

        self.loop.run_until_complete(all_at_once())

    @property
    def screen(self) -> Screen:
        return self.site.station.screen

    @rule(role=st.sampled_from(Role))
    def scan_a_card(self, role: Role) -> None:
        self.loop.run_until_complete(self.site.station.scanned(card(CARDS[role])))

    @rule(number=st.integers(1, 3))
    def scan_a_bin(self, number: int) -> None:
        self.loop.run_until_complete(self.site.station.scanned(bin_code(f"BIN-{number}")))

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.site.tick(seconds))

    @rule(fault=st.sampled_from(FAULTS))
    def the_next_append_fails(self, fault: Literal["refused", "lost", "saved"]) -> None:
        self.site.journal.plan.append(fault)

    @rule()
    def crash_and_restart(self) -> None:
        self.loop.run_until_complete(self.site.crash())

    @invariant()
    def every_new_weighing_counts_only_what_was_not_counted(self) -> None:
        for seq, body in sorted(self.found(WeighingRecorded, BinWeighed, WeighingVoided).items()):
            if isinstance(body, WeighingVoided):
                self.take_back(body)
            elif isinstance(body, WeighingRecorded | BinWeighed) and seq not in self.known:
                self.judge(seq, body)
        self.may_record = False

    def judge(self, seq: int, body: WeighingRecorded | BinWeighed) -> None:
        assert self.may_record, "recorded without a confirm on a stable reading"
        self.may_record = False
        self.known[seq] = body
        assert body.gross_g - body.tare_g == body.net_g > 0
        self.count(seq, body.net_g)
        if body.tare_kind is TareKind.NONE and body.gross_g == self.on_plate_g:
            assert all(bag.rest_g == 0 for bag in self.plate), "a whole load counts whole"

    def count(self, seq: int, net_g: int) -> None:
        """Spread the recorded grams over the bags on the plate; there must be that many not yet counted."""
        for bag in self.plate:
            bag.counted_g[seq] = min(net_g, bag.rest_g)
            net_g -= bag.counted_g[seq]
        assert net_g == 0, f"{net_g} g more were recorded than lay there uncounted"

    def take_back(self, void: WeighingVoided) -> None:
        """A voided load may be counted again, once."""
        if void.weighing not in self.voids:
            self.voids.add(void.weighing)
            for bag in self.plate:
                bag.counted_g.pop(void.weighing, None)

    @invariant()
    def what_the_screen_shows_as_saved_is_in_the_journal(self) -> None:
        screen = self.site.station.screen
        records, voids = self.found(WeighingRecorded, ManualEntered), self.voided()
        for line in screen.lines:
            body = records[line.seq]
            assert isinstance(body, WeighingRecorded | ManualEntered)
            assert line.seq not in voids
            assert (line.net_g, line.points) == (body.net_g, body.points)
        assert screen.name is not Name.SAVED or screen.lines

    @invariant()
    def a_deposit_is_closed_at_most_once_with_the_sum_of_its_weighings(self) -> None:
        opened = self.found(DepositOpened)
        closed = [body for body in self.found(DepositClosed).values() if isinstance(body, DepositClosed)]
        assert len({body.deposit for body in closed}) == len(closed)
        voids = self.voided()
        for body in closed:
            assert body.deposit in opened
            kept = [
                weighing.net_g
                for seq, weighing in self.found(WeighingRecorded, ManualEntered).items()
                if isinstance(weighing, WeighingRecorded | ManualEntered)
                and weighing.deposit == body.deposit
                and seq not in voids
            ]
            assert (body.weighings, body.net_g) == (len(kept), sum(kept))

    def voided(self) -> set[int]:
        """What the journal says was taken back, by now."""
        voids = self.found(WeighingVoided).values()
        return {body.weighing for body in voids if isinstance(body, WeighingVoided)}

    def found(self, *kinds: type) -> dict[int, object]:
        journal = self.site.journal.journal
        bodies = ((entry.seq, entry.record.body) for entry in journal.entries())
        return {seq: body for seq, body in bodies if isinstance(body, kinds)}

    def weighings(self) -> dict[int, WeighingRecorded | BinWeighed]:
        found = self.found(WeighingRecorded, BinWeighed)
        return {seq: body for seq, body in found.items() if isinstance(body, WeighingRecorded | BinWeighed)}


AnyOrder.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_any_order = AnyOrder.TestCase


WALKS = 16
STEPS = 120


def walk(machine: AnyOrder, choice: random.Random) -> None:
    """One step of somebody who mostly weighs; hypothesis explores widely, this one goes deep."""
    mass_g, which = choice.randint(1, 600) * DIVISION_G, choice.randrange(12)
    if len(machine.plate) < 2:
        machine.put_a_bag_on(mass_g)
    steps: list[tuple[int, Callable[[], None]]] = [
        (9, lambda: machine.put_a_bag_on_and_confirm(mass_g)),
        (5, lambda: machine.confirm(1 + which % 3)),
        (2, machine.tare),
        (6, lambda: machine.put_a_bag_on_top_of_what_was_saved(mass_g, which % 5)),
        (4, lambda: machine.put_a_bag_on(mass_g)),
        (9, machine.clear_the_plate),
        (3, lambda: machine.take_a_bag_off(which)),
        (2, lambda: machine.swap_a_bag_without_a_zero(mass_g, which)),
        (3, lambda: machine.support_the_load_by_hand(8 * which + 1)),
        (3, machine.let_it_settle),
        (3, machine.void),
        (2, machine.preset_tare),
        (2, lambda: machine.press_what_is_offered(which)),
        (1, lambda: machine.press_anything_else(OTHERS[which % len(OTHERS)])),
        (1, lambda: machine.the_scale_is_not_at_rest(RESTLESS[which % len(RESTLESS)])),
        (1, lambda: machine.the_next_append_fails(FAULTS[which % len(FAULTS)])),
        (1, lambda: machine.time_passes((0.5, 3.0, 30.0, 100.0)[which % 4])),
        (1, lambda: machine.scan_a_card(Role(which % 3))),
        (1, machine.begin_a_pickup),
        (1, machine.crash_and_restart),
    ]
    choice.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()


@pytest.mark.parametrize("seed", range(WALKS))
def test_long_days_at_the_station_count_every_load_at_most_once(seed: int) -> None:
    machine, choice = AnyOrder(), random.Random(seed)
    try:
        for _ in range(STEPS):
            walk(machine, choice)
            machine.every_new_weighing_counts_only_what_was_not_counted()
            machine.what_the_screen_shows_as_saved_is_in_the_journal()
            machine.a_deposit_is_closed_at_most_once_with_the_sum_of_its_weighings()
        assert len(machine.known) >= 5, "a day without weighings proves nothing"
    finally:
        machine.teardown()
