"""Whatever is wrong with what arrives has a name, is seen by the operator, and stops nothing behind it."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
from typing import TYPE_CHECKING
from uuid import UUID

import cbor2
import pytest

from cloud.ingest.decide import decide
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.clock import SystemClock
from cloud.ledger import service as ledger
from protocol.acks import Verdict
from protocol.bodies import (
    DepositClosed,
    DepositOpened,
    HolderKind,
    Outcome,
    PickupClosed,
    PickupOpened,
    WeighingVoided,
)
from protocol.codes import gateway_code_secret, new_gateway_code
from protocol.cose import SigningKey
from protocol.documents import CloudKey, KeysBody, KeyUse, Name, build_document, document_digest
from protocol.enrolment import build_enrolment
from tests.cloud.ingest.gateway import Gateway, add_catalog, add_gateway, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence, Set

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.ingest.effects import Effects
    from cloud.ingest.views import Opened, View
    from tests.cloud.ingest.conftest import Site


def refusals(site: Site) -> list[tuple[str, str, int]]:
    found = site.rows("SELECT gateway_id, code, count FROM refusals ORDER BY code")
    return [(row[0], row[1], row[2]) for row in found]


async def test_a_forged_frame_is_refused_and_seen(site: Site) -> None:
    site.gateway.visit()
    forger = SigningKey.from_seed(b"f" * 32)
    assert await site.refused(site.gateway.frame(key=forger)) == "envelope.unknown_key"
    assert refusals(site) == [("", "envelope.unknown_key", 1)]


@pytest.mark.parametrize("place", [0, 3, 40, 100, -1])
async def test_a_flipped_bit_is_refused_and_the_whole_frame_still_arrives(site: Site, place: int) -> None:
    site.gateway.visit()
    frame = bytearray(site.gateway.frame())
    frame[place] ^= 0x10
    code = await site.refused(bytes(frame))
    assert code in {"envelope.malformed", "envelope.signature", "envelope.unknown_key"}
    assert [row[1] for row in refusals(site)] == [code]
    assert (await site.send(site.gateway.frame())).through == 3


async def test_a_frame_signed_by_another_gateway_is_refused_under_the_signers_name(site: Site) -> None:
    neighbour = Gateway("ktm-drop-02", site.gateway.catalog)
    add_gateway(site.url, neighbour)
    site.gateway.visit()
    frame = site.gateway.frame(key=neighbour.key)
    assert await site.refused(frame) == "frame.wrong_gateway"
    assert refusals(site) == [("ktm-drop-02", "frame.wrong_gateway", 1)]
    assert await site.refused(site.gateway.frame(), hint="ktm-drop-02") == "frame.wrong_gateway"


async def test_refusals_are_counted_not_piled_up(site: Site) -> None:
    for _ in range(5):
        await site.refused(b"rubbish")
    assert [row[1:] for row in refusals(site)] == [("envelope.malformed", 5)]


async def test_an_oversized_frame_is_refused(site: Site) -> None:
    assert await site.refused(bytes(64 * 1024 + 1)) == "frame.too_large"


async def test_a_revoked_gateway_is_neither_credited_nor_acknowledged(site: Site) -> None:
    for _ in range(2):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 3))
    site.write("UPDATE gateways SET state = 'revoked', revoked_at = now()")
    assert await site.refused(site.gateway.frame(4, 6)) == "gateway.revoked"
    assert site.balance(PSEUDONYM) == 12_000
    assert refusals(site) == [("ktm-drop-01", "gateway.revoked", 1)]


async def test_a_forked_chain_is_closed_alarmed_and_both_sides_are_credited_when_released(site: Site) -> None:
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    twin.visit(500)
    await site.send(mine.frame())
    ack = await site.send(twin.frame(4, 6))
    assert ack.verdict is Verdict.FORKED
    assert site.rows("SELECT code, detail->>'through' FROM alarms") == [("epoch.forked", "6")]
    assert (await site.send(mine.frame(4, 6))).verdict is Verdict.FORKED
    after = Gateway(mine.id, mine.catalog, epoch=9)
    carry(twin, after)
    after.visit(100)
    assert (await site.send(after.frame())).verdict is Verdict.OK
    assert site.balance(PSEUDONYM) == 12_000 + 24_000 + 1_200, "the twin's weighing waits"
    waiting = site.rows("SELECT net_g, pending FROM weighings WHERE pending")
    assert waiting == [(500, True)]


@pytest.mark.parametrize("decision", [ledger.release, ledger.withdraw])
async def test_a_decision_on_a_fork_leaves_nothing_waiting_not_even_weighings_of_no_points(
    site: Site, decision: Callable[[AsyncConnection, Sequence[UUID]], Awaitable[int]]
) -> None:
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    twin.visit(500)
    twin.visit(0)
    await site.send(mine.frame())
    await site.send(twin.frame(4))
    after = Gateway(mine.id, mine.catalog, epoch=9)
    carry(twin, after, 4)
    await site.send(after.frame())
    async with site.engine.begin() as connection:
        (fork,) = await ledger.forks(connection)
        assert (fork.gateway, fork.epoch, fork.count, fork.points) == (mine.id, 7, 2, 6_000)
        assert await decision(connection, fork.weighings) == 1
        assert await ledger.forks(connection) == []
    assert site.balance(PSEUDONYM) == 36_000 + (6_000 if decision is ledger.release else 0)


async def test_a_void_on_one_side_of_a_fork_leaves_the_other_sides_weighing_alone(site: Site) -> None:
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    twin.append(WeighingVoided(4, twin.weigh(twin.open(), 500), ""))
    twin.append(WeighingVoided(1, 2, ""))  # of what both sides have in common
    await site.send(mine.frame())
    assert (await site.send(twin.frame(4, 7))).verdict is Verdict.FORKED
    after = Gateway(mine.id, mine.catalog, epoch=9)
    carry(twin, after, 4)
    await site.send(after.frame())
    voided = site.rows("SELECT seq, net_g FROM weighings WHERE voided_by IS NOT NULL ORDER BY seq")
    assert voided == [(2, 1_000), (5, 500)], "seq 5 of the other side stands"
    assert site.balance(PSEUDONYM) == 24_000


async def test_damaged_records_are_quarantined_and_the_ones_behind_credited(site: Site) -> None:
    gateway = site.gateway
    gateway.visit()
    gateway.append_bytes(b"\xff not a record")
    gateway.append_bytes(cbor2.dumps([99, 3, 3, 1, 5, 7, []]))
    gateway.append_bytes(bytes(9_000))
    deposit = gateway.append(DepositOpened(HolderKind.CARD, serial_of(1)), seq=70)
    gateway.visit()
    ack = await site.send(gateway.frame())
    codes = ["record.malformed", "record.unknown_kind", "record.too_large", "record.seq_mismatch"]
    assert [(each.seq, each.code) for each in ack.quarantined] == list(zip(range(4, 8), codes, strict=True))
    assert site.held() == list(zip(range(4, 8), codes, strict=True))
    assert deposit == 7
    assert ack.through == 10
    assert site.balance(PSEUDONYM) == 24_000


@pytest.mark.parametrize(
    ("weigh", "code"),
    [
        (lambda g, d: g.weigh(d, 1_000, points=12_001), "weighing.points_mismatch"),
        (lambda g, d: g.weigh(d, 1_000, rate=13_000, points=13_000), "weighing.points_mismatch"),
        (lambda g, d: g.weigh(d, 1_000, gross_g=1_400), "weighing.sum"),
        (lambda g, d: g.weigh(d, 1_000, "pet", holder=b"short"), "record.holder"),
    ],
    ids=["points", "rate", "sum", "holder"],
)
async def test_a_weighing_that_does_not_add_up_is_quarantined(
    site: Site, weigh: Callable[[Gateway, int], int], code: str
) -> None:
    deposit = site.gateway.open()
    seq = weigh(site.gateway, deposit)
    site.gateway.close(deposit)
    site.gateway.visit()
    ack = await site.send(site.gateway.frame())
    assert [(each.seq, each.code) for each in ack.quarantined] == [(seq, code)]
    assert site.held() == [(seq, code)]
    assert site.balance(PSEUDONYM) == 12_000


async def test_a_material_outside_its_catalogue_is_quarantined(site: Site) -> None:
    deposit = site.gateway.open()
    seq = site.gateway.weigh(deposit, 1_000, "gold", rate=9, points=9)
    await site.send(site.gateway.frame())
    assert site.held() == [(seq, "weighing.unknown_material")]


async def test_an_unknown_catalogue_waits_in_quarantine_until_it_is_known(site: Site) -> None:
    known = site.gateway.catalog
    site.gateway.catalog = hashlib.sha256(b"elsewhere").digest()
    site.gateway.visit()
    site.gateway.catalog = known
    site.gateway.visit()
    await site.send(site.gateway.frame())
    assert site.held() == [(2, "weighing.unknown_catalog")]
    assert site.balance(PSEUDONYM) == 12_000
    ids = [row[0] for row in site.rows("SELECT id FROM quarantine")]
    assert await site.ingest.retry(ids) == {ids[0]: "weighing.unknown_catalog"}
    site.write("UPDATE documents SET digest = %s", hashlib.sha256(b"elsewhere").digest())
    assert await site.ingest.retry(ids) == {ids[0]: None}
    assert await site.ingest.retry(ids) == {}
    assert site.balance(PSEUDONYM) == 24_000
    assert site.rows("SELECT state, decided_by FROM quarantine") == [("retried", "operator")]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_catalogue_signed_by_an_older_document_key_is_read_if_that_key_was_announced(
    site: Site, announced: bool
) -> None:
    """One that nobody can verify holds back its own weighings only."""
    old, root = site.keyring.document, site.keyring.root
    keyring = dataclasses.replace(site.keyring, document=SigningKey.from_seed(b"n" * 32))
    if announced:
        body = KeysBody([CloudKey(KeyUse.DOCUMENT, old.public, 0, 1)])
        data = build_document(Name.KEYS, 1, 1, 1, body, root)
        values = document_digest(data), data
        site.write("INSERT INTO documents VALUES ('keys', 1, 1, %s, %s, now())", *values)
    site.gateway.visit(300)
    site.gateway.catalog = add_catalog(site.url, keyring, 2)
    site.gateway.visit(1_000)
    async with Ingest(PostgresStorage(site.url), keyring, SystemClock(), secrets.token_bytes) as rotated:
        ack = site.ack(await rotated.submit(site.gateway.frame(), "https", None))
    assert ack.through == 6
    assert site.held() == ([] if announced else [(2, "weighing.unknown_catalog")])
    assert site.balance(PSEUDONYM) == (15_600 if announced else 12_000)


async def test_a_second_key_under_a_known_key_id_is_refused(site: Site) -> None:
    secret, taken = b"s" * 32, SigningKey.from_seed(b"t" * 32)
    site.write("UPDATE gateways SET code_hash = %s", secret)
    site.write("INSERT INTO gateway_keys VALUES (%s, %s, %s)", taken.key_id, site.gateway.id, b"o" * 32)
    assert await site.refused(build_enrolment(site.gateway.id, secret, taken)) == "enrolment.key_known"


async def test_a_retried_record_that_arrives_again_is_not_credited_again(site: Site) -> None:
    deposit = site.gateway.open()
    site.gateway.weigh(deposit, 700, "steel", rate=None, points=None)
    await site.send(site.gateway.frame())
    assert site.held() == [(2, "weighing.no_rate")]
    add_catalog(site.url, site.keyring, 2, {"steel": 1_000})
    ids = [row[0] for row in site.rows("SELECT id FROM quarantine")]
    assert await site.ingest.retry(ids) == {ids[0]: None}
    other = Gateway(site.gateway.id, site.gateway.catalog, epoch=8)
    carry(site.gateway, other)
    await site.send(other.frame())
    assert site.balance(PSEUDONYM) == 700
    assert site.held() == []


async def test_a_late_catalogue_is_flagged_and_never_repriced(site: Site) -> None:
    add_catalog(site.url, site.keyring, 2, {"pet": 99_000})
    site.gateway.visit()
    await site.send(site.gateway.frame())
    assert site.rows("SELECT late_catalog, points FROM weighings") == [(True, 12_000)]
    assert site.balance(PSEUDONYM) == 12_000


async def test_points_that_follow_are_priced_at_the_rate_of_the_weighing_and_marked(site: Site) -> None:
    add_catalog(site.url, site.keyring, 2, {"pet": 20_000})
    site.write("UPDATE rates SET valid_from = '2026-05-29T00:00:00Z' WHERE version = 2")
    deposit = site.gateway.open()
    site.gateway.weigh(deposit, 1_500, rate=None, points=None)
    await site.send(site.gateway.frame())
    ((points, shown, rate),) = site.rows("SELECT points, points_shown, points_per_kg FROM weighings")
    assert (points, shown, rate) == (18_000, None, 12_000)


async def test_a_record_that_postgres_will_not_take_is_found_by_halving(site: Site) -> None:
    gateway, neighbour = site.gateway, Gateway("ktm-drop-02", site.gateway.catalog)
    add_gateway(site.url, neighbour)
    neighbour.visit(holder=serial_of(2))
    pickup = gateway.append(PickupOpened(serial_of(5)))
    for number in range(20):
        gateway.visit()
        if number in {3, 14}:
            gateway.append(PickupClosed(pickup, Outcome.COMPLETED, 2**40, 0))
    poisoned = [site.ingest.offer(frame, "mqtt", None) for frame in (gateway.frame(), neighbour.frame())]
    acks = [site.ack(await reply) for reply in poisoned if reply is not None]
    assert [ack.through for ack in acks] == [gateway.head, 3]
    assert [code for _, code in site.held()] == ["record.refused_by_store"] * 2
    assert [seq for seq, _ in site.held()] == [each.seq for each in acks[0].quarantined]
    assert (site.balance(PSEUDONYM), site.balance(serial_of(2)[:8])) == (240_000, 12_000)


async def test_a_record_whose_fault_quotes_what_no_column_holds_blocks_nothing_behind_it(site: Site) -> None:
    gateway = site.gateway
    ended = [1, "a\0b", 0, 0, 0]  # an outcome that does not exist: why it is refused names it
    gateway.append_bytes(cbor2.dumps([DepositClosed.code, 3, 3, 0, 1, 0, ended]))
    gateway.visit()
    assert (await site.send(gateway.frame())).through == 4
    assert site.held() == [(1, "record.malformed")]
    assert "a\\x00b" in site.one("SELECT message FROM quarantine")
    held = site.one("SELECT id FROM quarantine")
    assert await site.ingest.retry([held]) == {held: "record.malformed"}
    assert site.balance(PSEUDONYM) == 12_000


async def test_records_that_fit_only_one_by_one_block_nothing_and_lose_nothing(site: Site) -> None:
    """Together they would overflow a balance: one waits in quarantine until there is room again."""
    site.gateway.visit(holder=serial_of(2))
    site.gateway.visit()
    await site.send(site.gateway.frame())
    windfall, account = UUID(int=1), site.one("SELECT id FROM accounts WHERE key = %s", PSEUDONYM)
    amount = 2**63 - 1 - 12_000 - 15_000
    site.write(
        "INSERT INTO transfers (id, debit, credit, amount, code, state, source, created_at)"
        " VALUES (%s, account_id('issuer', 'points'), %s, %s, 5, 'posted', %s, now())",
        windfall, account, amount, windfall,
    )  # fmt: skip
    site.write("UPDATE accounts SET balance = balance + %s WHERE id = %s", amount, account)
    for net_g in (1_000, 1_001, 100):
        site.gateway.visit(net_g)
    assert (await site.send(site.gateway.frame())).through == site.gateway.head
    assert site.held() == [(11, "record.refused_by_store")]
    assert site.balance(PSEUDONYM) == 2**63 - 1 - 15_000 + 12_000 + 1_200
    site.write("UPDATE accounts SET balance = balance - %s WHERE id = %s", amount, account)
    site.write("ALTER TABLE transfers DISABLE TRIGGER transfers_immutable")
    site.write("DELETE FROM transfers WHERE id = %s", windfall)
    held = site.one("SELECT id FROM quarantine")
    assert await site.ingest.retry([held]) == {held: None}
    assert site.balance(PSEUDONYM) == 12_000 + 12_000 + 12_012 + 1_200


async def test_a_frame_that_trips_ingest_itself_does_not_drag_its_batch_along(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = Gateway("ktm-drop-02", site.gateway.catalog)
    add_gateway(site.url, neighbour)
    real = decide

    def tripping(frames: Sequence[Opened], view: View, suspects: Set[bytes]) -> Effects:
        if any(each.frame.gateway == neighbour.id for each in frames):
            raise RuntimeError("a bug of ours")
        return real(frames, view, suspects)

    monkeypatch.setattr("cloud.ingest.batches.decide", tripping)
    site.gateway.visit()
    neighbour.visit()
    offered = [site.ingest.offer(each.frame(), "mqtt", None) for each in (neighbour, site.gateway)]
    replies = [await reply for reply in offered if reply is not None]
    assert (replies[0].ack, replies[0].code) == (None, "ingest.failed")
    assert site.ack(replies[1]).through == 3


async def test_a_gateway_enrols_by_any_road_and_its_frames_are_taken(site: Site) -> None:
    code = new_gateway_code(lambda count: bytes(range(count)))
    secret = gateway_code_secret(code)
    new = Gateway("ktm-drop-09", site.gateway.catalog)
    add_gateway(site.url, new, enrolled=False)
    site.write("UPDATE gateways SET state = 'created', code_hash = %s WHERE id = %s", secret, new.id)
    new.visit()
    assert await site.refused(new.frame(), "mqtt", new.id) == "envelope.unknown_key"
    offer = build_enrolment(new.id, secret, new.key)
    for _ in range(2):
        reply = await site.ingest.submit(offer, "courier", new.id)
        assert (reply.ack, reply.code) == (None, None)
    assert (await site.send(new.frame(), "mqtt", new.id)).through == 3
    thief = build_enrolment(new.id, secret, SigningKey.from_seed(b"t" * 32))
    assert await site.refused(thief) == "enrolment.refused"
    assert site.rows("SELECT state FROM gateways WHERE id = %s", new.id) == [("claimed",)]


async def test_an_enrolment_under_a_wrong_code_is_refused(site: Site) -> None:
    new = Gateway("ktm-drop-09")
    add_gateway(site.url, new, enrolled=False)
    site.write("UPDATE gateways SET code_hash = %s WHERE id = %s", b"s" * 32, new.id)
    assert await site.refused(build_enrolment(new.id, b"x" * 32, new.key)) == "enrolment.refused"
    assert refusals(site) == [("ktm-drop-09", "enrolment.refused", 1)]


async def test_retrying_what_is_not_held_does_nothing(site: Site) -> None:
    assert await site.ingest.retry([UUID(int=1)]) == {}


async def test_records_of_unknown_kind_are_tried_again_at_every_start(site: Site) -> None:
    deposit = site.gateway.open()
    site.gateway.weigh(deposit, 700, "steel", rate=None, points=None)
    site.gateway.append_bytes(cbor2.dumps([99, 3, 3, 1, 3, 7, []]))
    await site.send(site.gateway.frame())
    # As if this version were the first to know the weighing's kind.
    site.write("UPDATE quarantine SET code = 'record.unknown_kind'")
    add_catalog(site.url, site.keyring, 2, {"steel": 1_000})
    async with Ingest(PostgresStorage(site.url), site.keyring, SystemClock(), secrets.token_bytes) as started:
        site.gateway.visit()
        await started.submit(site.gateway.frame(), "https", None)
        async with asyncio.timeout(30):
            while site.balance(PSEUDONYM) != 12_700:
                await asyncio.sleep(0.01)
    assert site.held() == [(3, "record.unknown_kind")]
    assert site.rows("SELECT decided_by FROM quarantine WHERE state = 'retried'") == [("upgrade",)]
