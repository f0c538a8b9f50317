"""How a reversal is split between what is there and what becomes due: pure."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cloud.ledger.accounts import ISSUER, AccountKind, citizen_account, receivable_account
from cloud.ledger.posting import Account, Voided, reversals
from cloud.ledger.transfers import TransferCode, transfer_id

KEY = b"pseudony"
HOLDER = citizen_account(KEY)


def account(balance: int, heir: UUID | None = None) -> Account:
    return Account(HOLDER, AccountKind.CITIZEN, KEY, balance, heir)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5_000), max_size=12))
def test_reversals_take_every_point_back_and_never_more_than_the_balance(
    balance: int, points: list[int]
) -> None:
    voided = [Voided(UUID(int=number << 16), HOLDER, each, False) for number, each in enumerate(points, 1)]
    transfers = reversals(voided, {HOLDER: account(balance)})
    assert sum(each.amount for each in transfers) == sum(points)
    assert all(each.credit == ISSUER and each.amount > 0 for each in transfers)
    covered = sum(each.amount for each in transfers if each.debit == HOLDER)
    assert covered == min(balance, sum(points))
    assert {each.debit for each in transfers} <= {HOLDER, receivable_account(KEY)}
    assert len({each.id for each in transfers}) == len(transfers)


def test_a_transfer_id_follows_from_source_and_code_and_an_awards_is_its_weighings() -> None:
    source = UUID("018f0000-0000-8000-8000-0000000000a7")
    ids = {transfer_id(source, code) for code in TransferCode}
    assert len(ids) == len(TransferCode)
    assert transfer_id(source, TransferCode.AWARD) == source
