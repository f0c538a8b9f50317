"""Certificates: asked for by a claim or an enrolment, carried by the config document, renewed, void."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from sqlalchemy import text

from cloud.cli.restored import recover
from cloud.composition import compose
from cloud.gateways.certificates import RENEW_BEFORE
from cloud.kit.authority import GATEWAY_LIFE
from cloud.kit.clock import SystemClock
from cloud.worker.housekeeping import Housekeeping
from protocol.bundle import read_access
from protocol.codes import gateway_code_secret
from protocol.cose import SigningKey
from protocol.enrolment import build_enrolment
from tests.cloud.api.conftest import Cloud, Site
from tests.cloud.tls import TlsKey, certificates_of, config_of, now

if TYPE_CHECKING:
    import httpx

NAME = "ktm-patan-01"
KEY = SigningKey.from_seed(b"k" * 32)


async def claim(cloud: Cloud, tls: TlsKey, code: str | None = None) -> list[bytes]:
    """Claim as a gateway does; the certificates in the answer."""
    body = {
        "code": code or await cloud.gateway(),
        "public_key": base64.b64encode(KEY.public).decode(),
        "csr": base64.b64encode(tls.csr).decode(),
    }
    answer = await cloud.anyone.post("/v1/gateways/claim", json=body)
    assert answer.status_code == 200, answer.text
    return certificates_of(config_of(read_access(answer.content)))


async def config(cloud: Cloud, name: str = NAME) -> list[bytes]:
    """The certificates in the config document as anybody can fetch it."""
    answer = await cloud.anyone.get(f"/v1/gateways/{name}/documents/config")
    return certificates_of(answer.content)


async def enrol(site: Site, tls: TlsKey | None, key: SigningKey | None = None) -> httpx.Response:
    """Send the enrolment again, as a gateway does that wants another certificate."""
    data = build_enrolment(NAME, b"", key or site.gateway.key, b"" if tls is None else tls.csr)
    return await site.cloud.anyone.post(f"/v1/gateways/{NAME}/enrolment", content=data)


async def void(cloud: Cloud) -> list[int]:
    """Serials that the broker must let in no more."""
    async with cloud.engine.begin() as connection:
        return [one.number for one in await cloud.services.certificates.void(connection)]


def serial(chain: list[bytes]) -> int:
    return x509.load_der_x509_certificate(chain[0]).serial_number


async def test_the_answer_to_a_claim_holds_a_certificate_for_the_gateways_key(cloud: Cloud) -> None:
    tls = TlsKey.make()
    chain = await claim(cloud, tls)
    leaf, issuer = map(x509.load_der_x509_certificate, chain)
    assert leaf.subject.rfc4514_string() == f"CN={NAME}"
    assert tls.is_of(chain[0])
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(cloud.authority.root.certificate)
    assert await config(cloud) == chain


async def test_an_enrolment_in_a_claim_brings_its_own_request(cloud: Cloud) -> None:
    code, tls = await cloud.gateway(), TlsKey.make()
    enrolment = build_enrolment(NAME, gateway_code_secret(code), KEY, tls.csr)
    body = {"code": code, "enrolment": base64.b64encode(enrolment).decode()}
    answer = await cloud.anyone.post("/v1/gateways/claim", json=body)
    chain = certificates_of(config_of(read_access(answer.content)))
    assert tls.is_of(chain[0])


async def test_a_claim_without_a_request_gets_no_certificate(cloud: Cloud) -> None:
    body = {"code": await cloud.gateway(), "public_key": base64.b64encode(KEY.public).decode()}
    answer = await cloud.anyone.post("/v1/gateways/claim", json=body)
    assert certificates_of(config_of(read_access(answer.content))) == []


async def test_a_request_that_cannot_be_used_is_refused_by_name(cloud: Cloud) -> None:
    body = {
        "code": await cloud.gateway(),
        "public_key": base64.b64encode(KEY.public).decode(),
        "csr": base64.b64encode(b"rubbish").decode(),
    }
    answer = await cloud.anyone.post("/v1/gateways/claim", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "certificate.request")


async def test_a_certificate_stays_while_it_is_good_and_the_same_key_asks(cloud: Cloud) -> None:
    tls, code = TlsKey.make(), await cloud.gateway()
    chain = await claim(cloud, tls, code)
    assert await claim(cloud, tls.again(), code) == chain
    assert await config(cloud) == chain
    assert await void(cloud) == []


async def test_a_first_enrolment_over_https_is_answered_by_the_next_document(site: Site) -> None:
    assert await config(site.cloud) == []
    tls = TlsKey.make()
    assert (await enrol(site, tls)).status_code == 200
    assert tls.is_of((await config(site.cloud))[0])


async def test_another_tls_key_replaces_the_first_whose_certificate_is_void(site: Site) -> None:
    first, second = TlsKey.make(), TlsKey.make()
    await enrol(site, first)
    before = await config(site.cloud)
    assert (await enrol(site, second)).status_code == 200
    after = await config(site.cloud)
    assert second.is_of(after[0])
    assert await void(site.cloud) == [serial(before)]


async def test_a_recorded_enrolment_does_not_bring_back_an_old_key(site: Site) -> None:
    """Whoever recorded one and sends it again would put the gateway off the broker for good."""
    first, second = TlsKey.make(), TlsKey.make()
    for tls in (first, second):
        await enrol(site, tls)
        await config(site.cloud)
    replayed = await enrol(site, first)
    assert (replayed.status_code, replayed.json()["code"]) == (422, "enrolment.old_request")
    assert second.is_of((await config(site.cloud))[0])


async def test_a_new_code_lets_an_old_tls_key_come_back(site: Site) -> None:
    first, second = TlsKey.make(), TlsKey.make()
    for tls in (first, second):
        await enrol(site, tls)
        await config(site.cloud)
    code = (await site.cloud.operator.post(f"/v1/gateways/{NAME}/codes")).json()["code"]
    chain = await claim(site.cloud, first, code)
    assert first.is_of(chain[0])
    assert serial(chain) not in await void(site.cloud)


@pytest.mark.parametrize("state", ["a void key", "a stranger's key", "rubbish", "no request"])
async def test_what_may_not_ask_changes_nothing(site: Site, state: str) -> None:
    tls = TlsKey.make()
    await enrol(site, tls)
    chain = await config(site.cloud)
    other = TlsKey.make()
    expected: tuple[int, str | None]
    match state:
        case "a void key":
            async with site.cloud.engine.begin() as connection:
                await connection.execute(text("update gateway_keys set valid_to = now()"))
            answer, expected = await enrol(site, other), (422, "enrolment.refused")
        case "a stranger's key":
            stranger = SigningKey.from_seed(b"s" * 32)
            answer, expected = await enrol(site, other, stranger), (422, "enrolment.refused")
        case "rubbish":
            spoilt = TlsKey(other.key, b"rubbish")
            answer, expected = await enrol(site, spoilt), (422, "enrolment.request")
        case _:
            answer, expected = await enrol(site, None), (200, None)
    code = answer.json()["code"] if answer.status_code != 200 else None
    assert (answer.status_code, code) == expected
    assert await config(site.cloud) == chain


async def test_revoking_a_gateway_voids_every_certificate_it_has(cloud: Cloud) -> None:
    chain = await claim(cloud, TlsKey.make())
    assert await void(cloud) == []
    await cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    assert await void(cloud) == [serial(chain)]


async def test_one_that_is_signed_while_its_gateway_is_revoked_is_void_too(cloud: Cloud) -> None:
    chain = await claim(cloud, TlsKey.make())
    async with cloud.engine.begin() as connection:
        await connection.execute(text("update gateways set state = 'revoked', revoked_at = now()"))
    assert await void(cloud) == [serial(chain)]


async def test_housekeeping_renews_in_the_last_third_and_the_old_one_stays_good(cloud: Cloud) -> None:
    """A gateway that is away meanwhile comes back with what it has."""
    tls = TlsKey.make()
    chain = await claim(cloud, tls)
    await housekeeping(cloud, timedelta(0)).once()
    assert await config(cloud) == chain
    await housekeeping(cloud, GATEWAY_LIFE - RENEW_BEFORE + timedelta(minutes=1)).once()
    async with cloud.engine.begin() as connection:
        stored = await connection.execute(
            text("select data from documents where name = :shelf order by version desc limit 1"),
            {"shelf": f"config/{NAME}"},
        )
        renewed = certificates_of(bytes(stored.scalar_one()))
    assert tls.is_of(renewed[0])
    assert serial(renewed) != serial(chain)
    assert await void(cloud) == []


def housekeeping(cloud: Cloud, later: timedelta) -> Housekeeping:
    """Housekeeping as it will be."""
    clock = Later(later)
    services = compose(cloud.settings, cloud.keyring, cloud.authority, clock, secrets.token_bytes)
    return Housekeeping(cloud.engine, services.documents, services.certificates, services.alarms, None, clock)


class Later(SystemClock):
    """A clock that is ahead."""

    def __init__(self, by: timedelta) -> None:
        self._by_ms = by // timedelta(milliseconds=1)

    def wall_ms(self) -> int:
        return super().wall_ms() + self._by_ms


async def test_what_expired_is_forgotten_but_the_last_of_each_key(cloud: Cloud) -> None:
    """By it a recorded request is known as old."""
    await claim(cloud, TlsKey.make())
    await housekeeping(cloud, GATEWAY_LIFE - timedelta(days=1)).once()
    await housekeeping(cloud, GATEWAY_LIFE * 2).once()
    async with cloud.engine.begin() as connection:
        kept = await connection.execute(text("select not_after from gateway_certificates order by not_after"))
    assert [at - now() > GATEWAY_LIFE for (at,) in kept] == [True, True]


async def test_a_certificate_that_a_restored_cloud_forgot_can_still_be_revoked(cloud: Cloud) -> None:
    chain = await claim(cloud, TlsKey.make())
    await config(cloud)  # now it is on file
    async with cloud.engine.begin() as connection:  # a backup from before the claim
        await connection.execute(text("delete from gateway_certificates"))
        await connection.execute(text("delete from documents where name like 'config/%'"))
        await connection.execute(text("update gateways set csr = null, csr_key = null"))
        assert await recover(cloud.services, connection)
    assert await config(cloud) == [], "it is asked for again"
    await cloud.operator.post(f"/v1/gateways/{NAME}/revocation")
    assert await void(cloud) == [serial(chain)]
