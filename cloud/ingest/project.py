"""What each kind of record means: from a record at its place to rows of effects, or to quarantine.

Owns the checks that a gateway's word must pass: places, sums, points against the signed catalogue. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ingest.effects import ClosingRow, CustodyRow, DepositRow, QuarantineRow, VoidRow
from protocol.bodies import (
    BinEstimated,
    BinWeighed,
    Body,
    CustodyHandedOver,
    DepositClosed,
    DepositOpened,
    HolderKind,
    ManualEntered,
    PickupClosed,
    PickupOpened,
    RecordCarried,
    TareKind,
    WeighingRecorded,
    WeighingVoided,
)
from protocol.cards import SERIAL_LENGTH
from protocol.codes import CLAIM_HASH_LENGTH
from protocol.errors import RecordError
from protocol.points import points_for
from protocol.records import DIGEST_LENGTH, ClockQuality, Record, decode_record, next_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from cloud.ingest.effects import Effects
    from cloud.ingest.positions import Positions
    from cloud.ingest.sightings import Source
    from cloud.ingest.views import Opened, RateHistory, View
    from protocol.delivery import Fresh

MASS_G_MAX = 100_000_000
"""No scale at a drop point weighs 100 t; beyond it a number is damage, not mass."""
STRAY = "record.stray"
"""The code of records out of a gap that join the chain nowhere."""
_PG_EPOCH_MS = 946_684_800_000  # 2000-01-01
_WALL_MS_MIN, _WALL_MS_MAX = -62_135_596_800_000, 253_402_300_799_999  # years 1 to 9999: what Python can show
_ID_KEEP = ~((0xF << 76) | (0b11 << 62)) & (2**128 - 1)
_ID_SET = (8 << 76) | (0b10 << 62)
_HOLDER_BYTES_MAX = 64
_TRUSTED = (ClockQuality.RTC, ClockQuality.SYNCED)


class Refused(Exception):  # noqa: N818 - not an error of ours: it is how a record gets into quarantine
    """A record cannot be applied as it stands."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def id_of(digest: bytes) -> bytes:
    """The 16 bytes of `protocol.records.record_id`, without making a UUID object for each record."""
    return (int.from_bytes(digest[:16], "big") & _ID_KEEP | _ID_SET).to_bytes(16, "big")


def micros(wall_ms: int) -> int:
    """Microseconds since 2000 of a wall time in ms; what no calendar has is clamped."""
    return (min(max(wall_ms, _WALL_MS_MIN), _WALL_MS_MAX) - _PG_EPOCH_MS) * 1000


class Projector:
    """Fills effects, record by record. One instance serves one decision.

    `careful`: a record may be here already, because something in this batch or before it was carried.
    """

    def __init__(
        self,
        effects: Effects,
        view: View,
        suspects: Set[bytes],
        positions: Positions,
        *,
        careful: bool = True,
    ) -> None:
        self._effects = effects
        self._view = view
        self._suspects = suspects
        self._positions = positions
        self._seen = set(view.stored)
        self._careful = careful
        self._gateway = ""
        self._epoch = 0
        self._journal: int | None = None
        """The epoch that delivers; None: nothing is delivered, what is here is tried once more."""
        self._source: Source | None = None
        self._pending = False
        self._drop_point: bytes | None = None
        self._open: dict[int, int] = {}
        """Visits opened in this frame: seq → place in `effects.deposits`."""

    def frame(self, opened: Opened, records: Sequence[Fresh]) -> None:
        """Project these records of one frame, fresh and in order."""
        gateway, epoch = opened.key
        self._journal = epoch
        self._begin(gateway, epoch, pending=False)
        rows, first = self._effects.records, opened.frame.first
        if records:
            self._since(gateway, epoch, records[0].seq)
        self._effects.sightings.frame(gateway, epoch, opened.frame.sample, self._view.received_ms)
        for fresh in records:
            record = opened.records[fresh.seq - first]
            digest = fresh.digest
            identity = id_of(digest)
            if self._careful and self._repeated(identity):
                self._again(fresh.seq, identity, record)
                self._begin(gateway, epoch, pending=False, keep_open=True)
                continue
            if type(record) is Record and type(record.body) is RecordCarried:
                self._carried(fresh.seq, identity, digest, fresh.data, record, record.body)
                self._begin(gateway, epoch, pending=False, keep_open=True)
                continue
            kind = record.body.code if type(record) is Record else 0
            rows.append((gateway, epoch, fresh.seq, identity, kind, digest, fresh.data, None, None))
            self.record(fresh.seq, identity, fresh.data, record)

    def strays(self, opened: Opened, records: Sequence[Fresh]) -> None:
        """Set aside records out of a gap that join the chain nowhere: a person may know where they belong."""
        gateway, epoch = opened.key
        message = "these records were given up as lost, and the frame does not join the chain on either side"
        for fresh in records:
            identity = id_of(fresh.digest)
            if self._repeated(identity):
                continue
            record = opened.records[fresh.seq - opened.frame.first]
            kind = record.body.code if type(record) is Record else 0
            row = (gateway, epoch, fresh.seq, identity, kind, fresh.digest, fresh.data, None, None)
            self._effects.records.append(row)
            held = QuarantineRow(identity, gateway, epoch, fresh.seq, STRAY, message, fresh.data, False)
            self._effects.quarantine.append(held)

    def stored(self, place: QuarantineRow) -> None:
        """Project a record out of quarantine once more; `place` says where it stands.

        What carries another record stays: that one's place is moved with its own epoch, or not at all.
        """
        record = read_record(place.data)
        if isinstance(record, Record) and isinstance(record.body, RecordCarried):
            self._effects.quarantine.append(place)
            return
        self._journal = None
        self._begin(place.gateway, place.epoch, pending=place.pending)
        self._since(place.gateway, place.epoch, place.seq)
        self.record(place.seq, place.id, place.data, record)

    def record(self, seq: int, identity: bytes, data: bytes, record: Record | RecordError) -> None:
        """Project one record that stands at `seq`; what cannot be applied goes to quarantine."""
        self._sight(seq, record)
        try:
            self._project(seq, identity, data, record)
        except Refused as refused:
            self._effects.quarantine.append(
                QuarantineRow(
                    identity, self._gateway, self._epoch, seq, refused.code, str(refused), data, self._pending
                )
            )

    def _project(self, seq: int, identity: bytes, data: bytes, record: Record | RecordError) -> None:
        if isinstance(record, RecordError):
            raise Refused(record.code, str(record))
        if record.seq != seq:
            raise Refused("record.seq_mismatch", f"the record says seq {record.seq} but stands at {seq}")
        if identity in self._suspects:
            raise Refused("record.refused_by_store", "the database would not take this record")
        handler = _HANDLERS.get(type(record.body))
        if handler is not None:
            handler(self, seq, identity, data, record, record.body)

    def _sight(self, seq: int, record: Record | RecordError) -> None:
        """Note what a record says of its gateway's clock."""
        if self._source is None:
            self._effects.sightings.again.append((self._gateway, self._epoch, seq))
        elif type(record) is Record:
            self._effects.sightings.record(self._source, seq, record, self._view.received_ms)

    def _repeated(self, identity: bytes) -> bool:
        """Whether this record was stored before, or met earlier in this batch, under another epoch."""
        if identity in self._seen:
            return True
        self._seen.add(identity)
        return False

    def _since(self, gateway: str, epoch: int, seq: int) -> None:
        """Something at this seq takes effect; it may be what later ones waited for."""
        since = self._effects.since
        since[gateway, epoch] = min(seq, since.get((gateway, epoch), seq))

    def _begin(self, gateway: str, epoch: int, *, pending: bool, keep_open: bool = False) -> None:
        known = self._view.gateways.get(gateway)
        drop_point = known.drop_point_id if known else None
        self._gateway, self._epoch, self._pending = gateway, epoch, pending
        self._source = None if self._journal is None else (gateway, self._journal, epoch)
        self._drop_point = drop_point.bytes if drop_point else None
        if not keep_open:
            self._open = {}

    def _carried(  # noqa: PLR0917
        self,
        seq: int,
        identity: bytes,
        digest: bytes,
        data: bytes,
        record: Record,
        body: RecordCarried,
    ) -> None:
        """Store the wrapping where it stands, and apply the record inside where it stood."""
        gateway, epoch = self._gateway, self._epoch
        self._effects.records.append((gateway, epoch, seq, identity, body.code, digest, data, None, None))
        self._sight(seq, record)
        if not carries(record, seq, epoch):
            refused = Refused("record.malformed", "a carried record's place cannot be read")
            self._effects.quarantine.append(
                QuarantineRow(identity, gateway, epoch, seq, refused.code, str(refused), data, False)
            )
            return
        self._inside(seq, body)

    def _again(self, seq: int, identity: bytes, record: Record | RecordError) -> None:
        """A record was here before, perhaps as a stray: then nothing of it was looked at yet."""
        self._effects.again.append(identity)
        self._sight(seq, record)
        if isinstance(record, Record) and carries(record, seq, self._epoch):
            self._inside(seq, record.body)  # type: ignore[arg-type]

    def _inside(self, seq: int, body: RecordCarried) -> None:
        """Apply what is carried at `seq` where it stood, if it is not here yet."""
        gateway, epoch, rows = self._gateway, self._epoch, self._effects.records
        inner_digest = next_digest(body.prev_digest, body.data)
        inner = read_record(body.data)
        inner_id = id_of(inner_digest)
        if self._repeated(inner_id):
            self._effects.again.append(inner_id)
            return
        code = inner.body.code if isinstance(inner, Record) else 0
        rows.append((gateway, body.epoch, body.seq, inner_id, code, inner_digest, body.data, epoch, seq))
        pending = not self._positions.carried(gateway, body, inner_digest)
        self._begin(gateway, body.epoch, pending=pending, keep_open=True)
        self._since(gateway, body.epoch, body.seq)
        outer, self._open = self._open, {}  # seqs of another epoch name other visits
        self.record(body.seq, inner_id, body.data, inner)
        self._open = outer

    def _holder(self, kind: HolderKind, holder: bytes) -> int:
        """The number of this holder in the batch."""
        holders = self._effects.holders
        number = holders.get((kind, holder))
        if number is None:
            _check_holder(kind, holder)
            number = holders[kind, holder] = len(holders)
        return number

    def _deposit_opened(
        self, seq: int, identity: bytes, _data: bytes, record: Record, body: DepositOpened
    ) -> None:
        holder = self._holder(body.holder_kind, body.holder)
        self._open[seq] = len(self._effects.deposits)
        at = micros(record.wall_ms)
        self._effects.deposits.append(
            DepositRow(identity, self._gateway, self._epoch, seq, holder, at, None, None)
        )

    def _deposit_closed(
        self, seq: int, identity: bytes, data: bytes, record: Record, body: DepositClosed
    ) -> None:
        _check_before(body.deposit, seq, "deposit.no_opening")
        at = micros(record.wall_ms)
        place = self._open.pop(body.deposit, None)
        if place is None:
            ended = body.deposit, at, body.outcome.value, data
            self._effects.closings.append(ClosingRow(identity, self._gateway, self._epoch, seq, *ended))
            return
        deposits = self._effects.deposits
        deposits[place] = DepositRow(*deposits[place][:6], at, body.outcome.value)

    def _weighing(
        self, seq: int, identity: bytes, _data: bytes, record: Record, body: WeighingRecorded
    ) -> None:
        gross_g, tare_g, net_g = body.gross_g, body.tare_g, body.net_g
        if not (0 <= tare_g <= gross_g <= MASS_G_MAX) or gross_g - tare_g != net_g:
            raise Refused("weighing.sum", f"gross {gross_g} g - tare {tare_g} g is not net {net_g} g")
        rate, points, late = self._price(record, body)
        self._weighed(seq, identity, record, body, (gross_g, tare_g, net_g), (rate, points, late))

    def _manual(self, seq: int, identity: bytes, _data: bytes, record: Record, body: ManualEntered) -> None:
        if not 0 <= body.net_g <= MASS_G_MAX:
            raise Refused("weighing.sum", f"{body.net_g} g is no mass a person enters by hand")
        rate, points, late = self._price(record, body)
        self._weighed(seq, identity, record, body, (body.net_g, 0, body.net_g), (rate, points, late))

    def _weighed(  # noqa: PLR0917
        self,
        seq: int,
        identity: bytes,
        record: Record,
        body: WeighingRecorded | ManualEntered,
        masses: tuple[int, int, int],
        price: tuple[int, int, bool],
    ) -> None:
        _check_seq(body.deposit)
        manual = type(body) is ManualEntered
        row = (
            identity, self._gateway, self._epoch, seq, body.deposit, self._drop_point,
            self._holder(body.holder_kind, body.holder), body.material, *masses, price[0], price[1],
            -1 if body.points is None else body.points,
            micros(record.wall_ms), record.boot, record.mono_ms, record.clock,
            TareKind.NONE if manual else body.tare_kind,  # type: ignore[union-attr]
            price[2], manual, self._pending,
        )  # fmt: skip
        self._effects.weighings.append(row)  # type: ignore[arg-type]

    def _price(self, record: Record, body: WeighingRecorded | ManualEntered) -> tuple[int, int, bool]:
        """Rate, points to credit and whether the catalogue was late. What was shown is what is credited."""
        if body.points is None:
            return self._price_now(record, body)
        catalog = self._view.catalogs.get(body.catalog) if body.catalog is not None else None
        if catalog is None:
            named = "none" if body.catalog is None else body.catalog.hex()
            raise Refused("weighing.unknown_catalog", f"its catalogue is {named}, unknown here")
        rate = catalog.rates.get(body.material)
        if rate is None:
            raise Refused("weighing.unknown_material", f"its catalogue has no material {body.material!r}")
        if rate != body.points_per_kg or points_for(body.net_g, rate) != body.points:
            said = f"{body.net_g} g at {body.points_per_kg} showed {body.points} points"
            right = f"the catalogue says {points_for(body.net_g, rate)} at {rate}"
            raise Refused("weighing.points_mismatch", f"{said}; {right}")
        superseded_ms = catalog.superseded_ms
        return rate, body.points, superseded_ms is not None and record.wall_ms > superseded_ms

    def _price_now(self, record: Record, body: WeighingRecorded | ManualEntered) -> tuple[int, int, bool]:
        """The kiosk said "points follow": the rate valid when it was weighed, as far as that is known."""
        history = self._view.rates.get(body.material)
        rate = history.at(self._weighed_ms(record, history)) if history else None
        if rate is None:
            raise Refused("weighing.no_rate", f"there is no rate for material {body.material!r}")
        return rate, points_for(body.net_g, rate), False

    def _weighed_ms(self, record: Record, history: RateHistory) -> int:
        """When it was weighed, if its clock was set and can be right: not after its arrival, and not before
        there was a rate (a battery clock that ran empty says so). Else when it arrived.
        """
        received_ms = self._view.received_ms
        first_ms = history.valid_from_ms[0] if history.valid_from_ms else received_ms
        right = record.clock in _TRUSTED and first_ms <= record.wall_ms <= received_ms
        return record.wall_ms if right else received_ms

    def _voided(self, seq: int, identity: bytes, data: bytes, _record: Record, body: WeighingVoided) -> None:
        _check_before(body.weighing, seq, "void.no_weighing")
        self._effects.voids.append(VoidRow(identity, self._gateway, self._epoch, seq, body.weighing, data))

    def _custody(self, seq: int, identity: bytes, data: bytes, record: Record, body: Body) -> None:
        fields = {name: getattr(body, name) for name in body.__struct_fields__}
        pickup_seq = seq if isinstance(body, PickupOpened) else fields["pickup"]
        _check_seq(pickup_seq)
        _check_custody(body)
        if not isinstance(body, PickupOpened):
            _check_before(pickup_seq, seq, "custody.no_pickup")
        self._effects.custody.append(
            CustodyRow(
                body.kind,
                identity,
                self._gateway,
                self._epoch,
                seq,
                pickup_seq,
                micros(record.wall_ms),
                self._drop_point,
                data,
                fields,
            )
        )


def read_record(data: bytes) -> Record | RecordError:
    """A record, or why it cannot be read."""
    try:
        return decode_record(data)
    except RecordError as error:
        return error


def carries(record: Record, seq: int, epoch: int) -> bool:
    """Whether a record at this place carries another that can be applied where it stood."""
    body = record.body
    return isinstance(body, RecordCarried) and record.seq == seq and _has_place(body, epoch)


def _has_place(body: RecordCarried, epoch: int) -> bool:
    """Whether a carried record says where it stood; not in the epoch that carries it."""
    return len(body.prev_digest) == DIGEST_LENGTH and 0 < body.seq < 2**63 and 0 <= body.epoch != epoch


def _check_holder(kind: HolderKind, holder: bytes) -> None:
    expected = {HolderKind.GUEST: CLAIM_HASH_LENGTH, HolderKind.CARD: SERIAL_LENGTH}.get(kind)
    if (expected is not None and len(holder) != expected) or not 0 < len(holder) <= _HOLDER_BYTES_MAX:
        raise Refused("record.holder", f"a {kind.name.lower()} holder of {len(holder)} bytes names nobody")


def _check_seq(seq: object) -> None:
    if not isinstance(seq, int) or not 0 < seq < 2**63:
        raise Refused("record.malformed", f"{seq} names no record")


def _check_before(named: int, seq: int, code: str) -> None:
    """What a record takes back, ends or goes on with stands before it, whichever of them arrives first."""
    _check_seq(named)
    if named >= seq:
        raise Refused(code, f"seq {named} is not before this record's own, which is {seq}")


def _check_custody(body: Body) -> None:
    net_g = getattr(body, "net_g", 0)
    if not 0 <= net_g <= MASS_G_MAX:
        raise Refused("custody.sum", f"{net_g} g is no mass")
    if isinstance(body, BinWeighed) and (
        not 0 <= body.tare_g <= body.gross_g <= MASS_G_MAX or body.gross_g - body.tare_g != body.net_g
    ):
        raise Refused(
            "custody.sum", f"gross {body.gross_g} g - tare {body.tare_g} g is not net {body.net_g} g"
        )
    for name in ("collector", "giver", "taker"):
        card = getattr(body, name, None)
        if card is not None and len(card) != SERIAL_LENGTH:
            raise Refused("record.holder", f"{name} is no card serial")
    if isinstance(body, CustodyHandedOver) and body.giver == body.taker:
        raise Refused("custody.one_card", "a hand-over needs two different cards")


_HANDLERS: dict[type[Body], Callable[..., None]] = {
    DepositOpened: Projector._deposit_opened,
    DepositClosed: Projector._deposit_closed,
    WeighingRecorded: Projector._weighing,
    WeighingVoided: Projector._voided,
    ManualEntered: Projector._manual,
    PickupOpened: Projector._custody,
    PickupClosed: Projector._custody,
    BinWeighed: Projector._custody,
    BinEstimated: Projector._custody,
    CustodyHandedOver: Projector._custody,
}
"""Kinds that have effects; of all others the record itself is kept, which is all they ask."""
