"""A gateway's TLS key as a test holds it, and connections with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.config import MqttSettings
from cloud.kit.broker_door import BrokerDoor, broker_context
from cloud.kit.clock import SystemClock, utc
from protocol.cose import parse
from protocol.documents import ConfigBody, Name, read_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cloud.kit.authority import Authority
    from cloud.kit.broker_door import BrokerContext
    from protocol.bundle import Access


@dataclass(frozen=True, slots=True)
class TlsKey:
    """A private key and a request for a certificate."""

    key: ec.EllipticCurvePrivateKey
    csr: bytes

    @classmethod
    def make(cls) -> TlsKey:
        return cls.asking(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def asking(cls, key: ec.EllipticCurvePrivateKey) -> TlsKey:
        """A request as a gateway makes it: without a name."""
        request = (
            x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        )
        return cls(key, request.public_bytes(Encoding.DER))

    def again(self) -> TlsKey:
        """The same key asks again: other bytes."""
        return self.asking(self.key)

    def is_of(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is for this key."""
        return x509.load_der_x509_certificate(certificate).public_key() == self.key.public_key()

    def context(self, root: bytes, chain: Sequence[bytes]) -> BrokerContext:
        """A TLS context with this key; certificates in DER."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return broker_context(pem_of(root), pem, b"".join(map(pem_of, chain)))

    def client(self, access: Access, chain: Sequence[bytes], port: int, **options: Any) -> aiomqtt.Client:
        """A connection to the broker on this machine that a claim's answer lets us know."""
        assert access.mqtt is not None
        options.setdefault("identifier", access.gateway)
        options.setdefault("timeout", 5)
        return aiomqtt.Client(
            "127.0.0.1",
            port,
            tls_context=self.context(access.mqtt.root_certificate, chain),
            **options,
        )


def now() -> datetime:
    """Now, as certificates want it."""
    return utc(SystemClock().wall_ms())


def door(authority: Authority, port: int) -> BrokerDoor:
    """The cloud's own door at a broker on this machine."""
    return BrokerDoor(MqttSettings("127.0.0.1", port), authority, now)


def certificates_of(config: bytes) -> list[bytes]:
    """The certificates in a config document (trusted bytes)."""
    return read_document(parse(config).payload, Name.CONFIG, config).body(ConfigBody).certificates


def config_of(access: Access) -> bytes:
    """The config document of a claim's answer."""
    for data in access.documents:
        payload = parse(data).payload
        if b"fconfig" in payload[:16]:
            return data
    raise AssertionError("no config document")


def pem_of(der: bytes) -> bytes:
    """A certificate as OpenSSL wants to load it."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
