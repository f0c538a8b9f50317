"""The TLS key is born once, stays, and nothing that happens to its file keeps a gateway from starting."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge.tlskey import keep_tls_key
from protocol.enrolment import CSR_BYTES_MAX
from tests.edge.sync.tls_broker import Papers

if TYPE_CHECKING:
    from pathlib import Path


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_key_is_kept_and_readable_by_the_agent_only(tmp_path: Path) -> None:
    born = keep_tls_key(tmp_path, secrets.token_bytes)
    assert keep_tls_key(tmp_path, secrets.token_bytes).pem == born.pem
    assert stat.S_IMODE((tmp_path / "gateway-tls.key").stat().st_mode) == 0o600
    assert born.kept


def test_a_request_names_nobody_is_signed_and_is_the_same_every_time(tmp_path: Path) -> None:
    key = keep_tls_key(tmp_path, secrets.token_bytes)
    request = x509.load_der_x509_csr(key.request())
    assert key.request() == keep_tls_key(tmp_path, secrets.token_bytes).request()
    assert request.is_signature_valid
    assert list(request.subject) == []
    assert request.public_key() == key.private.public_key()
    assert len(key.request()) <= CSR_BYTES_MAX


@pytest.mark.parametrize("number", [b"\0" * 40, b"\xff" * 40])
def test_whatever_the_random_bytes_are_it_is_a_key(tmp_path: Path, number: bytes) -> None:
    assert x509.load_der_x509_csr(keep_tls_key(tmp_path, lambda _: number).request()).is_signature_valid


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\0" * 300,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "zeros", "senseless", "another kind", "another curve"],
)
def test_a_damaged_key_is_replaced_by_a_new_one(tmp_path: Path, damaged: bytes) -> None:
    born = keep_tls_key(tmp_path, secrets.token_bytes)
    (tmp_path / "gateway-tls.key").write_bytes(damaged)
    fresh = keep_tls_key(tmp_path, secrets.token_bytes)
    assert fresh.request() != born.request()
    assert keep_tls_key(tmp_path, secrets.token_bytes).pem == fresh.pem


def test_a_disk_that_keeps_nothing_keeps_nobody_from_tls(tmp_path: Path) -> None:
    key = keep_tls_key(tmp_path / "absent", secrets.token_bytes)
    assert not key.kept
    assert x509.load_der_x509_csr(key.request()).is_signature_valid
    (tmp_path / "gateway-tls.key").mkdir()
    assert not keep_tls_key(tmp_path, secrets.token_bytes).kept
    assert os.listdir(tmp_path / "gateway-tls.key") == []


def test_a_certificate_fits_its_own_key_only(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers", "ktm-drop-01")
    (certificate, _) = map(x509.load_der_x509_certificate, papers.certificates())
    assert papers.key.fits(certificate)
    assert not keep_tls_key(tmp_path, secrets.token_bytes).fits(certificate)
