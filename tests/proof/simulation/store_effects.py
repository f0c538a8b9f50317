"""What the model store makes of effects: one plain loop per kind of row. Works on a draft in place."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from cloud.ingest.effects import QuarantineRow, WeighingRow
from cloud.ingest.storage import StoredError, UnfitError
from cloud.kit.ids import derived_id
from protocol.bodies import HolderKind
from protocol.records import next_digest
from tests.proof.simulation import store_ledger as ledger
from tests.proof.simulation.store_tables import (
    AlarmRow,
    BinRow,
    ClaimRow,
    HeldRow,
    MovementRow,
    PickupRow,
    TransferRow,
    VisitRow,
    WeighedRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.ingest.effects import CustodyRow, Effects, RecordRow, VoidRow
    from tests.proof.simulation.store_tables import Tables

CLOCK_SYNCED = 3
INT32_MAX = 2**31 - 1


def project(tables: Tables, effects: Effects, new_id: Callable[[], UUID]) -> None:
    """Everything that records mean. Raises StoredError if one of them is here already."""
    for record in effects.records:
        _store(tables, record)
    holders = _Holders(tables, effects)
    for visit in effects.deposits:
        account = holders.of_visit(visit.holder, visit.opened_us)
        row = VisitRow(
            (visit.gateway, visit.epoch, visit.seq), account, visit.opened_us, visit.closed_us, visit.outcome
        )
        tables.visits.setdefault(visit.id, row)
    for weighing in effects.weighings:
        _credit(tables, WeighingRow(*weighing), holders)  # decisions leave plain tuples, for speed
    for closing in effects.closings:
        ended = _same_side(tables, (closing.gateway, closing.epoch, closing.own), closing.id, closing.seq)
        known = tables.visits.get(ended)
        if known is not None and known.closed_us is None:
            tables.visits[ended] = known._replace(closed_us=closing.at_us, outcome=closing.outcome)
    _void_all(tables, effects)
    for step in effects.custody:
        if not _STEPS.get(step.kind, _hand_over)(tables, step):
            effects.quarantine.append(_orphan_step(step))
    for account in holders.accounts():
        ledger.settle(tables, account, new_id())
    for held in effects.quarantine:
        tables.quarantine.setdefault(held.id, HeldRow(held, "held"))
    for alarm in effects.alarms:
        detail = tuple(sorted(alarm.detail.items()))
        tables.alarms[len(tables.alarms)] = AlarmRow(alarm.gateway, alarm.code, detail)


def _store(tables: Tables, record: RecordRow) -> None:
    place = record[0], record[1], record[2]
    there = tables.records.get(place, ())
    if any(each[3] == record[3] for each in there):
        raise StoredError(f"{place} is stored already")
    tables.records[place] = (*there, record)


class _Holders:
    """Whose account a holder of the batch means, now."""

    def __init__(self, tables: Tables, effects: Effects) -> None:
        self._tables = tables
        self._holders = list(effects.holders)
        self._used: dict[UUID, None] = {}
        visit_of = {row.holder: row.id for row in effects.deposits}
        for number, (kind, holder) in enumerate(self._holders):
            if kind is HolderKind.GUEST and holder not in tables.claims:
                account = ledger.account_of("holding", b"guest:" + holder)
                visit = visit_of.get(number)
                tables.claims[holder] = ClaimRow(account, UUID(bytes=visit) if visit else None, None)

    def accounts(self) -> list[UUID]:
        """Every account that something was brought to."""
        return list(self._used)

    def of_visit(self, number: int, opened_us: int) -> UUID:
        """Where a visit belongs: after its card was revoked to the card's holding, whatever the clock."""
        return self._account(number, lambda revoked_us: opened_us >= revoked_us)

    def of_weighing(self, number: int, recorded_us: int, clock: int) -> UUID:
        """Where a weighing belongs: the citizen's only if a right clock says that it was before."""
        return self._account(
            number, lambda revoked_us: not (clock == CLOCK_SYNCED and recorded_us < revoked_us)
        )

    def _account(self, number: int, is_late: Callable[[int], bool]) -> UUID:
        kind, holder = self._holders[number]
        tables = self._tables
        account: UUID
        match kind:
            case HolderKind.CARD:
                card = tables.cards.get(holder)
                if card is not None and card.revoked_us is not None and is_late(card.revoked_us):
                    account = ledger.open_account(tables, "holding", b"card:" + holder)
                else:
                    account = self._citizen(holder[:8])
            case HolderKind.TAG if holder in tables.tags:
                account = ledger.open_account(tables, "citizen", tables.tags[holder])
            case HolderKind.TAG:
                account = ledger.open_account(tables, "holding", b"tag:" + holder)
            case HolderKind.GUEST:
                account = self._guest(holder)
        self._used[account] = None
        return account

    def _citizen(self, pseudonym: bytes) -> UUID:
        """The account behind a card; who is unknown here is let in by the pseudonym on it."""
        if pseudonym not in self._tables.citizens:
            self._tables.citizens[pseudonym] = derived_id("reloop/citizen/1", pseudonym)
        return ledger.open_account(self._tables, "citizen", pseudonym)

    def _guest(self, holder: bytes) -> UUID:
        heir = self._tables.claims[holder].citizen
        if heir is None:
            return ledger.open_account(self._tables, "holding", b"guest:" + holder)
        (pseudonym,) = (each for each, citizen in self._tables.citizens.items() if citizen == heir)
        return ledger.open_account(self._tables, "citizen", pseudonym)


def _credit(tables: Tables, row: WeighingRow, holders: _Holders) -> None:
    account = holders.of_weighing(row.holder, row.recorded_us, row.clock)
    if row.id in tables.weighings:
        return
    party = _party(row.drop_point, row.gateway)
    shown = None if row.points_shown == -1 else row.points_shown
    weighed = WeighedRow(
        (row.gateway, row.epoch, row.seq), row.deposit_seq, account, row.material, row.net_g, row.points,
        shown, row.recorded_us, party, row.late_catalog, row.manual, row.pending, False,
    )  # fmt: skip
    tables.weighings[row.id] = weighed
    weighing = UUID(bytes=row.id)
    if row.points:
        state = "pending" if row.pending else "posted"
        award = TransferRow(ledger.ISSUER, account, row.points, ledger.AWARD, weighing, state)
        ledger.transfer(tables, award)
    _hold(tables, party, row.material, row.net_g)
    _tell_weighing(tables, "weighing.held_back" if row.pending else "weighing.credited", weighing, weighed)


def _tell_weighing(tables: Tables, kind: str, weighing: UUID, row: WeighedRow) -> None:
    tables.tell(
        kind, str(weighing), account=str(row.account), points=row.points, net_g=row.net_g,
        material=row.material,
    )  # fmt: skip


def _void_all(tables: Tables, effects: Effects) -> None:
    found = [(void, _meant(tables, void)) for void in effects.voids]
    for void, weighing in found:
        if weighing is None:
            effects.quarantine.append(_orphan_void(void))
            continue
        row = tables.weighings[weighing]
        if row.voided:
            continue
        tables.weighings[weighing] = row._replace(voided=True)
        ledger.reverse(tables, UUID(bytes=weighing), row)
        _hold(tables, row.party, row.material, -row.net_g)
        _tell_weighing(tables, "weighing.voided", UUID(bytes=weighing), row)


def _meant(tables: Tables, void: VoidRow) -> bytes | None:
    """The weighing that a void takes back: at its place, of its own side if the journal was forked."""
    best = _same_side(tables, (void.gateway, void.epoch, void.seq), void.id, void.weighing_seq)
    return best if best in tables.weighings else None


def _same_side(tables: Tables, place: tuple[str, int, int], own: bytes, wanted: int) -> bytes:
    """The id of the record at `wanted` on the side of the record `own` at `place`: the chain leads there."""
    gateway, epoch, seq = place
    there = tables.records.get((gateway, epoch, wanted), ())
    if len(there) < 2:
        return there[0][3] if there else b""
    begin = here = next((each for each in tables.records.get(place, ()) if each[3] == own), None)
    while here is not None and here[2] > max(wanted, seq - 1000):
        before = tables.records.get((gateway, epoch, here[2] - 1), ())
        here = next((each for each in before if next_digest(each[5], here[6]) == here[5]), None)
    if here is not None and here[2] == wanted:
        return here[3]
    came = None if begin is None else begin[7]
    return min(there, key=lambda each: (each[7] != came, each[7] is not None, each[7] or 0, each[8] or 0))[3]


def _hold(tables: Tables, party: str, material: str, net_g: int) -> None:
    tables.kilos[party, material] = tables.kilos.get((party, material), 0) + net_g


def _party(drop_point: bytes | None, gateway: str) -> str:
    return f"drop-point:{UUID(bytes=drop_point)}" if drop_point else f"gateway:{gateway}"


def _card_party(serial: bytes) -> str:
    return f"card:{serial[:8].hex()}"


def _pickup_at(step: CustodyRow) -> tuple[str, int, int]:
    return step.gateway, step.epoch, step.pickup_seq


def _open_pickup(tables: Tables, step: CustodyRow) -> bool:
    place = _pickup_at(step)
    if step.id not in tables.pickups:
        collector = step.fields["collector"]
        assert isinstance(collector, bytes)
        tables.pickups[step.id] = PickupRow(place, collector, None, None, None, None)
    return True


def _close_pickup(tables: Tables, step: CustodyRow) -> bool:
    if int(str(step.fields["bins"])) > INT32_MAX:
        raise UnfitError("nobody has so many bins")
    found = _pickup_of(tables, step)
    if found is None:
        return False
    row = tables.pickups[found]
    if row.closed_us is None:
        outcome, bins, net_g = str(step.fields["outcome"]), step.fields["bins"], step.fields["net_g"]
        tables.pickups[found] = PickupRow(row.place, row.collector, outcome, bins, net_g, step.at_us)  # type: ignore[arg-type]
    return True


def _pickup_of(tables: Tables, step: CustodyRow) -> bytes | None:
    found = _same_side(tables, (step.gateway, step.epoch, step.seq), step.id, step.pickup_seq)
    return found if found in tables.pickups else None


def _empty_bin(tables: Tables, step: CustodyRow) -> bool:
    found = _pickup_of(tables, step)
    if found is None:
        return False
    if step.id in tables.pickup_bins:
        return True
    code, net_g, emptied = (
        str(step.fields["bin"]),
        int(str(step.fields["net_g"])),
        bool(step.fields["emptied"]),
    )
    material, estimated = tables.bins.get(code, ""), step.kind == "bin.estimated"
    tables.pickup_bins[step.id] = BinRow(_pickup_at(step), code, material, net_g, estimated, emptied)
    tables.bins_of[found] = (*tables.bins_of.get(found, ()), step.id)
    if emptied and net_g:
        giver, taker = (
            _party(step.drop_point, step.gateway),
            _card_party(tables.pickups[found].collector),
        )
        _moved(tables, step, MovementRow("collected", giver, taker, net_g, estimated, ((material, net_g),)))
    tables.tell(
        "bin.emptied",
        str(UUID(bytes=step.id)),
        bin=code,
        net_g=net_g,
        material=material,
        estimated=estimated,
    )
    return True


def _hand_over(tables: Tables, step: CustodyRow) -> bool:
    found = _pickup_of(tables, step)
    if found is None:
        return False
    if step.id in tables.movements:
        return True
    lines: dict[str, int] = {}
    estimated = False
    for each in tables.bins_of.get(found, ()):
        row = tables.pickup_bins[each]
        if row.emptied:
            lines[row.material] = lines.get(row.material, 0) + row.net_g
            estimated = estimated or row.estimated
    giver, taker = (_card_party(step.fields[each]) for each in ("giver", "taker"))  # type: ignore[arg-type]
    net_g = int(str(step.fields["net_g"]))
    _moved(
        tables, step, MovementRow("handed_over", giver, taker, net_g, estimated, tuple(sorted(lines.items())))
    )
    tables.tell("custody.handed_over", str(UUID(bytes=step.id)), giver=giver, taker=taker, net_g=net_g)
    return True


def _moved(tables: Tables, step: CustodyRow, row: MovementRow) -> None:
    tables.movements[step.id] = row
    for material, net_g in row.lines:
        _hold(tables, row.giver, material, -net_g)
        _hold(tables, row.taker, material, net_g)


_STEPS = {
    "pickup.opened": _open_pickup,
    "pickup.closed": _close_pickup,
    "bin.weighed": _empty_bin,
    "bin.estimated": _empty_bin,
}


def _orphan_void(void: VoidRow) -> QuarantineRow:
    message = f"no weighing at seq {void.weighing_seq} is applied; decide on that one first"
    return QuarantineRow(
        void.id, void.gateway, void.epoch, void.seq, "void.no_weighing", message, void.data, False
    )


def _orphan_step(step: CustodyRow) -> QuarantineRow:
    message = f"no pickup at seq {step.pickup_seq} is applied; decide on that one first"
    return QuarantineRow(
        step.id, step.gateway, step.epoch, step.seq, "custody.no_pickup", message, step.data, False
    )
