"""All rows, in the order of the scorecard."""

from __future__ import annotations

from tests.proof.ablations.ablations import ABLATIONS
from tests.proof.breakers import BREAKER
from tests.proof.clocks.clocks import CLOCKS
from tests.proof.disk.crashes import CRASHES
from tests.proof.disk.faults import FAULTS
from tests.proof.disk.flips import FLIPS
from tests.proof.endurance.offline import ENDURANCE
from tests.proof.full_disk.cycles import FULL_DISK
from tests.proof.fuzz.fuzzing import FUZZ
from tests.proof.histories.deliveries import DELIVERIES
from tests.proof.histories.equivalence import EQUIVALENCE
from tests.proof.link_security.matrix import LINK_SECURITY
from tests.proof.lossy.links import LOSSY
from tests.proof.processes.calls import CALLED
from tests.proof.processes.herd import HERD
from tests.proof.processes.kills import KILLED
from tests.proof.processes.lies import LIED_TO
from tests.proof.restore.row import RESTORE
from tests.proof.row import Row
from tests.proof.simulation.schedules import SAME_RUN, SCHEDULES

ROWS: tuple[Row, ...] = (
    CRASHES,
    FAULTS,
    FULL_DISK,
    FLIPS,
    SCHEDULES,
    SAME_RUN,
    ABLATIONS,
    DELIVERIES,
    EQUIVALENCE,
    KILLED,
    CALLED,
    LIED_TO,
    LOSSY,
    ENDURANCE,
    CLOCKS,
    HERD,
    BREAKER,
    FUZZ,
    RESTORE,
    LINK_SECURITY,
)


def row_of(row_id: str) -> Row:
    """The row of this name, upper or lower case. Raises KeyError."""
    for row in ROWS:
        if row.id.lower() == row_id.lower():
            return row
    raise KeyError(row_id)
