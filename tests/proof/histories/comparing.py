"""What is compared of Postgres and of the model: the same tables, as plain rows of both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import psycopg

    from tests.proof.simulation.store_tables import Tables

    Rows = Iterable[tuple[Any, ...]]

PG_EPOCH = "timestamptz '2000-01-01 00:00:00Z'"
_SETTLEMENT = 4


def _us(column: str) -> str:
    return f"(extract(epoch FROM {column} - {PG_EPOCH}) * 1000000)::bigint"


@dataclass(frozen=True, slots=True)
class Compared:
    """One table. `columns` and `source` make Postgres's rows, `model` the model's, alike to the last value.

    `of_key` finds the model's row for one of Postgres's, so that only changed rows need be looked at; None:
    the table is small, or has no key, and is compared whole each time.
    """

    name: str
    columns: str
    source: str
    model: Callable[[Tables], Rows]
    of_key: Callable[[Tables, tuple[Any, ...]], tuple[Any, ...] | None] | None = None
    where: str = "true"

    def query(self, *, whole: bool) -> str:
        """All rows, or those that a transaction from %(since)s on wrote."""
        changed = "true" if whole or self.of_key is None else "t.xmin::text::bigint >= {since}"
        return f"SELECT {self.columns} FROM {self.source} WHERE {self.where} AND {changed}"


def _held(tables: Tables) -> Rows:
    for identity in tables.quarantine:
        row = _held_row(tables, (UUID(bytes=identity),))
        assert row is not None
        yield row


def _held_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    held = tables.quarantine.get(key[0].bytes)
    if held is None:
        return None
    row = held.row
    message = "" if row.code == "record.refused_by_store" else row.message
    place = row.gateway, row.epoch, row.seq
    return UUID(bytes=row.id), *place, row.code, message, row.data, row.pending, held.state


def _record_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    there = tables.records.get((key[0], key[1], key[2]), ())
    return next(((*row[:3], UUID(bytes=row[3]), *row[4:]) for row in there if row[3] == key[3].bytes), None)


def _visit_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.visits.get(key[0].bytes)
    return None if row is None else (key[0], *row.place, *row[1:])


def _weighed_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.weighings.get(key[0].bytes)
    return None if row is None else (key[0], *row.place, *row[1:8], *row[9:])


def _account_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.accounts.get(key[0])
    if row is None:
        return None
    return key[0], *row, tables.citizens.get(row.key) if row.kind in {"citizen", "receivable"} else None


def _transfer_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.transfers.get(key[0])
    return None if row is None else (key[0], *row)


def _settled(tables: Tables) -> Rows:
    sums: Counter[tuple[Any, ...]] = Counter()
    for row in tables.transfers.values():
        if row.code == _SETTLEMENT:
            sums[row.debit, row.credit] += row.amount
    return [(*sides, amount) for sides, amount in sums.items()]


def _claim_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.claims.get(key[0])
    return None if row is None else (key[0], *row)


def _cursor_row(tables: Tables, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    row = tables.cursors.get((key[0], key[1]))
    return None if row is None else (row.gateway, row.epoch, row.through, row.digest, row.closed)


def _movements(tables: Tables) -> Rows:
    for key, row in tables.movements.items():
        yield UUID(bytes=key), *row[:5], sorted(f"{material}={net_g}" for material, net_g in row.lines)


def _pickup_bins(tables: Tables) -> Rows:
    for key, row in tables.pickup_bins.items():
        yield UUID(bytes=key), UUID(bytes=row.pickup), *row[1:]


def _alarms(tables: Tables) -> Rows:
    for row in tables.alarms.values():
        yield row.gateway, row.code, [f"{name}={value}" for name, value in row.detail], row.resolved


def _by_id(row_of: Callable[[Tables, tuple[Any, ...]], Any], table: str) -> Callable[[Tables], Rows]:
    """All rows of a table with ids of 16 bytes."""
    return lambda tables: [row_of(tables, (UUID(bytes=each),)) for each in getattr(tables, table)]


TABLES = (
    Compared(
        "cursors",
        "gateway_id, epoch, through, digest, state = 'closed'",
        "cursors t",
        lambda tables: [_cursor_row(tables, key) or () for key in tables.cursors],
        _cursor_row,
    ),
    Compared(
        "gaps",
        "gateway_id, epoch, first, last",
        "gaps t",
        lambda tables: [(*key, *place) for key, gaps in tables.gaps.items() for place in gaps],
    ),
    Compared(
        "records",
        "gateway_id, epoch, seq, id, kind, digest, data, carried_epoch, carried_seq",
        "records t",
        lambda tables: [
            (*row[:3], UUID(bytes=row[3]), *row[4:]) for there in tables.records.values() for row in there
        ],
        _record_row,
    ),
    Compared(
        "quarantine",
        "id, gateway_id, epoch, seq, code,"
        " CASE WHEN code = 'record.refused_by_store' THEN '' ELSE message END, data, pending, state",
        "quarantine t",
        _held,
        _held_row,
    ),
    Compared(
        "deposits",
        f"id, gateway_id, epoch, seq, account_id, {_us('opened_at')}, {_us('closed_at')}, outcome",
        "deposits t",
        _by_id(_visit_row, "visits"),
        _visit_row,
    ),
    Compared(
        "weighings",
        "id, gateway_id, epoch, seq, deposit_seq, account_id, material, net_g, points, points_shown,"
        f" {_us('recorded_at')}, late_catalog, manual, pending, voided_by",
        "weighings t",
        _by_id(_weighed_row, "weighings"),
        _weighed_row,
    ),
    Compared(
        "accounts",
        "id, kind, key, balance, heir, citizen_id",
        "accounts t",
        lambda tables: [_account_row(tables, (key,)) or () for key in tables.accounts],
        _account_row,
    ),
    Compared(
        "citizens",
        "id, pseudonym",
        "citizens t",
        lambda tables: [(citizen, key) for key, citizen in tables.citizens.items()],
    ),
    Compared(
        "transfers",
        "id, debit, credit, amount, code, source, state, resolves",
        "transfers t",
        lambda tables: [(key, *row) for key, row in tables.transfers.items() if row.code != _SETTLEMENT],
        _transfer_row,
        f"code <> {_SETTLEMENT}",
    ),
    Compared(
        "settlements",
        "debit, credit, amount",
        "(SELECT debit, credit, sum(amount)::bigint AS amount FROM transfers"
        f" WHERE code = {_SETTLEMENT} GROUP BY 1, 2) t",
        _settled,
    ),
    Compared(
        "claims",
        "hash, account_id, deposit_id, claimed_by",
        "claims t",
        lambda tables: [(key, *row) for key, row in tables.claims.items()],
        _claim_row,
    ),
    Compared(
        "kilos",
        "party, material, net_g",
        "custody_balances t",
        lambda tables: [(*key, net_g) for key, net_g in tables.kilos.items()],
    ),
    Compared(
        "pickups",
        f"id, gateway_id, epoch, seq, collector, outcome, bins, net_g, {_us('closed_at')}",
        "pickups t",
        lambda tables: [(UUID(bytes=key), *row.place, *row[1:]) for key, row in tables.pickups.items()],
    ),
    Compared(
        "bins of pickups",
        "id, pickup_id, bin, material, net_g, estimated, emptied",
        "pickup_bins t",
        _pickup_bins,
    ),
    Compared(
        "movements",
        "id, kind, giver, taker, net_g, estimated,"
        " ARRAY(SELECT key || '=' || value FROM jsonb_each_text(lines) ORDER BY 1)",
        "custody_movements t",
        _movements,
    ),
    Compared(
        "alarms",
        "gateway_id, code, ARRAY(SELECT key || '=' || value FROM jsonb_each_text(detail) ORDER BY 1),"
        " resolved_at IS NOT NULL",
        "alarms t",
        _alarms,
    ),
    Compared(
        "refusals",
        "gateway_id, road, code, count",
        "refusals t",
        lambda tables: [(*key, count) for key, count in tables.refusals.items()],
    ),
)


def differences(
    connection: psycopg.Connection[Any], tables: Tables, since: int | None, *, limit: int = 5
) -> list[str]:
    """Where Postgres and the model differ. `since`: look only at rows written by that transaction or later,
    and at the number of the others; None: at all of them, and at the events.
    """
    found: list[str] = []
    counts = " UNION ALL ".join(f"SELECT count(*) FROM {each.source} WHERE {each.where}" for each in TABLES)
    queries = [each.query(whole=since is None).replace("{since}", str(since)) for each in TABLES]
    cursor = connection.execute("; ".join((*queries, counts)).encode())
    rows_of = []
    for _ in TABLES:
        rows_of.append(cursor.fetchall())
        cursor.nextset()
    for each, rows, (count,) in zip(TABLES, rows_of, cursor.fetchall(), strict=True):
        found += _compare(each, tables, rows, count, whole=since is None)
    if since is None:
        found += _events(connection, tables)
    return found[:limit]


def _compare(
    each: Compared, tables: Tables, rows: list[tuple[Any, ...]], count: int, *, whole: bool
) -> list[str]:
    if whole or each.of_key is None:
        theirs, ours = Counter(map(repr, rows)), Counter(map(repr, each.model(tables)))
        return [f"{each.name}: only in Postgres {row}" for row in theirs - ours] + [
            f"{each.name}: only in the model {row}" for row in ours - theirs
        ]
    found = []
    for row in rows:
        expected = each.of_key(tables, row)
        if expected != row:
            found.append(f"{each.name}: in Postgres {row}, in the model {expected}")
    expected_count = sum(1 for _ in each.model(tables)) if each.name == "transfers" else _size(each, tables)
    if count != expected_count:
        found.append(f"{each.name}: {count} rows in Postgres, {expected_count} in the model")
    return found


def _size(each: Compared, tables: Tables) -> int:
    match each.name:
        case "records":
            return sum(map(len, tables.records.values()))
        case "deposits":
            return len(tables.visits)
        case _:
            return len(getattr(tables, each.name))


def _events(connection: psycopg.Connection[Any], tables: Tables) -> list[str]:
    rows = connection.execute("SELECT type, key, payload FROM events").fetchall()
    theirs = Counter((kind, key, repr(sorted(payload.items()))) for kind, key, payload in rows)
    ours = Counter((row.type, row.key, repr(list(row.payload))) for row in tables.events.values())
    return [f"events: only in Postgres {row}" for row in theirs - ours] + [
        f"events: only in the model {row}" for row in ours - theirs
    ]
