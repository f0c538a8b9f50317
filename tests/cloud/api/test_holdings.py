"""What was saved for somebody nobody knows yet is found by an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.bodies import HolderKind

if TYPE_CHECKING:
    from tests.cloud.api.conftest import Site

GUEST = b"g" * 16


async def test_points_of_a_card_revoked_in_mid_visit_are_found_and_given_to_their_citizen(site: Site) -> None:
    card = await site.cloud.citizen()
    serial, operator = bytes.fromhex(card["serial"]), site.cloud.operator
    site.visit(HolderKind.CARD, serial, 1_000)
    await site.deliver()
    assert (await operator.post(f"/v1/cards/{card['serial']}/revocation")).status_code == 200
    site.gateway.mono_ms += 10**12  # the visit goes on after it; the clock is right
    site.visit(HolderKind.CARD, serial, 2_000)
    site.visit(HolderKind.TAG, b"\1\0\x63\xe9\xae", 500)
    site.visit(HolderKind.GUEST, GUEST, 700)
    await site.deliver(4)
    found = (await operator.get("/v1/holdings")).json()["items"]
    assert sorted((one["kind"], one["holder"], one["points"], one["given_to"]) for one in found) == [
        ("card", card["serial"], 60, None), ("guest", GUEST.hex(), 21, None), ("tag", "010063e9ae", 15, None),
    ]  # fmt: skip
    (one,) = (await operator.get("/v1/holdings", params={"kind": "card"})).json()["items"]
    path = f"/v1/holdings/{one['account']}/release"
    moved = await operator.post(path, json={"citizen": card["citizen_id"]})
    assert moved.json() == {"points": 60}
    assert (await operator.get(f"/v1/citizens/{card['citizen_id']}/balance")).json()["points"] == 90
    assert (await operator.get("/v1/holdings", params={"kind": "card"})).json()["items"] == []


async def test_holdings_are_told_page_by_page(site: Site) -> None:
    for number in range(5):
        site.visit(HolderKind.GUEST, bytes((number,)) * 16)
    await site.deliver()
    told: list[str] = []
    cursor = None
    while len(told) < 9:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await site.cloud.operator.get("/v1/holdings", params=query)).json()
        told += [one["holder"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(told) == [(bytes((number,)) * 16).hex() for number in range(5)]
