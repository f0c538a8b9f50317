"""The ledger's promises on a real Postgres: claimed once, reversed whole, settled first, and provable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest

from cloud.errors import LedgerError, NotFoundError
from cloud.ingest.rows import pack_holders
from cloud.ledger import service as ledger
from cloud.ledger.accounts import ISSUER, AccountKind, account_id, citizen_account, holding_account
from cloud.ledger.models import Balance
from cloud.ledger.posting import lock_accounts, post
from cloud.ledger.transfers import NewTransfer, TransferCode
from protocol.bodies import HolderKind, WeighingVoided
from tests.cloud.ingest.gateway import Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from cloud.ledger.models import Claimed
    from tests.cloud.ingest.conftest import Site

HASH = b"h" * 16
ANNA, BIKRAM = UUID(int=0xA << 96), UUID(int=0xB << 96)


def add_citizen(site: Site, citizen: UUID, number: int) -> None:
    site.write("INSERT INTO citizens (id, pseudonym) VALUES (%s, %s)", citizen, serial_of(number)[:8])


async def claim(site: Site, citizen: UUID, claim_hash: bytes = HASH) -> Claimed:
    async with site.engine.begin() as connection:
        return await ledger.claim(connection, claim_hash, citizen)


async def balance(site: Site, citizen: UUID) -> Balance:
    async with site.engine.begin() as connection:
        return await ledger.balance(connection, citizen)


def void(gateway: Gateway, weighing: int) -> None:
    gateway.append(WeighingVoided(weighing - 1, weighing, "taken back"))


def spend(site: Site, number: int, amount: int) -> None:
    """As a marketplace will: the citizen's points go back to the issuer by a transfer."""
    citizen, issuer = citizen_account(serial_of(number)[:8]), account_id(AccountKind.ISSUER, b"points")
    source = UUID(int=number << 64 | amount << 8)
    site.write(
        "INSERT INTO transfers (id, debit, credit, amount, code, state, source, created_at)"
        " VALUES (%s, %s, %s, %s, 5, 'posted', %s, now())",
        UUID(int=source.int ^ 4), citizen, issuer, amount, source,
    )  # fmt: skip
    site.write("UPDATE accounts SET balance = balance - %s WHERE id = %s", amount, citizen)


async def test_a_guests_deposit_is_claimed_once(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    add_citizen(site, BIKRAM, 2)
    site.gateway.visit(kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    claimed = await claim(site, ANNA)
    assert (claimed.points, claimed.deposit) == (12_000, site.one("SELECT id FROM deposits"))
    assert (await claim(site, ANNA)).points == 0, "asking again is answered and moves nothing"
    with pytest.raises(LedgerError, match="claimed already"):
        await claim(site, BIKRAM)
    assert (await balance(site, ANNA)).points == 12_000
    assert site.balance(b"guest:" + HASH, "holding") == 0
    assert site.one("SELECT payload->>'citizen' FROM events WHERE type = 'deposit.claimed'") == str(ANNA)


async def test_of_many_claims_at_once_one_wins(site: Site) -> None:
    citizens = [UUID(int=number << 96) for number in range(1, 9)]
    for number, citizen in enumerate(citizens, 1):
        add_citizen(site, citizen, number)
    site.gateway.visit(kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    outcomes = await asyncio.gather(*(claim(site, each) for each in citizens), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in outcomes) == 1
    assert sum([(await balance(site, each)).points for each in citizens]) == 12_000


async def test_a_code_that_has_not_arrived_says_so(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    with pytest.raises(NotFoundError, match="not arrived yet"):
        await claim(site, ANNA)


async def test_a_weighing_that_follows_its_claim_goes_straight_to_the_citizen(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    deposit = site.gateway.open(HolderKind.GUEST, HASH)
    site.gateway.weigh(deposit, 1_000, kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    await claim(site, ANNA)
    site.gateway.weigh(deposit, 500, kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    assert (await balance(site, ANNA)).points == 18_000


async def test_claims_while_weighings_pour_in_strand_no_point(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    hashes = [bytes((number,)) * 16 for number in range(20)]
    deposits = [site.gateway.open(HolderKind.GUEST, each) for each in hashes]
    await site.send(site.gateway.frame())
    sent = site.gateway.head
    for deposit, each in zip(deposits, hashes, strict=True):
        site.gateway.weigh(deposit, 1_000, kind=HolderKind.GUEST, holder=each)
    frames = [site.gateway.frame(seq, seq) for seq in range(sent + 1, site.gateway.head + 1)]
    jobs = [claim(site, ANNA, each) for each in hashes]
    await asyncio.gather(*jobs, *(site.send(frame) for frame in frames))
    for _ in range(2):
        await asyncio.gather(*(site.send(frame) for frame in frames))
    assert (await balance(site, ANNA)).points == 240_000


async def test_a_voided_weighing_is_reversed_once(site: Site) -> None:
    site.gateway.visit()
    weighing = site.gateway.visit(2_000)
    void(site.gateway, weighing)
    void(site.gateway, weighing)
    await site.send(site.gateway.frame())
    assert site.balance(PSEUDONYM) == 12_000
    assert site.one("SELECT count(*) FROM transfers WHERE code = 2") == 1
    assert site.one("SELECT sum(net_g) FROM custody_balances") == 1_000
    assert site.held() == []


async def test_reversing_spent_points_makes_them_due_and_later_credits_settle_that_first(site: Site) -> None:
    weighing = site.gateway.visit(1_000)
    await site.send(site.gateway.frame())
    spend(site, 1, 10_000)
    void(site.gateway, weighing)
    await site.send(site.gateway.frame())
    assert (site.balance(PSEUDONYM), site.balance(PSEUDONYM, "receivable")) == (0, 10_000)
    citizen = site.one("SELECT id FROM citizens")
    assert await balance(site, citizen) == Balance(0, 10_000, 0)
    site.gateway.visit(500)
    await site.send(site.gateway.frame())
    assert (site.balance(PSEUDONYM), site.balance(PSEUDONYM, "receivable")) == (0, 4_000)
    site.gateway.visit(1_000)
    await site.send(site.gateway.frame())
    assert (site.balance(PSEUDONYM), site.balance(PSEUDONYM, "receivable")) == (8_000, 0)


async def test_voiding_a_claimed_guests_weighing_debits_the_citizen_who_claimed(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    weighing = site.gateway.visit(kind=HolderKind.GUEST, holder=HASH)
    await site.send(site.gateway.frame())
    await claim(site, ANNA)
    void(site.gateway, weighing)
    await site.send(site.gateway.frame())
    assert (await balance(site, ANNA)).points == 0


async def test_voiding_what_is_in_quarantine_waits_for_it(site: Site) -> None:
    deposit = site.gateway.open()
    seq = site.gateway.weigh(deposit, 700, "steel", rate=None, points=None)
    void(site.gateway, seq)
    ack = await site.send(site.gateway.frame())
    assert [each.code for each in ack.quarantined] == ["weighing.no_rate", "void.no_weighing"]
    site.write("INSERT INTO materials (code, name_en, name_ne) VALUES ('steel', '', '')")
    site.write("INSERT INTO rates VALUES ('steel', 1, 1000, '2020-01-01')")
    ids = [row[0] for row in site.rows("SELECT id FROM quarantine")]
    assert set((await site.ingest.retry(ids)).values()) == {None}
    assert site.balance(PSEUDONYM) == 0
    assert site.rows("SELECT voided_by IS NOT NULL FROM weighings") == [(True,)]


async def test_a_statement_runs_with_its_balance_newest_first(site: Site) -> None:
    first = site.gateway.visit(1_000)
    site.gateway.visit(500)
    void(site.gateway, first)
    for last in (3, 6, 7):
        await site.send(site.gateway.frame(1, last))
    citizen = site.one("SELECT id FROM citizens")
    async with site.engine.begin() as connection:
        lines = await ledger.statement(connection, citizen)
        older = await ledger.statement(connection, citizen, before=lines[0].number, limit=1)
    told = [(each.code, each.amount, each.balance) for each in lines]
    assert told == [("reversal", -12_000, 6_000), ("award", 6_000, 18_000), ("award", 12_000, 12_000)]
    assert older == lines[1:2]


async def test_pending_awards_of_a_fork_are_posted_once_or_voided(site: Site) -> None:
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    twin.visit(500)
    twin.visit(700)
    await site.send(mine.frame())
    await site.send(twin.frame(4, 9))
    after = Gateway(mine.id, mine.catalog, epoch=9)
    carry(twin, after)
    await site.send(after.frame())
    citizen = site.one("SELECT id FROM citizens")
    assert await balance(site, citizen) == Balance(36_000, 0, 14_400)
    waiting = [row[0] for row in site.rows("SELECT id FROM weighings WHERE pending ORDER BY net_g")]
    for expected in (1, 0):
        async with site.engine.begin() as connection:
            assert await ledger.release(connection, waiting[:1]) == expected
    async with site.engine.begin() as connection:
        assert await ledger.withdraw(connection, waiting) == 1
    assert await balance(site, citizen) == Balance(42_000, 0, 0)
    told = site.rows("SELECT type, count(*) FROM events GROUP BY type ORDER BY type")
    assert told == [("weighing.credited", 3), ("weighing.held_back", 2), ("weighing.voided", 1)]


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (
            "UPDATE transfers SET amount = amount + 1 WHERE number = (SELECT min(number) FROM transfers)",
            "awards",
        ),
        ("UPDATE accounts SET balance = balance + 5 WHERE kind = 'citizen'", "balances"),
        ("UPDATE weighings SET points = points + 1", "awards"),
        ("UPDATE weighings SET net_g = net_g + 1000", "awards"),
        ("DELETE FROM transfers", "awards"),
        ("UPDATE transfers SET credit = account_id('holding', 'nobody')", "parties"),
        ("UPDATE weighings SET voided_by = id", "voids"),
        ("UPDATE transfers SET source = gen_random_uuid()", "ids"),
    ],
)
async def test_verify_detects_a_planted_change(site: Site, plant: str, check: str) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame())
    before = {table: site.rows(f"SELECT * FROM {table}") for table in ("transfers", "weighings", "accounts")}
    with psycopg.connect(site.url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(plant.encode())
    report = await site.verify()
    assert not report.ok
    assert check in {fault.check for fault in report.faults}
    with psycopg.connect(site.url) as connection:  # put it back: the fixture verifies once more
        connection.execute("SET session_replication_role = replica")
        for table, rows in before.items():
            connection.execute(f"DELETE FROM {table}".encode())
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                connection.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({marks})".encode(), row
                )


@pytest.mark.parametrize("table", ["transfers", "records"])
async def test_history_cannot_be_changed(site: Site, table: str) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame())
    for change in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="never changed"):
            site.write(change)


async def test_account_ids_are_the_same_in_python_and_in_postgres(site: Site) -> None:
    for kind in AccountKind:
        for key in (b"", b"points", PSEUDONYM, b"guest:" + HASH):
            assert site.one("SELECT account_id(%s, %s)", kind.value, key) == account_id(kind, key)
    assert holding_account(b"guest:" + HASH).bytes in pack_holders({(HolderKind.GUEST, HASH): 0}, [])


async def test_weighings_taken_back_together_are_reversed_in_the_order_in_which_that_was_done(
    site: Site,
) -> None:
    """Which of them the balance still covered must not be Postgres's whim: a statement shows it."""
    weighings = [site.gateway.visit(net_g) for net_g in (100, 200, 300, 400)]
    await site.send(site.gateway.frame())
    spend(site, 1, 9_000)
    order = [weighings[number] for number in (2, 0, 3, 1)]
    for weighing in (*order, order[0]):
        void(site.gateway, weighing)
    await site.send(site.gateway.frame())
    covered = site.rows(
        "SELECT w.seq, t.code, t.amount FROM transfers t JOIN weighings w ON w.id = t.source"
        " WHERE t.code IN (2, 3) ORDER BY t.code, w.seq"
    )
    due = [(2, 3, 1_200), (5, 3, 2_400), (8, 3, 600), (11, 3, 4_800)]
    assert covered == [(8, 2, 3_000), *due]
    voids = site.one(
        "SELECT count(*) FROM weighings w JOIN records r ON r.id = w.voided_by WHERE r.seq <= %s",
        site.gateway.head - 1,
    )
    assert voids == 4


async def test_a_holding_is_given_to_one_citizen_only_and_only_a_holding_can_be(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    add_citizen(site, BIKRAM, 2)
    site.gateway.visit(kind=HolderKind.TAG, holder=b"unknown tag")
    await site.send(site.gateway.frame())
    holding = holding_account(b"tag:unknown tag")
    async with site.engine.begin() as connection:
        assert await ledger.release_holding(connection, holding, ANNA) == 12_000
        assert await ledger.release_holding(connection, holding, ANNA) == 0
        with pytest.raises(LedgerError, match="somebody else") as taken:
            await ledger.release_holding(connection, holding, BIKRAM)
        with pytest.raises(NotFoundError) as missing:
            await ledger.release_holding(connection, citizen_account(serial_of(1)[:8]), BIKRAM)
        with pytest.raises(NotFoundError) as nobody:
            await ledger.balance(connection, UUID(int=7))
    codes = [caught.value.code for caught in (taken, missing, nobody)]
    assert codes == ["ledger.inherited", "ledger.no_holding", "citizen.unknown"]
    assert (await balance(site, ANNA)).points == 12_000


async def test_what_a_fork_held_back_of_a_guest_waits_for_its_claim_when_released(site: Site) -> None:
    add_citizen(site, ANNA, 1)
    mine = site.gateway
    mine.visit(kind=HolderKind.GUEST, holder=HASH)
    twin = mine.branch(3)
    mine.visit(2_000)
    twin.visit(500, kind=HolderKind.GUEST, holder=HASH)
    await site.send(mine.frame())
    await site.send(twin.frame(4, 6))
    after = Gateway(mine.id, mine.catalog, epoch=9)
    carry(twin, after)
    await site.send(after.frame())
    waiting = [row[0] for row in site.rows("SELECT id FROM weighings WHERE pending")]
    async with site.engine.begin() as connection:
        assert await ledger.release(connection, waiting) == 1
    assert site.balance(b"guest:" + HASH, "holding") == 18_000
    assert (await claim(site, ANNA)).points == 18_000


async def test_who_has_nothing_pays_nothing_of_a_debt_yet(site: Site) -> None:
    weighing = site.gateway.visit()
    await site.send(site.gateway.frame())
    spend(site, 1, 12_000)
    void(site.gateway, weighing)
    site.gateway.visit(0)
    empty = site.gateway.visit(0)
    void(site.gateway, empty)
    await site.send(site.gateway.frame())
    assert (site.balance(PSEUDONYM), site.balance(PSEUDONYM, "receivable")) == (0, 12_000)
    site.gateway.visit(1_500)
    await site.send(site.gateway.frame())
    assert (site.balance(PSEUDONYM), site.balance(PSEUDONYM, "receivable")) == (6_000, 0)


async def test_a_transfer_that_the_balance_does_not_cover_moves_nothing(site: Site) -> None:
    site.gateway.visit()
    await site.send(site.gateway.frame())
    account = citizen_account(serial_of(1)[:8])
    async with await psycopg.AsyncConnection.connect(site.url) as connection:
        accounts = await lock_accounts(connection, [account])
        spent = NewTransfer(account, ISSUER, 12_001, TransferCode.CLAIM, UUID(int=5 << 64))
        with pytest.raises(LedgerError, match="does not cover") as caught:
            await post(connection, [spent], accounts)
        assert caught.value.code == "ledger.insufficient"
        await connection.rollback()
    assert site.balance(PSEUDONYM) == 12_000


def test_a_pseudonym_of_another_length_names_no_account() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        citizen_account(b"short")
