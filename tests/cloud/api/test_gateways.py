"""Gateways: one-time codes, claims, bundles, revocation, and the documents they are given."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import text

from cloud.api.app import CLAIM_BURST
from cloud.kit.authority import SERVER_NAME
from protocol.bundle import check_access, read_access, read_bundle
from protocol.codes import gateway_code_secret
from protocol.cose import SigningKey
from protocol.documents import CatalogBody, ConfigBody, ManifestBody, document_digest
from protocol.enrolment import build_enrolment
from tests.cloud.api.test_citizens import offered

if TYPE_CHECKING:
    from tests.cloud.api.conftest import Cloud

NAME = "ktm-patan-01"


def new_key() -> SigningKey:
    return SigningKey.from_seed(secrets.token_bytes(32))


async def claim(cloud: Cloud, code: str, key: SigningKey) -> httpx.Response:
    """Claim as a gateway does: the code and the public key born on it."""
    body = {"code": code, "public_key": base64.b64encode(key.public).decode()}
    return await cloud.anyone.post("/v1/gateways/claim", json=body)


async def test_a_claim_gives_all_a_gateway_needs(cloud: Cloud) -> None:
    answer = await claim(cloud, await cloud.gateway(), new_key())
    access = read_access(answer.content)
    assert access.gateway == NAME
    assert access.root_public_key == cloud.keyring.root.public
    assert access.mqtt is not None
    assert (access.mqtt.host, access.mqtt.port, access.mqtt.server_name) == ("broker.test", 8883, SERVER_NAME)
    assert access.mqtt.root_certificate == cloud.authority.root.der
    named = {one.name: one for one in check_access(access)}
    assert list(named) == ["keys", "catalog", "revocations", "config", "manifest"]
    assert len(named["catalog"].body(CatalogBody).materials) == 8
    assert named["config"].body(ConfigBody) == ConfigBody("ktm-patan", "Patan", gateway=NAME)
    digests = {entry.name: entry.digest for entry in named["manifest"].body(ManifestBody).entries}
    assert digests == {name: one.digest for name, one in named.items() if name != "manifest"}
    assert cloud.told == 0, "the broker lets the new certificate in as it is"


async def test_a_drop_points_new_name_reaches_its_kiosks_in_a_new_config(cloud: Cloud) -> None:
    await cloud.gateway(NAME)
    await cloud.gateway("ktm-other-01", "ktm-other")
    before = {name: (await offered(cloud, name))["config"] for name in (NAME, "ktm-other-01")}
    answer = await cloud.operator.patch("/v1/drop-points/ktm-patan", json={"name": "North gate"})
    assert (answer.status_code, answer.json()["name"]) == (200, "North gate")
    config = (await offered(cloud, NAME))["config"]
    assert config.body(ConfigBody) == ConfigBody("ktm-patan", "North gate", gateway=NAME)
    assert config.supersedes(before[NAME])
    assert (await offered(cloud, "ktm-other-01"))["config"].data == before["ktm-other-01"].data
    nowhere = await cloud.operator.patch("/v1/drop-points/nowhere", json={"name": "x"})
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "drop_point.not_found")


async def test_two_gateways_of_a_site_get_their_configs_in_the_same_millisecond(cloud: Cloud) -> None:
    """Renaming a site failed at random: both configs were the same bytes, and those fit one shelf only."""
    await cloud.gateway(NAME)
    await cloud.gateway("ktm-patan-02")
    at = datetime.now(UTC)
    documents = replace(cloud.services.documents, now=lambda: at)
    async with cloud.engine.begin() as connection:
        first = await documents.publish_config(connection, NAME)
        second = await documents.publish_config(connection, "ktm-patan-02")
        kept = {
            name: (await documents.find(connection, name, "config")).data for name in (NAME, "ktm-patan-02")
        }
    assert first.digest != second.digest
    assert kept == {NAME: first.data, "ktm-patan-02": second.data}


async def test_the_key_is_enrolled_and_the_gateway_claimed(cloud: Cloud) -> None:
    key = new_key()
    await claim(cloud, await cloud.gateway(), key)
    async with cloud.engine.begin() as connection:
        rows = (await connection.execute(text("select key_id, public_key from gateway_keys"))).all()
    assert [(bytes(key_id), bytes(public)) for key_id, public in rows] == [(key.key_id, key.public)]
    shown = (await cloud.operator.get(f"/v1/gateways/{NAME}")).json()
    assert shown["state"] == "claimed"
    assert shown["silence_s"] is None


async def test_a_lost_answer_is_asked_for_again_with_the_same_key_only(cloud: Cloud) -> None:
    code, key = await cloud.gateway(), new_key()
    assert (await claim(cloud, code, key)).status_code == 200
    assert (await claim(cloud, code, key)).status_code == 200
    other = await claim(cloud, code, new_key())
    assert (other.status_code, other.json()["code"]) == (403, "claim.refused")


async def test_a_claim_by_enrolment_proves_the_code(cloud: Cloud) -> None:
    code, key = await cloud.gateway(), new_key()
    wrong = build_enrolment(NAME, secrets.token_bytes(32), key)
    body = {"code": code, "enrolment": base64.b64encode(wrong).decode()}
    refused = await cloud.anyone.post("/v1/gateways/claim", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "claim.refused")
    right = build_enrolment(NAME, gateway_code_secret(code), key)
    body["enrolment"] = base64.b64encode(right).decode()
    assert (await cloud.anyone.post("/v1/gateways/claim", json=body)).status_code == 200


async def test_codes_that_are_wrong_old_or_replaced_claim_nothing(cloud: Cloud) -> None:
    first = await cloud.gateway()
    second = (await cloud.operator.post(f"/v1/gateways/{NAME}/codes")).json()["code"]
    assert (await claim(cloud, first, new_key())).status_code == 403
    assert (await claim(cloud, "nonsense", new_key())).json()["code"] == "claim.refused"
    async with cloud.engine.begin() as connection:
        await connection.execute(text("update gateways set code_expires_at = now() - interval '1 second'"))
    assert (await claim(cloud, second, new_key())).status_code == 403


async def test_a_claim_needs_a_key_of_32_bytes(cloud: Cloud) -> None:
    code = await cloud.gateway()
    short = {"code": code, "public_key": base64.b64encode(b"x" * 31).decode()}
    answer = await cloud.anyone.post("/v1/gateways/claim", json=short)
    assert (answer.status_code, answer.json()["code"]) == (422, "enrolment.malformed")


async def test_guessing_codes_is_slowed_down(cloud: Cloud) -> None:
    answers = [await claim(cloud, "nonsense", new_key()) for _ in range(CLAIM_BURST + 2)]
    refused = answers[-1]
    assert [answer.status_code for answer in answers].count(403) == CLAIM_BURST
    assert (refused.status_code, refused.json()["code"]) == (429, "rate.limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert "r=0" in refused.headers["ratelimit"]


async def test_a_bundle_reads_back_and_replaces_earlier_codes(cloud: Cloud) -> None:
    code = await cloud.gateway()
    answer = await cloud.operator.post(f"/v1/gateways/{NAME}/bundle")
    bundle = read_bundle(answer.content)
    assert bundle.access.gateway == NAME
    assert bundle.secret == gateway_code_secret(bundle.code)
    assert cloud.keyring.root.seed not in answer.content
    assert (await claim(cloud, code, new_key())).status_code == 403
    assert (await claim(cloud, bundle.code, new_key())).status_code == 200


async def test_a_revoked_gateway_has_no_key_and_no_code(cloud: Cloud) -> None:
    code = await cloud.gateway()
    await claim(cloud, code, new_key())
    revoked = await cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    assert revoked.json()["state"] == "revoked"
    assert cloud.told == 1
    assert (await claim(cloud, code, new_key())).status_code == 403
    assert (await cloud.operator.post(f"/v1/gateways/{NAME}/codes")).json()["code"] == "gateway.revoked"
    async with cloud.engine.begin() as connection:
        valid = await connection.execute(text("select count(*) from gateway_keys where valid_to is null"))
    assert valid.scalar_one() == 0


async def test_a_revoked_gateway_is_told_to_close_and_a_reinstated_one_to_open(cloud: Cloud) -> None:
    code = await cloud.gateway()
    key = new_key()
    await claim(cloud, code, key)
    served = (await offered(cloud, NAME))["config"]
    await cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    closed = (await offered(cloud, NAME))["config"]
    assert (closed.body(ConfigBody).closed, closed.supersedes(served)) == (True, True)
    for _ in range(2):
        answer = await cloud.operator.delete(f"/v1/gateways/{NAME}/revocation")
        assert (answer.status_code, answer.json()["state"]) == (200, "claimed")
        assert answer.json()["revoked_at"] is None
    again = (await offered(cloud, NAME))["config"]
    assert (again.body(ConfigBody).closed, again.supersedes(closed)) == (False, True)
    async with cloud.engine.begin() as connection:
        valid = await connection.execute(text("select public_key from gateway_keys where valid_to is null"))
    assert [bytes(one) for one in valid.scalars()] == [key.public]


async def test_a_gateway_revoked_before_its_claim_can_be_claimed_once_it_is_reinstated(cloud: Cloud) -> None:
    code = await cloud.gateway()
    await cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    answer = await cloud.operator.delete(f"/v1/gateways/{NAME}/revocation")
    assert answer.json()["state"] == "created"
    assert (await claim(cloud, code, new_key())).status_code == 403, "its code stays void"
    code = (await cloud.operator.post(f"/v1/gateways/{NAME}/codes")).json()["code"]
    assert (await claim(cloud, code, new_key())).status_code == 200


async def test_gateways_are_listed_with_silence_and_backlog(cloud: Cloud) -> None:
    await cloud.gateway()
    async with cloud.engine.begin() as connection:
        birth = {"online": True, "gateway": NAME, "epoch": 1, "boot": 1, "head": 12, "acked": 5}
        await cloud.services.gateways.announced(connection, NAME, birth)
    (shown,) = (await cloud.operator.get("/v1/gateways")).json()["items"]
    assert shown["backlog"] == 7
    assert 0 <= shown["silence_s"] < 60
    assert shown["birth"] == birth
    figures = (await cloud.anyone.get("/metrics")).text
    assert f'gateway_backlog_records{{gateway="{NAME}"}}' not in figures  # not claimed yet
    assert 'gateways{state="created"} 1.0' in figures


async def test_documents_have_their_digest_as_tag(cloud: Cloud) -> None:
    await cloud.gateway()
    path = f"/v1/gateways/{NAME}/documents/catalog"
    first = await cloud.anyone.get(path)
    assert first.headers["content-type"] == "application/cose"
    assert first.headers["etag"] == f'"{document_digest(first.content).hex()}"'
    again = await cloud.anyone.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_new_rate_is_a_new_catalogue_and_the_old_one_is_kept(cloud: Cloud) -> None:
    await cloud.gateway()
    before = await offered(cloud)
    rate = await cloud.operator.post("/v1/materials/pet/rates", json={"points_per_kg": 33})
    assert (rate.status_code, rate.json()["version"]) == (201, 2)
    after = await offered(cloud)
    assert after["catalog"].supersedes(before["catalog"])
    assert after["manifest"].supersedes(before["manifest"])
    rates = {one.code: one.points_per_kg for one in after["catalog"].body(CatalogBody).materials}
    assert rates["pet"] == 33
    async with cloud.engine.begin() as connection:
        kept = await connection.execute(
            text("select data from documents where name = 'catalog' and digest = :digest"),
            {"digest": before["catalog"].digest},
        )
    assert bytes(kept.scalar_one()) == before["catalog"].data
    same = await cloud.operator.post("/v1/materials/pet/rates", json={"points_per_kg": 33})
    assert same.json()["version"] == 2
    assert (await offered(cloud))["catalog"].digest == after["catalog"].digest


async def test_a_restored_cloud_supersedes_what_it_forgot(cloud: Cloud) -> None:
    await cloud.gateway()
    for points in (31, 32, 33):
        await cloud.operator.post("/v1/materials/pet/rates", json={"points_per_kg": points})
    held = await offered(cloud)
    async with cloud.engine.begin() as connection:  # a backup from before the rates
        await connection.execute(text("delete from documents where name = 'catalog' and version > 1"))
        await connection.execute(text("delete from documents where name like 'manifest/%'"))
        generation = await cloud.services.documents.raise_generation(connection)
    restored = await offered(cloud)
    assert generation == 2
    for name in ("keys", "catalog", "revocations", "manifest"):
        assert restored[name].supersedes(held[name]), name


ERRORS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/v1/gateways/ktm-nowhere", None, 404, "gateway.not_found"),
    ("POST", "/v1/gateways/ktm-nowhere/codes", None, 404, "gateway.not_found"),
    ("POST", "/v1/gateways/ktm-nowhere/bundle", None, 404, "gateway.not_found"),
    ("POST", "/v1/gateways/ktm-nowhere/revocation", None, 404, "gateway.not_found"),
    ("DELETE", "/v1/gateways/ktm-nowhere/revocation", None, 404, "gateway.not_found"),
    ("GET", "/v1/gateways/ktm-nowhere/documents/keys", None, 404, "gateway.not_found"),
    ("GET", f"/v1/gateways/{NAME}/documents/recipes", None, 404, "document.not_found"),
    ("POST", "/v1/gateways", {"id": NAME, "drop_point": "ktm-patan"}, 409, "gateway.exists"),
    ("POST", "/v1/gateways", {"id": "ktm-patan-02", "drop_point": "nowhere"}, 404, "drop_point.not_found"),
    ("POST", "/v1/gateways", {"id": "X", "drop_point": "ktm-patan"}, 422, "request.invalid"),
    ("POST", "/v1/drop-points", {"code": "ktm-patan", "name": "x"}, 409, "drop_point.exists"),
    ("POST", "/v1/drop-points", {"code": "half", "name": "x", "latitude": 1.0}, 422, "request.invalid"),
    ("GET", "/v1/drop-points/nowhere", None, 404, "drop_point.not_found"),
    ("POST", f"/v1/gateways/{NAME}/frames", None, 503, "delivery.not_here"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), ERRORS)
async def test_errors_say_what_was_wrong(  # noqa: PLR0917
    cloud: Cloud, method: str, path: str, body: Any, status: int, code: str
) -> None:
    await cloud.gateway()
    answer = await cloud.operator.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
