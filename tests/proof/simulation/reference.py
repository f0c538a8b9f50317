"""What must be true. Told what each kiosk showed and what the cloud committed, and nothing else.

Shares no code with the product. Loads are told apart by their mass: in one schedule no two loads of a
gateway weigh the same. What a load may have become:

    offered   confirmed, nobody saw more        credited at most once
    refused   the kiosk said "not saved"        never credited
    saved     it stood on the screen as saved   credited exactly once, or in quarantine
    voiding   its void was pressed              credited at most once
    voided    the kiosk said "voided"           not credited, or taken back
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge.station.screen import Screen

Load = tuple[str, int]
"""Gateway and net grams."""
FAULTS_MAX = 50


@dataclass(frozen=True, slots=True)
class Credit:
    """A weighing as the cloud committed it. `active`: not taken back; `pending`: waits for an operator."""

    load: Load
    material: str
    points: int
    active: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """One epoch: seq, bytes and digest of each record from `first`, and the digest `before` it.

    `through`: acknowledged, or the cursor.
    """

    name: str
    first: int
    before: bytes
    records: Sequence[tuple[int, bytes, bytes]]
    through: int


@dataclass(slots=True)
class Reference:
    """The judge of one schedule. `rates`: points per kilo by material."""

    rates: Mapping[str, int]
    state: dict[Load, str] = field(default_factory=dict)
    shown_points: dict[Load, int | None] = field(default_factory=dict)
    poison: set[Load] = field(default_factory=set)
    """Loads whose records nobody can apply: they must stand in quarantine."""
    perhaps_poison: set[Load] = field(default_factory=set)
    handed_over: dict[int, str] = field(default_factory=dict)
    """Grams of pickups that a kiosk showed as handed over, and which kiosk."""
    may_be_lost: set[Load] = field(default_factory=set)
    """What was on a disk that was put back by hand, and nowhere else."""
    faults: list[str] = field(default_factory=list)

    def offered(self, load: Load) -> None:
        """CONFIRM is being pressed."""
        if self.state.get(load) in {None, "refused"}:
            self.state[load] = "offered"

    def shown(self, gateway: str, screen: Screen) -> None:
        """The kiosk showed this."""
        if screen.name == "handed_over":
            self.handed_over[screen.net_g] = gateway
        masses = [line.net_g for line in screen.lines]
        if len(set(masses)) != len(masses):
            self.fault(f"{gateway} counted a load twice: {masses}")
        for line in screen.lines:
            load = (gateway, line.net_g)
            before = self.state.get(load)
            if before is None:
                self.fault(f"{load} was shown as saved, and nobody ever weighed it")
            elif before == "voided":
                self.fault(f"{load} was shown as voided, and as saved after that")
            elif before != "voiding" or not screen.busy:
                self.state[load] = "saved"
            self.shown_points[load] = line.points

    def refused(self, load: Load) -> None:
        """The kiosk said that it was not saved."""
        if self.state.get(load) == "offered":
            self.state[load] = "refused"

    def voiding(self, load: Load) -> None:
        """VOID is being pressed."""
        if self.state.get(load) == "saved":
            self.state[load] = "voiding"

    def voided(self, load: Load) -> None:
        """The kiosk said so."""
        if self.state.get(load) == "voiding":
            self.state[load] = "voided"

    def put_back(self, gateway: str, committed: set[Load], handed_over: Sequence[int]) -> None:
        """The gateway's disk is as it was before; what only its journal knew since then is gone."""
        lost = {load for load in self.poison if load[0] == gateway} - committed
        self.poison, self.perhaps_poison = self.poison - lost, self.perhaps_poison | lost
        for net_g, kiosk in list(self.handed_over.items()):
            if kiosk == gateway and net_g not in handed_over:
                del self.handed_over[net_g]
        for load, state in self.state.items():
            if load[0] == gateway and load not in committed:
                self.may_be_lost.add(load)
            if load[0] == gateway and state == "voided":
                self.state[load] = "voiding"

    def acknowledged(self, gateway: str, through: int, committed: int, *, same: bool) -> None:
        """The gateway holds all through `through` for synced; the cloud was once at `committed`."""
        if through > committed:
            self.fault(f"{gateway} holds seq {through} for synced, the cloud never was beyond {committed}")
        if not same:
            self.fault(f"{gateway} holds seq {through} for synced, the cloud has another record there")

    def fault(self, what: str) -> None:
        """Something is wrong."""
        if len(self.faults) < FAULTS_MAX and what not in self.faults:
            self.faults.append(what)

    def safe(self, credits: Iterable[Credit]) -> None:
        """Nothing is credited twice, or that nobody weighed, or that the kiosk refused."""
        seen: set[Load] = set()
        for credit in credits:
            load = credit.load
            if load in seen:
                self.fault(f"I2: {load} was credited twice")
            seen.add(load)
            state = self.state.get(load)
            if state is None:
                self.fault(f"I3: {load} was credited, and nobody ever weighed it")
            elif state == "refused":
                self.fault(f"I5: {load} was credited although the kiosk said it was not saved")
            if credit.points != load[1] * self.rates.get(credit.material, 0) // 1000:
                self.fault(f"{load} earned {credit.points} points of {credit.material}")
            elif self.shown_points.get(load) not in {None, credit.points}:
                self.fault(f"{load} earned {credit.points} points, shown were {self.shown_points[load]}")

    def settled(self, credits: Sequence[Credit], held: Iterable[Load], points: int) -> None:
        """All that was saved is credited or held; `points` is what all accounts have in sum."""
        self.safe(credits)
        by_load = {credit.load: credit for credit in credits}
        held = set(held)
        for load in sorted(held - self.poison - self.perhaps_poison):
            self.fault(f"{load} is in quarantine without need")
        for load in sorted(self.poison - held):
            self.fault(f"I9: {load} is poison and not in quarantine")
        for load, state in sorted(self.state.items()):
            credit = by_load.get(load)
            if state == "saved" and load not in held | self.may_be_lost:
                if credit is None:
                    self.fault(f"I1: {load} was shown as saved and never credited")
                elif not credit.active:
                    self.fault(f"I1: {load} was shown as saved and its credit taken back")
            elif state == "voided" and credit is not None and credit.active:
                self.fault(f"{load} was shown as voided and is credited")
        owed = sum(credit.points for credit in credits if credit.active and not credit.pending)
        if owed != points:
            self.fault(f"I4: {owed} points were earned, the accounts have {points}")

    def moved(self, handed_over: Sequence[int]) -> None:
        """These are the hand-overs that the cloud committed, in grams."""
        for net_g in sorted(self.handed_over):
            times = handed_over.count(net_g)
            if times != 1:
                self.fault(f"{net_g} g were handed over once, and {times} times in the cloud")

    def chained(self, chain: Chain) -> None:
        """An epoch's records have no gap, and each digest follows from the one before."""
        digest = chain.before
        for expected, (seq, data, stored) in enumerate(chain.records, chain.first):
            digest = hashlib.sha256(digest + data).digest()
            if seq != expected or digest != stored:
                self.fault(f"I6: {chain.name} breaks at seq {expected}")
                return
        last = chain.first + len(chain.records) - 1
        if chain.through > last:
            self.fault(f"I6: {chain.name} ends at {last}, before {chain.through}")

    def agree(self, ours: Chain, theirs: Chain) -> None:
        """Gateway and cloud hold the same records, as far as the cloud has them."""
        stored = {record[0]: record for record in theirs.records}
        for mine in ours.records:
            if mine[0] in stored and stored[mine[0]] != mine:
                self.fault(f"I6: gateway and cloud differ at seq {mine[0]} of {ours.name}")
                return
