"""What a gateway is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway as the operator sees it. `birth` is what it last announced of itself.

    `acked` counts records committed, `backlog` is what it announced last; ages are in seconds.
    """

    id: str
    drop_point: str
    drop_point_name: str
    state: str
    created_at: datetime
    claimed_at: datetime | None
    revoked_at: datetime | None
    last_seen_at: datetime | None
    acked_at: datetime | None
    acked: int
    held: int
    open_alarms: int
    birth: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claimable:
    """What a claim needs to know of a gateway."""

    id: str
    state: str
    code_hash: bytes | None
    code_expires_at: datetime | None
    code_valid: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What a gateway asked a certificate for: `csr` (PKCS #10, DER) and the SHA-256 of its public key."""

    csr: bytes
    csr_key: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a gateway was given."""

    serial: bytes
    gateway: str
    key_digest: bytes
    certificate: bytes
    issued_at: datetime
    not_after: datetime

    @classmethod
    def of(cls, gateway: str, key_digest: bytes, signed: x509.Certificate, now: datetime) -> Certificate:
        """One that was signed just now."""
        der = signed.public_bytes(Encoding.DER)
        return cls(
            serial_bytes(signed.serial_number), gateway, key_digest, der, now, signed.not_valid_after_utc
        )


@dataclass(frozen=True, slots=True)
class Void:
    """A certificate that must not open the door any more. `evicted`: the broker has no session of it left."""

    serial: bytes
    gateway: str
    revoked_at: datetime
    evicted: bool

    @property
    def number(self) -> int:
        """The serial number."""
        return int.from_bytes(self.serial)


def serial_bytes(number: int) -> bytes:
    """A serial number as the database keeps it."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))
