"""Seeded visits of known citizens, and an outbox full of them.

A visit is deposit.opened, weighing.recorded with all its evidence, deposit.closed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.config import load_settings
from edge.core import Core, open_core
from edge.lock import FolderLock
from protocol.bodies import (
    Body,
    DepositClosed,
    DepositOpened,
    HolderKind,
    Outcome,
    Stability,
    TareKind,
    WeighingRecorded,
)
from protocol.points import points_for
from tests.system.intake import SteppedClock

if TYPE_CHECKING:
    from pathlib import Path

    from edge.directory.directory import CatalogView

CITIZENS = 5_000
SEED = 20_260
_VISIT_MS = 50_000
"""How long a visit takes on average, with the time until the next person comes."""
_CATALOG = hashlib.sha256(b"bench").digest()


def serial_of(citizen: int) -> bytes:
    """The serial of a citizen's first card: a pseudonym of 8 bytes and the issue number."""
    return hashlib.sha256(b"bench citizen %d" % citizen).digest()[:8] + b"\1"


SERIAL = serial_of(0)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a kiosk shows of one material."""

    code: str
    points_per_kg: int
    catalog: bytes


def offers_of(catalog: CatalogView) -> list[Offer]:
    """The materials of the catalogue in force."""
    return [Offer(each.code, each.points_per_kg, catalog.digest) for each in catalog.body.materials]


def weighing(
    serial: bytes, step: int, deposit: int, offer: Offer = Offer("pet", 30, _CATALOG)
) -> WeighingRecorded:
    """A weighing as an MT-SICS station records it; `step` chooses its mass."""
    gross_g = 100 + step * 5 % 19_900
    return WeighingRecorded(
        holder_kind=HolderKind.CARD,
        holder=serial,
        material=offer.code,
        points_per_kg=offer.points_per_kg,
        catalog=offer.catalog,
        scale="mt-sics:B123456789",
        unit="kg",
        division_g=5,
        stability=Stability.FLAG,
        tare_kind=TareKind.NONE,
        tare_g=0,
        deposit=deposit,
        raw=b"S S %10.3f kg\r\n" % (gross_g / 1000),
        gross_g=gross_g,
        net_g=gross_g,
        points=points_for(gross_g, offer.points_per_kg),
    )


def fill(config: Path, visits: int, seed: int = SEED) -> None:
    """Put `visits` into the outbox of a claimed gateway whose agent is not running."""
    settings = load_settings(config)
    clock = SteppedClock(int(time.time() * 1000) - visits * _VISIT_MS, 60_000)
    with FolderLock(settings.data_dir):
        core = open_core(settings, clock)
        try:
            _Intake(core, clock, seed).visits(visits)
        finally:
            asyncio.run(core.close())


class _Intake:
    """People one after the other, each record at a time of its own, as at a real kiosk."""

    def __init__(self, core: Core, clock: SteppedClock, seed: int) -> None:
        catalog = core.directory.catalog()
        assert catalog is not None, "claiming brought no catalogue"
        self._offers = offers_of(catalog)
        self._journal = core.journal.journal
        self._clock = clock
        self._random = random.Random(seed)
        # What is filled here is not what is measured: it need not survive a power cut, only be quick.
        self._journal._store._writer.pragma("synchronous", "OFF")  # type: ignore[union-attr]

    def visits(self, count: int) -> None:
        """So many visits of one weighing each."""
        for _ in range(count):
            self._visit()

    def _visit(self) -> None:
        serial = serial_of(self._random.randrange(CITIZENS))
        opened = self._append((10, 45), DepositOpened(HolderKind.CARD, serial))
        recorded = weighing(serial, self._random.randrange(4_000), opened, self._random.choice(self._offers))
        self._append((5, 25), recorded)
        closed = DepositClosed(opened, Outcome.COMPLETED, 1, recorded.net_g, recorded.points or 0)
        self._append((2, 8), closed)

    def _append(self, after_s: tuple[int, int], body: Body) -> int:
        self._clock.step(self._random.uniform(*after_s))
        return self._journal.append(body)[0].seq
