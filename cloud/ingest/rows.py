"""Rows of effects as Postgres's binary COPY format, packed by hand: one struct call per row.

Every function returns a whole COPY payload for the columns named in the constant beside it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

from cloud.kit.ids import derived_id
from cloud.ledger.accounts import AccountKind, card_key, guest_key, tag_key
from protocol.bodies import HolderKind
from protocol.cards import PSEUDONYM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloud.ingest.effects import ClosingRow, DepositRow, RecordRow, WeighingRow

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_LENGTH = struct.Struct(">i").pack
_INT8 = struct.Struct(">iq").pack

RECORD_COLUMNS = "epoch, seq, id, kind, received_at, digest, gateway_id, data, carried_epoch, carried_seq"
_RECORD = struct.Struct(">hiqiqi16sihiqi32s").pack

DEPOSIT_COLUMNS = "id, epoch, seq, holder, opened_at, gateway_id, closed_at, outcome"
_DEPOSIT = struct.Struct(">hi16siqiqiiiq").pack

CLOSING_COLUMNS = "id, epoch, own, seq, at, gateway_id, outcome"
_CLOSING = struct.Struct(">hi16siqiqiqiq").pack

WEIGHING_COLUMNS = (
    "id, epoch, seq, deposit_seq, holder, gross_g, tare_g, net_g, points_per_kg, points, points_shown,"
    " recorded_at, boot, mono_ms, clock, tare_kind, late_catalog, manual, pending, gateway_id, drop_point_id,"
    " material"
)
_WEIGHING = struct.Struct(">hi16siqiqiqiiiqiqiqiqiqiqiqiqiqihihi?i?i?").pack

HOLDER_COLUMNS = (
    "n, kind, holder, account_id, account_kind, account_key, pseudonym, citizen_id, revoked_id, deposit_id"
)
_HOLDER = struct.Struct(">hiiih").pack


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


def _bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else _LENGTH(len(value)) + value


class _Texts(dict[str, bytes]):
    """Remembers the packed form of the few texts that repeat in a batch."""

    def __missing__(self, value: str) -> bytes:
        packed = self[value] = _text(value)
        return packed


def _payload(rows: Iterable[bytes]) -> bytes:
    return b"".join((_HEADER, *rows, _TRAILER))


def pack_records(rows: Sequence[RecordRow], received_us: int) -> bytes:
    """Payload of RECORD_COLUMNS."""
    texts, none = _Texts(), _NULL * 2
    return _payload(
        _RECORD(10, 8, epoch, 8, seq, 16, identity, 2, kind, 8, received_us, 32, digest)
        + texts[gateway]
        + _LENGTH(len(data))
        + data
        + (none if carrier is None else _INT8(8, carrier) + _INT8(8, carrier_seq or 0))
        for gateway, epoch, seq, identity, kind, digest, data, carrier, carrier_seq in rows
    )


def pack_deposits(rows: Sequence[DepositRow]) -> bytes:
    """Payload of DEPOSIT_COLUMNS."""
    texts, none = _Texts(), _NULL * 2
    return _payload(
        _DEPOSIT(8, 16, identity, 8, epoch, 8, seq, 4, holder, 8, opened_us)
        + texts[gateway]
        + (none if closed_us is None else _INT8(8, closed_us) + texts[outcome or ""])
        for identity, gateway, epoch, seq, holder, opened_us, closed_us, outcome in rows
    )


def pack_closings(rows: Sequence[ClosingRow]) -> bytes:
    """Payload of CLOSING_COLUMNS."""
    texts = _Texts()
    return _payload(
        _CLOSING(7, 16, identity, 8, epoch, 8, own, 8, seq, 8, at_us) + texts[gateway] + texts[outcome]
        for identity, gateway, epoch, own, seq, at_us, outcome, _data in rows
    )


def pack_weighings(rows: Sequence[WeighingRow]) -> bytes:
    """Payload of WEIGHING_COLUMNS."""
    texts = _Texts()
    return _payload(
        _WEIGHING(
            22, 16, identity, 8, epoch, 8, seq, 8, deposit, 4, holder, 8, gross, 8, tare, 8, net, 8, rate,
            8, points, 8, shown, 8, at, 8, boot, 8, mono, 2, clock, 2, tare_kind, 1, late, 1, manual,
            1, pending,
        )
        + texts[gateway]
        + _bytes(drop_point)
        + texts[material]
        for identity, gateway, epoch, seq, deposit, drop_point, holder, material, gross, tare, net, rate,
        points, shown, at, boot, mono, clock, tare_kind, late, manual, pending in rows
    )  # fmt: skip


_HOLDERS_KEPT_MAX = 200_000
"""Holders met lately, of whom the packed accounts are kept."""


def pack_holders(holders: dict[tuple[HolderKind, bytes], int], deposits: Sequence[DepositRow]) -> bytes:
    """Payload of HOLDER_COLUMNS: each holder with the account that is theirs unless Postgres knows better."""
    visit_of = {row.holder: row.id for row in deposits}
    return _payload(
        _HOLDER(10, 4, number, 2, holder[0]) + _holder_tail(*holder) + _bytes(visit_of.get(number))
        for holder, number in holders.items()
    )


# What is packed follows from the holder alone, so it is never stale.
@lru_cache(maxsize=_HOLDERS_KEPT_MAX)
def _holder_tail(kind: HolderKind, holder: bytes) -> bytes:
    match kind:
        case HolderKind.CARD:
            pseudonym = holder[:PSEUDONYM_LENGTH]
            citizen = derived_id("reloop/citizen/1", pseudonym).bytes
            revoked = _account(AccountKind.HOLDING, card_key(holder))
            account = AccountKind.CITIZEN, pseudonym
            more = _bytes(pseudonym) + _bytes(citizen) + _bytes(revoked)
        case HolderKind.TAG:
            account, more = (AccountKind.HOLDING, tag_key(holder)), _NULL * 3
        case HolderKind.GUEST:
            account, more = (AccountKind.HOLDING, guest_key(holder)), _NULL * 3
        case _:
            assert_never(kind)
    return _bytes(holder) + _bytes(_account(*account)) + _text(account[0].value) + _bytes(account[1]) + more


def _account(kind: AccountKind, key: bytes) -> bytes:
    return derived_id("reloop/account/1", kind.value.encode(), key).bytes
