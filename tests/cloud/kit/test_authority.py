"""The certificate authority: its keys are private, its lists in order, its requests checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloud.errors import ConfigError
from cloud.kit.authority import GATEWAY_LIFE, REVOCATIONS_LIFE, Authority, RequestRefusedError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_create(tmp_path / "ca", NOW)


def csr(curve: ec.EllipticCurve | None = None, name: str = "anything") -> bytes:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def test_it_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = Authority.load_or_create(tmp_path / "ca", NOW)
    again = Authority.load_or_create(tmp_path / "ca", NOW)
    assert first.root.pem == again.root.pem
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()} == {0o600}


def test_an_exposed_or_damaged_key_is_refused(tmp_path: Path) -> None:
    Authority.load_or_create(tmp_path, NOW)
    (tmp_path / "root.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        Authority.load_or_create(tmp_path, NOW)
    (tmp_path / "root.pem").chmod(0o600)
    (tmp_path / "root.pem").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="is damaged"):
        Authority.load_or_create(tmp_path, NOW)


def test_a_certificate_names_the_gateway_whatever_the_request_says(authority: Authority) -> None:
    chain = authority.gateway_certificate(csr(name="cloud"), "ktm-patan-01", NOW)
    leaf, issuer = x509.load_pem_x509_certificates(chain)
    assert leaf.subject.rfc4514_string() == "CN=ktm-patan-01"
    assert leaf.not_valid_after_utc == NOW + GATEWAY_LIFE
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(authority.root.certificate)


@pytest.mark.parametrize("request_", [b"", b"rubbish", bytes(2000), csr(ec.SECP384R1())])
def test_a_request_that_cannot_be_used_is_refused(authority: Authority, request_: bytes) -> None:
    with pytest.raises(RequestRefusedError):
        authority.gateway_certificate(request_, "ktm-patan-01", NOW)


@pytest.mark.parametrize(
    ("whole", "strange"),
    [
        (b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x05"),
        (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x0f"),
        (b"\x02\x01\x00", b"\x02\x01\x04"),
    ],
    ids=["kind of key", "curve", "version"],
)
def test_a_request_of_a_kind_that_nobody_knows_stops_no_intake(
    authority: Authority, whole: bytes, strange: bytes
) -> None:
    good = csr(ec.SECP256R1())
    assert whole in good
    with pytest.raises(RequestRefusedError):
        authority.gateway_certificate(good.replace(whole, strange, 1), "ktm-patan-01", NOW)


def test_a_request_that_its_key_did_not_sign_is_refused(authority: Authority) -> None:
    spoilt = bytearray(csr())
    spoilt[-1] ^= 1
    with pytest.raises(RequestRefusedError):
        authority.gateway_certificate(bytes(spoilt), "ktm-patan-01", NOW)


def test_each_revocation_list_is_later_than_the_one_before_and_never_of_the_future(
    authority: Authority,
) -> None:
    made: datetime | None = None
    for serials in ([], [7], [7, 8]):
        void = dict.fromkeys(serials, NOW)
        revoked = x509.load_pem_x509_crl(authority.revocations(void, NOW, made))
        assert made is None or revoked.last_update_utc > made
        assert revoked.last_update_utc < NOW
        assert revoked.next_update_utc == NOW + REVOCATIONS_LIFE
        assert [each.serial_number for each in revoked] == serials
        made = revoked.last_update_utc


def test_what_lets_the_cloud_in_is_no_part_of_the_gateways_chain(authority: Authority) -> None:
    inside = authority.cloud_certificate("cloud", NOW).certificate
    inside.verify_directly_issued_by(authority.inside.certificate)
    assert authority.inside.pem not in authority.trusted_pem


def test_an_eviction_certificate_lives_for_minutes(authority: Authority) -> None:
    leaf = authority.eviction_certificate("ktm-patan-01", NOW).certificate
    assert leaf.not_valid_after_utc - NOW == timedelta(minutes=10)
