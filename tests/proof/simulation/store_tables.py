"""The tables of the model store: plain dicts, and drafts of them that are kept whole or not at all.

Rows are immutable, so that a copy of the dicts is a backup. Owns no rule about what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from cloud.ingest.effects import QuarantineRow, RecordRow
    from protocol.delivery import Cursor

Key = TypeVar("Key")
Row = TypeVar("Row")
Place = tuple[str, int, int]
"""Gateway, epoch, seq."""


class GatewayRow(NamedTuple):
    """A gateway; `secret` is its unused one-time code's."""

    drop_point: UUID | None
    revoked: bool
    secret: bytes | None


class CardRow(NamedTuple):
    """A card; `revoked_us` None: good."""

    pseudonym: bytes
    revoked_us: int | None


class VisitRow(NamedTuple):
    """A deposit: a person's visit."""

    place: Place
    account: UUID
    opened_us: int
    closed_us: int | None
    outcome: str | None


class WeighedRow(NamedTuple):
    """A weighing and what became of it; `voided`: by which record."""

    place: Place
    deposit_seq: int
    account: UUID
    material: str
    net_g: int
    points: int
    shown: int | None
    recorded_us: int
    party: str
    late: bool
    manual: bool
    pending: bool
    voided: UUID | None


class AccountRow(NamedTuple):
    """`balance`: what a citizen or holding has, what a receivable's owner owes. `heir` claimed a holding."""

    kind: str
    key: bytes
    balance: int
    heir: UUID | None


class TransferRow(NamedTuple):
    """`state` is posted, pending or void; `resolves` names the pending transfer that this one settles."""

    debit: UUID
    credit: UUID
    amount: int
    code: int
    source: UUID
    state: str = "posted"
    resolves: UUID | None = None


class ClaimRow(NamedTuple):
    """A guest's code, by its hash; `citizen` who claimed it."""

    account: UUID
    deposit: UUID | None
    citizen: UUID | None


class HeldRow(NamedTuple):
    """A record in quarantine; `state` is held, retried or rejected."""

    row: QuarantineRow
    state: str


class PickupRow(NamedTuple):
    """A collector's round."""

    place: Place
    collector: bytes
    outcome: str | None
    bins: int | None
    net_g: int | None
    closed_us: int | None


class BinRow(NamedTuple):
    """A bin as weighed in a pickup, by its id."""

    pickup: bytes
    bin: str
    material: str
    net_g: int
    estimated: bool
    emptied: bool


class MovementRow(NamedTuple):
    """Kilos that changed hands."""

    kind: str
    giver: str
    taker: str
    net_g: int
    estimated: bool
    lines: tuple[tuple[str, int], ...]


class EventRow(NamedTuple):
    """What modules are told; `payload` as sorted pairs."""

    type: str
    key: str
    payload: tuple[tuple[str, object], ...]


class AlarmRow(NamedTuple):
    """Something an operator was told to look at; `detail` as sorted pairs."""

    gateway: str
    code: str
    detail: tuple[tuple[str, Any], ...]
    resolved: bool = False


class RateRow(NamedTuple):
    """From when on a material earns so much."""

    material: str
    valid_from: datetime
    points_per_kg: int


class CatalogRow(NamedTuple):
    """A signed catalogue."""

    generation: int
    version: int
    data: bytes
    issued_at: datetime


_GONE: object = object()


class Layer(MutableMapping[Key, Row], Generic[Key, Row]):
    """Changes over a table that stand aside; `changes` holds rows as they shall be, deletions too."""

    def __init__(self, below: MutableMapping[Key, Row]) -> None:
        self.below = below
        self.changes: dict[Key, object] = {}

    def __getitem__(self, key: Key) -> Row:
        row = self.changes.get(key)
        if row is None:
            return self.below[key]
        if row is _GONE:
            raise KeyError(key)
        return row  # type: ignore[return-value]

    def __setitem__(self, key: Key, row: Row) -> None:
        self.changes[key] = row

    def __delitem__(self, key: Key) -> None:
        self.changes[key] = _GONE

    def __iter__(self) -> Iterator[Key]:
        yield from (key for key in self.below if key not in self.changes)
        yield from (key for key, row in self.changes.items() if row is not _GONE)

    def __len__(self) -> int:
        changed = sum((row is not _GONE) - (key in self.below) for key, row in self.changes.items())
        return len(self.below) + changed

    def keep(self) -> None:
        """Write the changes into the table below."""
        for key, row in self.changes.items():
            if row is _GONE:
                self.below.pop(key, None)
            else:
                self.below[key] = row  # type: ignore[assignment]
        self.changes.clear()


@dataclass(slots=True)
class Tables:
    """Everything that the cloud holds."""

    gateways: MutableMapping[str, GatewayRow] = field(default_factory=dict)
    keys: MutableMapping[bytes, tuple[bytes, str]] = field(default_factory=dict)
    catalogs: MutableMapping[bytes, CatalogRow] = field(default_factory=dict)
    key_documents: MutableMapping[int, bytes] = field(default_factory=dict)
    rates: MutableMapping[int, RateRow] = field(default_factory=dict)
    citizens: MutableMapping[bytes, UUID] = field(default_factory=dict)
    cards: MutableMapping[bytes, CardRow] = field(default_factory=dict)
    tags: MutableMapping[bytes, bytes] = field(default_factory=dict)
    bins: MutableMapping[str, str] = field(default_factory=dict)
    cursors: MutableMapping[tuple[str, int], Cursor] = field(default_factory=dict)
    records: MutableMapping[Place, tuple[RecordRow, ...]] = field(default_factory=dict)
    gaps: MutableMapping[tuple[str, int], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    quarantine: MutableMapping[bytes, HeldRow] = field(default_factory=dict)
    visits: MutableMapping[bytes, VisitRow] = field(default_factory=dict)
    weighings: MutableMapping[bytes, WeighedRow] = field(default_factory=dict)
    accounts: MutableMapping[UUID, AccountRow] = field(default_factory=dict)
    transfers: MutableMapping[UUID, TransferRow] = field(default_factory=dict)
    claims: MutableMapping[bytes, ClaimRow] = field(default_factory=dict)
    pickups: MutableMapping[bytes, PickupRow] = field(default_factory=dict)
    pickup_bins: MutableMapping[bytes, BinRow] = field(default_factory=dict)
    bins_of: MutableMapping[bytes, tuple[tuple[int, bytes], ...]] = field(default_factory=dict)
    handed_of: MutableMapping[bytes, tuple[tuple[int, bytes], ...]] = field(default_factory=dict)
    movements: MutableMapping[bytes, MovementRow] = field(default_factory=dict)
    kilos: MutableMapping[tuple[str, str], int] = field(default_factory=dict)
    events: MutableMapping[int, EventRow] = field(default_factory=dict)
    alarms: MutableMapping[int, AlarmRow] = field(default_factory=dict)
    refusals: MutableMapping[tuple[str, str, str], int] = field(default_factory=dict)

    def draft(self) -> Tables:
        """The same tables, with changes that stand aside."""
        return Tables(*(Layer(getattr(self, name)) for name in _NAMES))

    def keep(self) -> None:
        """Keep a draft's changes, all of them."""
        for name in _NAMES:
            layer = getattr(self, name)
            if layer.changes:
                layer.keep()

    def copy(self) -> Tables:
        """A backup."""
        return Tables(*(dict(getattr(self, name)) for name in _NAMES))

    def tell(self, kind: str, key: str, **payload: object) -> None:
        """Append an event."""
        self.events[len(self.events)] = EventRow(kind, key, tuple(sorted(payload.items())))


_NAMES = tuple(each.name for each in fields(Tables))
