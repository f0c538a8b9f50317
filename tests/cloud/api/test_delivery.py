"""From a signed frame over HTTPS to a balance, a list and an export; and what is refused on the way."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from protocol.acks import open_ack
from protocol.bodies import (
    BinEstimated,
    BinScanned,
    CustodyHandedOver,
    HolderKind,
    Outcome,
    PickupClosed,
    PickupOpened,
)
from protocol.codes import claim_hash, new_claim_code
from protocol.cose import SigningKey
from protocol.records import record_id
from tests.cloud.api.qr_reader import decode, matrix_of_png

if TYPE_CHECKING:
    import httpx

    from tests.cloud.api.conftest import Cloud, Site


def acked_through(site: Site, answer: httpx.Response) -> int:
    """Verify an ack as the gateway does; the seq it covers."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/cose"
    key = site.cloud.keyring.ack
    ack = open_ack(answer.content, {key.key_id: key.public}.get)
    assert ack.head_digest == site.gateway.digest_at(ack.through)
    return ack.through


async def balance_of(cloud: Cloud, card: dict[str, Any]) -> dict[str, int]:
    """What the card's holder sees of their account."""
    async with cloud.client(card["token"]) as client:
        balance: dict[str, int] = (await client.get("/v1/me/balance")).json()
        return balance


async def test_a_delivered_weighing_is_on_the_balance_once(site: Site) -> None:
    card = await site.cloud.citizen()
    serial = bytes.fromhex(card["serial"])
    seq = site.visit(HolderKind.CARD, serial, 1_234)
    for _ in range(3):
        assert acked_through(site, await site.deliver()) == 3
    assert await balance_of(site.cloud, card) == {"points": 37, "due": 0, "pending": 0}
    (shown,) = (await site.cloud.operator.get("/v1/weighings")).json()["items"]
    assert shown["id"] == str(record_id(site.gateway.digest_at(seq)))
    assert (shown["net_g"], shown["points"], shown["points_per_kg"]) == (1_234, 37, 30)
    assert (shown["holder_kind"], shown["citizen"]) == ("card", card["serial"][:16])
    assert shown["drop_point"] == "ktm-patan"
    one = await site.cloud.operator.get(f"/v1/weighings/{shown['id']}")
    assert one.json() == shown


async def test_what_a_revoked_gateway_had_saved_is_credited_once_after_it_is_reinstated(site: Site) -> None:
    card = await site.cloud.citizen()
    serial, revocation = bytes.fromhex(card["serial"]), f"/v1/gateways/{site.gateway.id}/revocation"
    site.visit(HolderKind.CARD, serial, 1_000)
    acked_through(site, await site.deliver())
    await site.cloud.operator.post(revocation)
    site.visit(HolderKind.CARD, serial, 2_000)
    refused = await site.deliver()
    assert (refused.status_code, refused.json()["code"]) == (403, "gateway.revoked")
    assert (await balance_of(site.cloud, card))["points"] == 30
    await site.cloud.operator.delete(revocation)
    for _ in range(2):
        assert acked_through(site, await site.deliver()) == 6
    assert (await balance_of(site.cloud, card))["points"] == 90


async def test_the_statement_leads_to_the_weighings(site: Site) -> None:
    card = await site.cloud.citizen()
    for net_g in (1_000, 2_000, 3_000):
        site.visit(HolderKind.CARD, bytes.fromhex(card["serial"]), net_g)
    acked_through(site, await site.deliver())
    async with site.cloud.client(card["token"]) as client:
        first = (await client.get("/v1/me/statement", params={"limit": 2})).json()
        rest = await client.get("/v1/me/statement", params={"limit": 2, "cursor": first["next_cursor"]})
    lines = first["items"] + rest.json()["items"]
    assert {line["code"] for line in lines} == {"award"}
    assert sorted(line["amount"] for line in lines) == [30, 60, 90]
    assert lines[0]["balance"] == 180
    assert [line["balance"] - line["amount"] for line in lines] == [
        lines[1]["balance"],
        lines[2]["balance"],
        0,
    ]
    weighings = (await site.cloud.operator.get("/v1/weighings")).json()["items"]
    assert {line["source"] for line in lines} == {weighing["id"] for weighing in weighings}
    path = f"/v1/citizens/{card['citizen_id']}"
    assert (await site.cloud.operator.get(f"{path}/balance")).json()["points"] == 180
    assert len((await site.cloud.operator.get(f"{path}/statement")).json()["items"]) == 3


async def test_a_guests_deposit_is_claimed_once_for_ever(site: Site) -> None:
    first, second = await site.cloud.citizen(), await site.cloud.citizen()
    code = new_claim_code(secrets.token_bytes)
    async with site.cloud.client(first["token"]) as client:
        early = await client.post("/v1/claims", json={"code": code})
        assert (early.status_code, early.json()["code"]) == (404, "claim.unknown")
        site.visit(HolderKind.GUEST, claim_hash(code), 2_000)
        acked_through(site, await site.deliver())
        claimed = await client.post("/v1/claims", json={"code": code.lower()})
        assert (claimed.status_code, claimed.json()["points"]) == (200, 60)
        again = await client.post("/v1/claims", json={"code": code})
        assert (again.status_code, again.json()["points"]) == (200, 0)
        typo = await client.post("/v1/claims", json={"code": "nonsense"})
        assert (typo.status_code, typo.json()["code"]) == (422, "code.malformed")
    async with site.cloud.client(second["token"]) as client:
        taken = await client.post("/v1/claims", json={"code": code})
        assert (taken.status_code, taken.json()["code"]) == (409, "claim.taken")
    assert (await balance_of(site.cloud, first))["points"] == 60
    assert (await balance_of(site.cloud, second))["points"] == 0
    verified = (await site.cloud.operator.get("/v1/ledger/verification")).json()
    assert verified["ok"], verified


async def test_guessing_claim_codes_is_slowed_down(cloud: Cloud) -> None:
    card = await cloud.citizen()
    async with cloud.client(card["token"]) as client:
        codes = [new_claim_code(secrets.token_bytes) for _ in range(11)]
        answers = [await client.post("/v1/claims", json={"code": code}) for code in codes]
    assert [answer.status_code for answer in answers] == [404] * 10 + [429]


async def test_the_export_holds_every_weighing_in_order(site: Site) -> None:
    card = await site.cloud.citizen()
    serial = bytes.fromhex(card["serial"])
    seqs = [site.visit(HolderKind.CARD, serial, 100 * number) for number in range(1, 21)]
    acked_through(site, await site.deliver())
    answer = await site.cloud.operator.get("/v1/exports/weighings")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == seqs
    assert {line["epoch"] for line in lines} == {site.gateway.epoch}
    wanted = {"id", "gateway", "epoch", "seq", "kind", "net_g", "material", "citizen", "holder", "points"}
    assert wanted | {"recorded_at"} <= lines[0].keys()
    other = await site.cloud.operator.get("/v1/exports/weighings", params={"gateway": "ktm-other-01"})
    assert other.text == ""


async def test_a_forged_frame_is_refused_and_visible_and_credits_nothing(site: Site) -> None:
    site.visit(HolderKind.CARD, bytes(9))
    stranger = SigningKey.from_seed(secrets.token_bytes(32))
    forged = site.gateway.frame(key=stranger)
    answer = await site.cloud.anyone.post(f"/v1/gateways/{site.gateway.id}/frames", content=forged)
    assert answer.status_code == 403
    assert answer.json()["code"] == "envelope.unknown_key"
    rubbish = await site.cloud.anyone.post(f"/v1/gateways/{site.gateway.id}/frames", content=b"rubbish")
    assert (rubbish.status_code, rubbish.json()["code"]) == (422, "envelope.malformed")
    large = await site.cloud.anyone.post(f"/v1/gateways/{site.gateway.id}/frames", content=b"x" * 70_000)
    assert (large.status_code, large.json()["code"]) == (413, "request.too_large")
    assert (await site.cloud.operator.get("/v1/weighings")).json()["items"] == []
    refused = (await site.cloud.operator.get("/v1/refusals")).json()["items"]
    assert {one["code"] for one in refused} == {"envelope.unknown_key", "envelope.malformed"}
    assert {one["road"] for one in refused} == {"https"}


async def test_a_revoked_gateway_is_neither_credited_nor_acked(site: Site) -> None:
    card = await site.cloud.citizen()
    site.visit(HolderKind.CARD, bytes.fromhex(card["serial"]))
    acked_through(site, await site.deliver())
    await site.cloud.operator.post(f"/v1/gateways/{site.gateway.id}/revocation")
    site.visit(HolderKind.CARD, bytes.fromhex(card["serial"]))
    refused = await site.deliver(4)
    assert refused.status_code == 403
    assert len((await site.cloud.operator.get("/v1/weighings")).json()["items"]) == 1
    assert (await balance_of(site.cloud, card))["points"] == 37


async def test_a_poison_record_waits_in_quarantine_and_blocks_nobody(site: Site) -> None:
    card = await site.cloud.citizen()
    serial = bytes.fromhex(card["serial"])
    deposit = site.gateway.open(HolderKind.CARD, serial)
    poison = site.gateway.weigh(deposit, 1_000, "pet", HolderKind.CARD, serial, rate=30, points=31)
    site.visit(HolderKind.CARD, serial, 2_000)
    acked_through(site, await site.deliver())
    (held,) = (await site.cloud.operator.get("/v1/quarantine")).json()["items"]
    assert (held["seq"], held["code"]) == (poison, "weighing.points_mismatch")
    assert bytes.fromhex(held["data"]) == site.gateway.records[poison - 1]
    assert (await balance_of(site.cloud, card))["points"] == 60
    path = f"/v1/quarantine/{held['id']}"
    retried = await site.cloud.operator.post(f"{path}/retry")
    assert retried.json()["applied"] is False
    assert retried.json()["still_held_for"] == "weighing.points_mismatch"
    short = await site.cloud.operator.post(f"{path}/rejection", json={"reason": ""})
    assert short.status_code == 422
    rejected = await site.cloud.operator.post(f"{path}/rejection", json={"reason": "kiosk test"})
    assert (rejected.json()["state"], rejected.json()["decided_by"]) == ("rejected", "operator:operator")
    again = await site.cloud.operator.post(f"{path}/rejection", json={"reason": "kiosk test"})
    assert (again.status_code, again.json()["code"]) == (409, "quarantine.decided")
    assert (await site.cloud.operator.get("/v1/quarantine")).json()["items"] == []
    assert (await site.cloud.operator.get(path)).json()["reason"] == "kiosk test"


async def test_who_holds_which_kilos_after_a_pickup(site: Site) -> None:
    cloud = site.cloud
    collector, steward = await cloud.citizen("Ram", "collector"), await cloud.citizen("Sita", "steward")
    one = {"code": "PATAN-PET-01", "drop_point": "ktm-patan", "material": "pet"}
    assert (await cloud.operator.post("/v1/bins", json=one)).status_code == 201
    taken = await cloud.operator.post("/v1/bins", json=one)
    assert (taken.status_code, taken.json()["code"]) == (409, "bin.exists")
    wrong = await cloud.operator.post("/v1/bins", json={**one, "code": "PATAN-X", "material": "gold"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bin.invalid")
    assert (await cloud.operator.get("/v1/bins/PATAN-PET-01")).json() == one

    giver, taker = bytes.fromhex(collector["serial"]), bytes.fromhex(steward["serial"])
    pickup = site.gateway.append(PickupOpened(giver))
    site.gateway.append(BinScanned(pickup, "PATAN-PET-01"))
    site.gateway.append(BinEstimated(pickup, "PATAN-PET-01", 7_000))
    site.gateway.append(CustodyHandedOver(pickup, giver, taker, 7_000))
    site.gateway.append(PickupClosed(pickup, Outcome.COMPLETED, 1, 7_000))
    acked_through(site, await site.deliver())

    (listed,) = (await cloud.operator.get("/v1/pickups")).json()["items"]
    detail = (await cloud.operator.get(f"/v1/pickups/{listed['id']}")).json()
    assert (detail["outcome"], detail["net_g"], detail["collector"]) == (
        "completed",
        7_000,
        collector["serial"],
    )
    (content,) = detail["contents"]
    assert (content["bin"], content["material"], content["estimated"]) == ("PATAN-PET-01", "pet", True)
    assert detail["movements"][-1]["taker"] == f"card:{steward['serial'][:16]}"
    held = {
        (row["party"], row["material"]): row["net_g"]
        for row in (await cloud.operator.get("/v1/custody")).json()["items"]
    }
    assert held[f"card:{steward['serial'][:16]}", "pet"] == 7_000
    label = await cloud.operator.get("/v1/bins/PATAN-PET-01/qr.png")
    assert decode(matrix_of_png(label.content, 8, 4)) == "RLB1:PATAN-PET-01"
    missing = await cloud.operator.get("/v1/bins/NO-BIN")
    assert (missing.status_code, missing.json()["code"]) == (404, "bin.not_found")


async def test_metrics_tell_silence_backlog_and_what_was_taken_in(site: Site) -> None:
    card = await site.cloud.citizen()
    await site.cloud.anyone.get("/metrics")  # what was there before this scrape is not counted
    site.visit(HolderKind.CARD, bytes.fromhex(card["serial"]))
    acked_through(site, await site.deliver())
    async with site.cloud.engine.begin() as connection:  # a scrape counts what is settled, 10 s old
        await connection.execute(text("update weighings set received_at = now() - interval '10 seconds'"))
    figures = (await site.cloud.anyone.get("/metrics")).text
    name = site.gateway.id
    assert f'gateway_acked_records{{gateway="{name}"}} 3.0' in figures
    assert f'gateway_ack_age_seconds{{gateway="{name}"}}' in figures
    assert f'gateway_silence_seconds{{gateway="{name}"}}' in figures
    assert 'ingest{figure="weighings"} 1.0' in figures
    assert "active_users_total 1.0" in figures
    assert 'waste_submissions_total{category="pet",region="ktm-patan"} 1.0' in figures


async def test_an_alarm_is_listed_until_it_is_resolved(site: Site) -> None:
    for _ in range(2):
        site.visit(HolderKind.CARD, bytes(9))
    fork = site.gateway.branch(3)
    fork.visit(500)
    acked_through(site, await site.deliver())
    await site.cloud.anyone.post(f"/v1/gateways/{site.gateway.id}/frames", content=fork.frame())
    (alarm,) = (await site.cloud.operator.get("/v1/alarms", params={"open": True})).json()["items"]
    assert (alarm["code"], alarm["gateway"]) == ("epoch.forked", site.gateway.id)
    resolved = await site.cloud.operator.post(f"/v1/alarms/{alarm['id']}/resolution")
    assert resolved.json()["resolved_at"] is not None
    assert (await site.cloud.operator.get("/v1/alarms", params={"open": True})).json()["items"] == []
    assert (await site.cloud.operator.get("/v1/gaps")).json()["items"] == []
