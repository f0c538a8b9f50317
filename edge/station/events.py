"""What can happen to a session, and what a session asks for: the words of both state machines.

Owns no rule. Events carry what was verified outside (cards, catalogue, the scale's view); the one effect
asks for bodies to be appended to the journal in one transaction, answered by Committed or NotCommitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.devices.readings import ScaleView
    from edge.station.screen import Tile
    from protocol.bodies import Body, HolderKind
    from protocol.cards import Role


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a deposit belongs to. `key` is a card serial, a raw tag, or the hash of `claim_code`.

    `claim_code` is a guest's secret; it lives here and on the screen, never in the journal.
    """

    kind: HolderKind
    key: bytes
    alias: str | None = None
    claim_code: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A card that was verified: neither forged nor revoked, nor expired as far as the clock can tell."""

    serial: bytes
    pseudonym: bytes
    role: Role
    alias: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A material as it was shown: its rate is frozen here, and the digest of the catalogue it came from."""

    tile: Tile
    catalog: bytes | None


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the scale."""

    view: ScaleView


@dataclass(frozen=True, slots=True)
class Choose:
    """A material was pressed; None goes back to the choice."""

    offer: Offer | None


@dataclass(frozen=True, slots=True)
class TarePressed:
    """What lies on the plate shall be the tare."""

    view: ScaleView


@dataclass(frozen=True, slots=True)
class PresetTarePressed:
    """A known container was chosen; 0 takes the tare away."""

    mass_g: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """The person agrees with the weight: record it (a deposit's material, a pickup's bin)."""

    view: ScaleView


@dataclass(frozen=True, slots=True)
class Void:
    """Take the last weighing of this visit back."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The visit is over; give the receipt."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Leave without saving more; never takes back what was saved."""


@dataclass(frozen=True, slots=True)
class Done:
    """The person has seen this screen."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nobody did anything for too long."""


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """The journal began a new epoch: references to records of this visit would no longer hold."""


@dataclass(frozen=True, slots=True)
class CardShown:
    """A verified card was scanned during the session."""

    person: Person


@dataclass(frozen=True, slots=True)
class ManualEntered:
    """A mass was typed in because the scale cannot be used (`view` proves that it cannot)."""

    view: ScaleView
    net_g: int


@dataclass(frozen=True, slots=True)
class BinSeen:
    """A bin's code was scanned and is well formed."""

    bin: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The open bin's mass as the collector estimates it."""

    net_g: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """The collector is done with the bins; somebody else shall take the kilos over."""


@dataclass(frozen=True, slots=True)
class Written:
    """One committed record: its seq in the epoch, its id for ever, and when the clock said it was."""

    seq: int
    id: str
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What was asked to be appended is durable; one entry per body, in order."""

    entries: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class NotCommitted:
    """Nothing of what was asked to be appended is in the journal."""


@dataclass(frozen=True, slots=True)
class Append:
    """Effect: append these bodies in one transaction."""

    bodies: tuple[Body, ...]


Effects = tuple[Append, ...]
NOTHING: Effects = ()
