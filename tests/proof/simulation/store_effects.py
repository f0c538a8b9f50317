"""What the model store makes of effects: one plain loop per kind of row. Works on a draft in place."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from cloud.ingest.effects import QuarantineRow, WeighingRow
from cloud.ingest.storage import StoredError, UnfitError
from cloud.ingest.views import GatewayView
from cloud.ingest.waiting import take_in, wake
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

    from cloud.ingest.effects import ClosingRow, CustodyRow, Effects, RecordRow, VoidRow
    from cloud.ingest.views import View
    from tests.proof.simulation.store_tables import Place, Tables

CLOCK_SYNCED = 3
CHAIN_MAX = 1000
"""How far a chain is followed."""
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
    _follow(tables, effects)
    _wake(tables, effects)
    for account in holders.accounts():
        ledger.settle(tables, account, new_id())
    for held in effects.quarantine:
        tables.quarantine.setdefault(held.id, HeldRow(held, "held"))
    for alarm in effects.alarms:
        detail = tuple(sorted(alarm.detail.items()))
        tables.alarms[len(tables.alarms)] = AlarmRow(alarm.gateway, alarm.code, detail)


def _follow(tables: Tables, effects: Effects) -> None:
    """What means another record: ends, voids, custody. Whose other record is not applied waits."""
    for closing in effects.closings:
        if not _end(tables, closing):
            effects.quarantine.append(_orphan_end(closing))
    _void_all(tables, effects)
    begun = [step for step in effects.custody if step.kind == "pickup.opened"]
    for step in begun + [step for step in effects.custody if step.kind != "pickup.opened"]:
        if not _STEPS.get(step.kind, _hand_over)(tables, step):
            effects.quarantine.append(_orphan_step(step))


def take_in_strays(tables: Tables, effects: Effects, view: View, new_id: Callable[[], UUID]) -> None:
    """What joined no chain when it came, and has come on one now, takes effect; what is unfit stays."""
    again = [tables.quarantine[each] for each in effects.again if each in tables.quarantine]
    strays = [each.row for each in again if each.state == "held" and each.row.code == "record.stray"]
    for row in sorted(strays, key=lambda each: (each.gateway, each.epoch, each.seq, each.id)):
        draft, meant = tables.draft(), take_in(row, view)
        try:
            project(draft, meant, new_id)
        except UnfitError:
            continue
        held, state = (meant.quarantine[0], "held") if meant.quarantine else (row, "retried")
        draft.quarantine[row.id] = HeldRow(row._replace(code=held.code, message=held.message), state)
        draft.keep()
        effects.quarantine = [each for each in effects.quarantine if each.id not in meant.woken]


def _wake(tables: Tables, effects: Effects) -> None:
    """What waited for one of these takes effect now."""
    held = sorted(
        (
            each.row
            for each in tables.quarantine.values()
            if each.state == "held"
            and each.row.code in {"void.no_weighing", "deposit.no_opening", "custody.no_pickup"}
            and effects.since.get((each.row.gateway, each.row.epoch), each.row.seq) < each.row.seq
        ),
        key=lambda row: (row.gateway, row.epoch, row.seq, row.id),
    )
    gateways = {row.gateway for row in held} & tables.gateways.keys()
    places = {each: tables.gateways[each] for each in gateways}
    views = {each: GatewayView(each, row.drop_point, row.revoked) for each, row in places.items()}
    woken = wake(held, views)
    _follow(tables, woken)
    waiting = {row.id for row in woken.quarantine}
    for row in held:
        if row.id not in waiting:
            effects.woken.append(row.id)
            tables.quarantine[row.id] = HeldRow(row, "retried")


def _end(tables: Tables, closing: ClosingRow) -> bool:
    """End a visit; whether it is known."""
    ended = _meant(tables, (closing.gateway, closing.epoch, closing.own), closing.id, closing.seq)
    known = tables.visits.get(ended) if ended is not None else None
    if ended is None or known is None:
        return False
    if known.closed_us is None:
        tables.visits[ended] = known._replace(closed_us=closing.at_us, outcome=closing.outcome)
    return True


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
            if kind is not HolderKind.GUEST:
                continue
            visit = visit_of.get(number)
            account = ledger.account_of("holding", b"guest:" + holder)
            claim = tables.claims.get(holder) or ClaimRow(account, None, None)
            if claim.deposit is None and visit is not None:
                claim = claim._replace(deposit=UUID(bytes=visit))
            tables.claims[holder] = claim

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
        shown, row.recorded_us, party, row.late_catalog, row.manual, row.pending, None,
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
    found = [(void, _voided(tables, void)) for void in effects.voids]
    for void, weighing in found:
        if weighing is None:
            effects.quarantine.append(_orphan_void(void))
            continue
        row = tables.weighings[weighing]
        if row.voided:
            continue
        tables.weighings[weighing] = row._replace(voided=UUID(bytes=void.id))
        ledger.reverse(tables, UUID(bytes=weighing), row)
        _hold(tables, row.party, row.material, -row.net_g)
        _tell_weighing(tables, "weighing.voided", UUID(bytes=weighing), row)


def _voided(tables: Tables, void: VoidRow) -> bytes | None:
    """The weighing that a void takes back."""
    meant = _meant(tables, (void.gateway, void.epoch, void.seq), void.id, void.weighing_seq)
    return meant if meant in tables.weighings else None


def _meant(tables: Tables, own: Place, own_id: bytes, seq: int) -> bytes | None:
    """The record at `seq` that the one at `own` means: of the sides of a fork its own, as the chain says."""
    there = tables.records.get((*own[:2], seq), ())
    if len(there) < 2:
        return there[0][3] if there else None
    here = next((each for each in tables.records.get(own, ()) if each[3] == own_id), None)
    reached = here
    while reached is not None and reached[2] > max(seq, own[2] - CHAIN_MAX):
        reached = _before(tables, reached)
    if reached is not None and reached[2] == seq:
        return reached[3]
    way = here[7] if here is not None else None
    return min(there, key=lambda each: (each[7] != way, each[7] is not None, each[7] or 0, each[8] or 0))[3]


def _before(tables: Tables, record: RecordRow) -> RecordRow | None:
    """The record before this one on its chain, if it is here."""
    there = tables.records.get((record[0], record[1], record[2] - 1), ())
    return next((each for each in there if next_digest(each[5], record[6]) == record[5]), None)


def _hold(tables: Tables, party: str, material: str, net_g: int) -> None:
    tables.kilos[party, material] = tables.kilos.get((party, material), 0) + net_g


def _party(drop_point: bytes | None, gateway: str) -> str:
    return f"drop-point:{UUID(bytes=drop_point)}" if drop_point else f"gateway:{gateway}"


def _card_party(serial: bytes) -> str:
    return f"card:{serial[:8].hex()}"


def _pickup(tables: Tables, step: CustodyRow) -> bytes | None:
    """The pickup that a step belongs to."""
    meant = _meant(tables, (step.gateway, step.epoch, step.seq), step.id, step.pickup_seq)
    return meant if meant in tables.pickups else None


def _open_pickup(tables: Tables, step: CustodyRow) -> bool:
    collector = step.fields["collector"]
    assert isinstance(collector, bytes)
    row = PickupRow((step.gateway, step.epoch, step.pickup_seq), collector, None, None, None, None)
    tables.pickups.setdefault(step.id, row)
    return True


def _close_pickup(tables: Tables, step: CustodyRow) -> bool:
    outcome, bins, net_g = (step.fields[name] for name in ("outcome", "bins", "net_g"))
    assert isinstance(bins, int)
    assert isinstance(net_g, int)
    if bins > INT32_MAX:
        raise UnfitError("nobody has so many bins")
    pickup = _pickup(tables, step)
    if pickup is not None and tables.pickups[pickup].closed_us is None:
        row = tables.pickups[pickup]
        tables.pickups[pickup] = PickupRow(row.place, row.collector, str(outcome), bins, net_g, step.at_us)
    return pickup is not None


def _empty_bin(tables: Tables, step: CustodyRow) -> bool:
    pickup = _pickup(tables, step)
    if pickup is None or step.id in tables.pickup_bins:
        return pickup is not None
    net_g, emptied = step.fields["net_g"], step.fields["emptied"]
    assert isinstance(net_g, int)
    code, estimated = str(step.fields["bin"]), step.kind == "bin.estimated"
    material = tables.bins.get(code, "")
    tables.pickup_bins[step.id] = BinRow(pickup, code, material, net_g, estimated, bool(emptied))
    tables.bins_of[pickup] = (*tables.bins_of.get(pickup, ()), (step.seq, step.id))
    if emptied and net_g:
        giver, taker = _party(step.drop_point, step.gateway), _card_party(tables.pickups[pickup].collector)
        _moved(tables, step, MovementRow("collected", giver, taker, net_g, estimated, ((material, net_g),)))
    if emptied:
        for seq, movement in tables.handed_of.get(pickup, ()):
            if _comes_before(tables, step.id, step.seq, (step.gateway, step.epoch, seq), movement):
                _pass_on(tables, movement, tables.pickup_bins[step.id])
    told: dict[str, object] = {"bin": code, "net_g": net_g, "material": material, "estimated": estimated}
    tables.tell("bin.emptied", str(UUID(bytes=step.id)), **told)
    return True


def _hand_over(tables: Tables, step: CustodyRow) -> bool:
    pickup = _pickup(tables, step)
    if pickup is None or step.id in tables.movements:
        return pickup is not None
    lines: dict[str, int] = {}
    own = step.gateway, step.epoch, step.seq
    there = tables.bins_of.get(pickup, ())
    before = [each for seq, each in there if _comes_before(tables, each, seq, own, step.id)]
    emptied = [tables.pickup_bins[each] for each in before if tables.pickup_bins[each].emptied]
    for row in emptied:
        lines[row.material] = lines.get(row.material, 0) + row.net_g
    giver, taker, net_g = (step.fields[name] for name in ("giver", "taker", "net_g"))
    assert isinstance(giver, bytes)
    assert isinstance(taker, bytes)
    assert isinstance(net_g, int)
    estimated = any(row.estimated for row in emptied)
    sides, kilos = (_card_party(giver), _card_party(taker)), tuple(sorted(lines.items()))
    _moved(tables, step, MovementRow("handed_over", *sides, net_g, estimated, kilos))
    tables.handed_of[pickup] = (*tables.handed_of.get(pickup, ()), (step.seq, step.id))
    told = {"giver": sides[0], "taker": sides[1], "net_g": net_g}
    tables.tell("custody.handed_over", str(UUID(bytes=step.id)), **told)
    return True


def _comes_before(tables: Tables, bin_id: bytes, seq: int, own: Place, own_id: bytes) -> bool:
    """Whether this bin, at `seq`, is one that the hand-over at `own` passes on."""
    return seq < own[2] and _meant(tables, own, own_id, seq) == bin_id


def _pass_on(tables: Tables, movement: bytes, bin_: BinRow) -> None:
    """A bin found after its hand-over goes where that one took the others."""
    row = tables.movements[movement]
    lines = dict(row.lines)
    lines[bin_.material] = lines.get(bin_.material, 0) + bin_.net_g
    estimated = row.estimated or bin_.estimated
    tables.movements[movement] = row._replace(lines=tuple(sorted(lines.items())), estimated=estimated)
    _hold(tables, row.giver, bin_.material, -bin_.net_g)
    _hold(tables, row.taker, bin_.material, bin_.net_g)


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


def _orphan_end(end: ClosingRow) -> QuarantineRow:
    message = f"no visit opened at seq {end.seq} is applied; it ends when that one comes in"
    code = "deposit.no_opening"
    return QuarantineRow(end.id, end.gateway, end.epoch, end.own, code, message, end.data, False)


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
