"""What the station is told of its surroundings by the agent that composes it. Owns the shape only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rest of the agent knows that the kiosk shows. `claimed` false: nothing may be taken."""

    claimed: bool = True
    offline: bool = False
    never_online: bool = False
    scanner_absent: bool = False
    autonomy_h: float | None = None


NOWHERE = Surroundings()
"""Nothing special is known."""
