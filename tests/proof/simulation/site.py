"""Everything of one schedule, side by side: people, gateways, network, cloud, and the reference over them.

Owns what can be seen of the cloud and of the journals at any moment. Does not own what happens to them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from protocol.errors import RecordError
from protocol.records import decode_record
from tests.proof.simulation.cloud import Cloud
from tests.proof.simulation.gateway import Gateway
from tests.proof.simulation.network import Network
from tests.proof.simulation.people import People
from tests.proof.simulation.plan import Plan
from tests.proof.simulation.reference import Credit, Load, Reference
from tests.proof.simulation.trace import Trace
from tests.proof.simulation.world import MATERIALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Site:
    """One. `on_disk` is called when a gateway's disk has worked, `on_database` while the database does."""

    def __init__(self, seed: str, root: Path) -> None:
        self.on_disk: Callable[[Gateway], None] = lambda _: None
        self.on_database: Callable[[], None] = lambda: None
        self.chance = random.Random(seed)
        self.plan = Plan.drawn(self.chance)
        self.trace = Trace()
        self.reference = Reference(MATERIALS)
        self.network = Network(self.chance, self.trace)
        # What was claimed after a backup was made needs an operator: so then nobody is claimed any more.
        known = self.plan.goes_back == "cloud"
        names = {
            f"ktm-drop-{number}": known or self.chance.random() < 0.7 for number in range(self.plan.gateways)
        }
        self.cloud = Cloud(self.network, self.chance, names, self._database_works)
        self.gateways = [
            Gateway(
                name, root, self.network, self.chance, self.reference, self._disk_worked, enrolled=enrolled
            )
            for name, enrolled in names.items()
        ]
        used: set[int] = set()
        self.people = [People(gateway, self.reference, self.chance, used) for gateway in self.gateways]
        self.figures: dict[str, int] = {}
        self._acked: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        """How far the cloud ever was, whatever it was put back to since."""

    def _disk_worked(self, gateway: Gateway) -> None:
        self.check_acked(gateway)
        self.on_disk(gateway)

    def _database_works(self) -> None:
        self.on_database()

    def count(self, what: str) -> None:
        """One more of these."""
        self.figures[what] = self.figures.get(what, 0) + 1

    def check_acked(self, gateway: Gateway) -> None:
        """What counts as synced was committed by the cloud, be that lost since, and is the same record."""
        if gateway.core is None:
            return
        journal, tables = gateway.core.journal.journal, self.cloud.model.tables
        key = gateway.name, journal.epoch
        if self._acked.get(key) == journal.acked:
            return
        self._acked[key] = journal.acked
        self.note_cursors()
        stored = [row[5] for row in tables.records.get((*key, journal.acked), ()) if row[7] is None]
        same = not stored or journal.digest_at(journal.acked) in stored
        self.reference.acknowledged(gateway.name, journal.acked, self._committed.get(key, 0), same=same)

    def note_cursors(self) -> None:
        """Remember how far the cloud is, before it is put back."""
        for key, cursor in self.cloud.model.tables.cursors.items():
            self._committed[key] = max(self._committed.get(key, 0), cursor.through)

    def empty(self, gateway: Gateway) -> bool:
        """Whether the gateway has nothing to send and the cloud has all of it: it may have been restored."""
        core = gateway.core
        if core is None or gateway.station is None:
            return False
        journal = core.journal
        cursor = self.cloud.model.tables.cursors.get((gateway.name, journal.epoch))
        return journal.acked == journal.head and cursor is not None and cursor.through == journal.head

    def held(self) -> list[Load]:
        """What stands in quarantine."""
        rows = self.cloud.model.tables.quarantine.values()
        return [_load_of(row.row.gateway, row.row.data) for row in rows]

    def handed_over(self) -> list[int]:
        """Grams of every hand-over that the cloud has."""
        rows = self.cloud.model.tables.movements.values()
        return [row.net_g for row in rows if row.kind == "handed_over"]

    def credits(self) -> list[Credit]:
        """Every weighing that the cloud has."""
        rows = self.cloud.model.tables.weighings.values()
        return [
            Credit((row.place[0], row.net_g), row.material, row.points, not row.voided, row.pending)
            for row in rows
        ]


def _load_of(gateway: str, data: bytes) -> Load:
    try:
        record = decode_record(data)
    except RecordError:
        return gateway, 0
    return gateway, getattr(record.body, "net_g", 0)
