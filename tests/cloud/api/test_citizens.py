"""Citizens and cards: pseudonyms, QR codes that any gateway verifies offline, revocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.bundle import open_documents
from protocol.cards import Card, Role, check_card, open_card
from protocol.cose import key_id_of
from protocol.documents import KeysBody, KeyUse, RevocationsBody
from tests.cloud.api.qr_reader import decode, matrix_of_png, matrix_of_svg

if TYPE_CHECKING:
    from protocol.documents import Document
    from tests.cloud.api.conftest import Cloud

NOBODY = "00000000-0000-7000-8000-000000000000"


async def offered(cloud: Cloud, gateway: str = "ktm-patan-01") -> dict[str, Document]:
    """What the gateway gets, verified as it would, trusting the root key only."""
    names = ("keys", "catalog", "revocations", "config", "manifest")
    data = [(await cloud.anyone.get(f"/v1/gateways/{gateway}/documents/{name}")).content for name in names]
    return {one.name: one for one in open_documents(data, cloud.keyring.root.public)}


def read_card(text: str, keys: Document) -> Card:
    """Verify a card as a gateway does offline, with the announced card keys only."""
    card_keys = {
        key_id_of(key.public_key): key.public_key
        for key in keys.body(KeysBody).keys
        if key.use is KeyUse.CARD
    }
    return open_card(text, card_keys.get)


async def test_a_card_is_verified_offline_with_the_announced_keys(cloud: Cloud) -> None:
    await cloud.gateway()
    issued = await cloud.citizen("माया", "collector")
    card = read_card(issued["text"], (await offered(cloud))["keys"])
    assert card.alias == "माया"
    assert card.role is Role.COLLECTOR
    assert card.serial.hex() == issued["serial"]
    assert card.serial[-1] == 1
    assert check_card(card, None, lambda _: False) is card


@pytest.mark.parametrize("kind", ["png", "svg"])
async def test_the_printed_qr_holds_the_cards_text(cloud: Cloud, kind: str) -> None:
    issued = await cloud.citizen()
    answer = await cloud.operator.get(f"/v1/cards/{issued['serial']}/qr.{kind}")
    assert answer.status_code == 200
    if kind == "png":
        assert answer.headers["content-type"] == "image/png"
        cells = matrix_of_png(answer.content, 8, 4)
    else:
        assert answer.headers["content-type"].startswith("image/svg+xml")
        cells = matrix_of_svg(answer.text, 4)
    assert decode(cells) == issued["text"]


async def test_a_replaced_card_keeps_the_pseudonym_and_takes_the_next_number(cloud: Cloud) -> None:
    first = await cloud.citizen()
    path = f"/v1/citizens/{first['citizen_id']}/cards"
    second = (await cloud.operator.post(path, json={})).json()
    assert second["serial"][:16] == first["serial"][:16]
    assert second["serial"][16:] == "02"
    assert [card["serial"] for card in (await cloud.operator.get(path)).json()] == [
        second["serial"],
        first["serial"],
    ]


async def test_a_revoked_card_is_in_the_document_and_its_token_is_dead(cloud: Cloud) -> None:
    await cloud.gateway()
    kept, lost = await cloud.citizen("Kept"), await cloud.citizen("Lost")
    before = (await offered(cloud))["revocations"]
    assert before.body(RevocationsBody).serials == b""
    async with cloud.client(lost["token"]) as client:
        assert (await client.get("/v1/me")).status_code == 200
        revoked = await cloud.operator.post(f"/v1/cards/{lost['serial']}/revocation")
        assert revoked.json()["revoked_at"] is not None
        assert (await client.get("/v1/me")).status_code == 401
    after = (await offered(cloud))["revocations"]
    assert after.body(RevocationsBody).serials == bytes.fromhex(lost["serial"])
    assert after.supersedes(before)
    async with cloud.client(kept["token"]) as client:
        assert (await client.get("/v1/me")).json()["alias"] == "Kept"


async def test_revoking_twice_issues_one_document(cloud: Cloud) -> None:
    await cloud.gateway()
    card = await cloud.citizen()
    await cloud.operator.post(f"/v1/cards/{card['serial']}/revocation")
    once = (await offered(cloud))["revocations"]
    again = await cloud.operator.post(f"/v1/cards/{card['serial']}/revocation")
    assert again.status_code == 200
    assert (await offered(cloud))["revocations"].digest == once.digest


async def test_a_tag_has_one_owner(cloud: Cloud) -> None:
    first, second = await cloud.citizen(), await cloud.citizen()
    tag = {"raw": "010063E9AE"}
    mine = await cloud.operator.post(f"/v1/citizens/{first['citizen_id']}/tags", json=tag)
    assert mine.json() == {"raw": "010063e9ae", "citizen_id": first["citizen_id"]}
    taken = await cloud.operator.post(f"/v1/citizens/{second['citizen_id']}/tags", json=tag)
    assert taken.status_code == 409
    assert taken.json()["code"] == "tag.taken"


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", f"/v1/citizens/{NOBODY}", None, "citizen.not_found"),
        ("GET", f"/v1/citizens/{NOBODY}/cards", None, "citizen.not_found"),
        ("POST", f"/v1/citizens/{NOBODY}/cards", {}, "citizen.not_found"),
        ("POST", f"/v1/citizens/{NOBODY}/tags", {"raw": "0102"}, "citizen.not_found"),
        ("GET", "/v1/cards/000000000000000001", None, "card.not_found"),
        ("GET", "/v1/cards/000000000000000001/qr.svg", None, "card.not_found"),
        ("POST", "/v1/cards/000000000000000001/revocation", None, "card.not_found"),
    ],
)
async def test_what_does_not_exist_is_said(
    cloud: Cloud, method: str, path: str, body: object, code: str
) -> None:
    answer = await cloud.operator.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/citizens", {"alias": ""}),
        ("/v1/citizens", {"alias": "x" * 25}),
        (f"/v1/citizens/{NOBODY}/cards", {"role": "king"}),
        (f"/v1/citizens/{NOBODY}/cards", {"valid_days": 0}),
        (f"/v1/citizens/{NOBODY}/tags", {"raw": "xyz"}),
        ("/v1/cards/short/revocation", None),
    ],
)
async def test_bad_input_is_refused_before_anything_happens(cloud: Cloud, path: str, body: object) -> None:
    answer = await cloud.operator.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
