"""How bad a schedule is: everything that its seed decides before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.proof.simulation.disk import TIGHT_BYTES, WIDE_BYTES

if TYPE_CHECKING:
    import random


@dataclass(slots=True)
class Plan:
    """How bad a schedule is, drawn from its seed."""

    gateways: int
    visits: int
    pause_s: float
    loss: float
    repeat: float
    stray: float
    spoil: float
    puback_lost: float
    delay_s: float
    kills: float
    disk_faults: float
    database_kills: float
    """Per call to the database."""
    clock_jumps: bool
    room_bytes: int
    """What the disks have free at worst, once the faults have stopped."""
    outage_s: float
    """How long nothing passes at all, so long that every breaker opens; 0 for never."""
    noise: int
    """Records that devices may write at once: a backlog is long in some schedules."""
    goes_back: str
    """What is put back to an earlier state, at most: "cloud", "card" or nothing."""

    @classmethod
    def drawn(cls, chance: random.Random) -> Plan:
        """Some schedules are calm in some respect, so that faults are seen apart and together."""

        def maybe(share: float, most: float) -> float:
            return chance.uniform(0, most) if chance.random() < share else 0.0

        goes_back = chance.choice(("cloud", "card", "", ""))
        # A cloud that went back needs what was synced, so that must not be pruned early.
        tight = goes_back != "cloud" and chance.random() < 0.4
        return cls(
            gateways=chance.choice((3, 3, 3, 3, 4)),
            visits=chance.randint(1, 4),
            pause_s=chance.choice((1.0, 4.0)),
            loss=maybe(0.7, 0.3),
            repeat=maybe(0.7, 0.5),
            stray=maybe(0.4, 0.1),
            spoil=maybe(0.2, 0.05),
            puback_lost=maybe(0.3, 0.05),
            delay_s=chance.choice((0.01, 0.05, 0.4)),
            kills=maybe(0.7, 0.02),
            disk_faults=maybe(0.3, 0.05),
            database_kills=maybe(0.4, 0.02),
            clock_jumps=chance.random() < 0.3,
            room_bytes=TIGHT_BYTES if tight else WIDE_BYTES,
            outage_s=chance.uniform(60, 180) if chance.random() < 0.1 else 0.0,
            noise=chance.choice((0, 0, 0, 0, 5, 5, 5, 20, 20, 200)),
            goes_back=goes_back,
        )
