"""Our own small certificate authority: whom the broker lets in, and by what gateways know the broker.

Owns its keys (beside the keyring, mode 0600), certificates and revocation lists. Does not own who may have
one, nor where the broker keeps its files. Every key is P-256, which each OpenSSL and TLS stack understands.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.errors import ConfigError, InvalidError
from protocol.enrolment import CSR_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

AUTHORITY_LIFE = timedelta(days=365 * 25)
GATEWAY_LIFE = timedelta(days=90)
SERVER_LIFE = timedelta(days=90)
REVOCATIONS_LIFE = timedelta(days=30)
"""A list past this locks everybody out: it is renewed daily."""
_BACKDATED = timedelta(hours=1)
"""What two clocks may differ; also room for revocation lists that must each be later than the one before."""
_SECOND = timedelta(seconds=1)
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library makes of a request: it has no error root."""
CANARY = "canary-in-the-mine"
CANARIES = 2**32
"""Serial numbers up to this are canaries' and stay on one list only; all others are random and far above."""
SERVER_NAME = "broker.reloop.internal"
"""What the broker's certificate says, wherever it stands: only this authority signs for it."""


class RequestRefusedError(InvalidError):
    """A certificate request cannot be used."""

    code = "certificate.request"


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key, for a file nobody else may read."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def name(self) -> str:
        """Whom the certificate names."""
        (name,) = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    @property
    def der(self) -> bytes:
        """The certificate, as it travels."""
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class Authority:
    """`root` is pinned by gateways; `issuer` signs for gateways and the broker; `inside` for the cloud alone.

    The cloud comes in by a door of its own: `inside` is no part of what gateways' certificates chain to.
    """

    root: Pair
    issuer: Pair
    inside: Pair

    @classmethod
    def load_or_create(cls, directory: Path, now: datetime) -> Authority:
        """Read `<directory>/{root,issuer,inside}.pem`, making what is missing. Raises ConfigError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = _load_or_create(directory / "root.pem", "ReLoop root", None, now)
        issuer = _load_or_create(directory / "issuer.pem", "ReLoop gateways", root, now)
        return cls(root, issuer, _load_or_create(directory / "inside.pem", "ReLoop cloud", None, now))

    @property
    def trusted_pem(self) -> bytes:
        """What the broker trusts gateways by: the chain above their certificates."""
        return self.issuer.pem + self.root.pem

    def certify(self, csr: bytes, gateway: str, now: datetime) -> x509.Certificate:
        """A gateway's certificate for the key of a request (DER). The request's own names are not looked at.

        Raises RequestRefusedError.
        """
        key = _requested_key(csr)
        builder = _builder(gateway, key, now - _BACKDATED, now + GATEWAY_LIFE)
        return self._signed(_for_use(builder, ExtendedKeyUsageOID.CLIENT_AUTH))

    def gateway_certificate(self, csr: bytes, gateway: str, now: datetime) -> bytes:
        """As `certify`, a chain in PEM."""
        return self.certify(csr, gateway, now).public_bytes(Encoding.PEM) + self.issuer.pem

    def server_certificate(self, now: datetime) -> tuple[bytes, bytes]:
        """A new key and its chain for the broker's listeners, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(SERVER_NAME, key.public_key(), now - _BACKDATED, now + SERVER_LIFE)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False
        )
        leaf = self._signed(_for_use(builder, ExtendedKeyUsageOID.SERVER_AUTH))
        chain = leaf.public_bytes(Encoding.PEM) + self.issuer.pem
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), chain

    def cloud_certificate(self, name: str, now: datetime) -> Pair:
        """A new key and certificate for one of the cloud's own connections."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _for_use(
            _builder(name, key.public_key(), now - _BACKDATED, now + SERVER_LIFE),
            ExtendedKeyUsageOID.CLIENT_AUTH,
        )
        builder = builder.issuer_name(self.inside.certificate.subject)
        return Pair(key, builder.sign(self.inside.key, hashes.SHA256()))

    def eviction_certificate(self, gateway: str, now: datetime) -> Pair:
        """For ten minutes, under a gateway's own name: whoever connects with it takes its session's place."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(gateway, key.public_key(), now - _BACKDATED, now + timedelta(minutes=10))
        return Pair(key, self._signed(_for_use(builder, ExtendedKeyUsageOID.CLIENT_AUTH)))

    def canary_certificate(self, now: datetime) -> Pair:
        """For ten minutes, to be revoked at once: a broker that refuses it has read the list with it."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = now + timedelta(minutes=10)
        builder = _builder(CANARY, key.public_key(), now - _BACKDATED, end, 1 + secrets.randbelow(CANARIES))
        return Pair(key, self._signed(_for_use(builder, ExtendedKeyUsageOID.CLIENT_AUTH)))

    def revocations(
        self, serials: Mapping[int, datetime], now: datetime, after: datetime | None = None
    ) -> bytes:
        """The list in PEM: since when each serial is void. `after` is when the list before it was made.

        OpenSSL keeps whichever it read first of two lists of the same second, so each is later than the last.
        """
        made = now - _BACKDATED
        if after is not None and made <= after:
            made = after + _SECOND
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer.certificate.subject)
            .last_update(made)
            .next_update(now + REVOCATIONS_LIFE)
        )
        for serial, since in sorted(serials.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        named = builder.issuer_name(self.issuer.certificate.subject)
        return named.sign(self.issuer.key, hashes.SHA256())


def requested_key_digest(csr: bytes) -> bytes:
    """SHA-256 of the public key that a request (DER) is for. Raises RequestRefusedError."""
    return key_digest(_requested_key(csr))


def key_digest(key: CertificatePublicKeyTypes) -> bytes:
    """SHA-256 of a public key as certificates and requests hold it."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    if len(csr) > CSR_BYTES_MAX:
        raise RequestRefusedError(f"a certificate request has at most {CSR_BYTES_MAX} bytes")
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        whole = request.is_signature_valid
    except _UNREADABLE as error:
        raise RequestRefusedError(f"the certificate request cannot be read: {error}") from error
    if not whole or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise RequestRefusedError("the certificate request is not signed by a P-256 key of its own")
    return key


def _builder(
    name: str, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime, serial: int | None = None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _for_use(builder: x509.CertificateBuilder, use: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    ).add_extension(x509.ExtendedKeyUsage([use]), critical=False)


def _load_or_create(path: Path, name: str, parent: Pair | None, now: datetime) -> Pair:
    if not path.exists():
        _create(path, name, parent, now)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}", code="keys.exposed")
    data = path.read_bytes()
    try:
        key = load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}); restore it from your backup", code="keys.damaged"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} holds no P-256 key; restore it from your backup", code="keys.damaged")
    return Pair(key, certificate)


def _create(path: Path, name: str, parent: Pair | None, now: datetime) -> None:
    """Write beside, then link in place: of two processes starting at once one pair wins, whole."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key.public_key(), now - timedelta(days=1), now + AUTHORITY_LIFE)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    depth = None if parent is None else 0
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
    builder = builder.add_extension(usage, critical=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = builder.issuer_name(subject if parent is None else parent.certificate.subject)
    pair = Pair(key, builder.sign(key if parent is None else parent.key, hashes.SHA256()))
    beside = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair.key_pem + pair.pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink()
