"""The key with which this gateway speaks TLS: born here, kept for life, it never leaves the data folder.

Owns the file `gateway-tls.key` and the requests for its certificate. Does not own certificates: those come
and go with the `config` document.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edge.files import write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FILE = "gateway-tls.key"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, 2.4.2)."""
_RANDOM_BYTES = 40
"""64 bits more than the key has, so that no key is likelier than another (FIPS 186-5, A.2.1)."""
_LOGGER = logging.getLogger("reloop.identity")


@dataclass(frozen=True, slots=True)
class TlsKey:
    """A P-256 key. `kept` is false if the disk took none: this one then ends with the process."""

    private: ec.EllipticCurvePrivateKey
    kept: bool = True

    @property
    def pem(self) -> bytes:
        """The private key, unencrypted."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def request(self) -> bytes:
        """A request for a certificate (PKCS #10, DER), the same bytes every time.

        It names nobody: the cloud knows whose it is by the signature that it travels under.
        """
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = builder.sign(self.private, hashes.SHA256(), ecdsa_deterministic=True)
        return request.public_bytes(Encoding.DER)

    def fits(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is for this key."""
        return certificate.public_key() == self.private.public_key()


def keep_tls_key(folder: Path, random_bytes: Callable[[int], bytes]) -> TlsKey:
    """The key in `folder`. One that is lost or damaged is replaced: the cloud certifies another on request.

    A disk that refuses keeps nobody from speaking TLS.
    """
    path = folder / _FILE
    try:
        if (held := _read(path)) is not None:
            return held
        fresh = _born(random_bytes)
        write_private(path, fresh.pem)
    except OSError as error:
        _LOGGER.warning("%s cannot be kept: %s; a new key is made at the next start", path, error)
        return TlsKey(_born(random_bytes).private, kept=False)
    return fresh


def _born(random_bytes: Callable[[int], bytes]) -> TlsKey:
    number = int.from_bytes(random_bytes(_RANDOM_BYTES)) % (_ORDER - 1) + 1
    return TlsKey(ec.derive_private_key(number, ec.SECP256R1()))


def _read(path: Path) -> TlsKey | None:
    """None if there is no usable key. Raises OSError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        _LOGGER.warning("%s is damaged; a new key is made, and a certificate for it is asked for", path)
        return None
    return TlsKey(key)
