"""Which certificate a gateway has: signed when its `config` document is made, for the key it asked for last.

Owns when one is signed, renewed and void. Does not own the document, nor how the broker is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from cloud.gateways import certificate_rows
from cloud.gateways.models import Certificate, Request
from cloud.kit.authority import GATEWAY_LIFE, key_digest, requested_key_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.gateways.models import Void
    from cloud.kit.authority import Authority

RENEW_BEFORE = GATEWAY_LIFE / 3
"""A gateway that is away for a month comes back to a certificate that is still good."""
RENEWED_MAX = 500
"""Of gateways in a round of renewals; the next ones are due 15 s later."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Signs and remembers."""

    now: Callable[[], datetime]
    authority: Authority

    async def ask(self, connection: AsyncConnection, gateway: str, csr: bytes) -> None:
        """Keep a request that came with a proof of the one-time code. Raises RequestRefusedError."""
        request = Request(csr, requested_key_digest(csr))
        await certificate_rows.ask(connection, gateway, request, self.now())

    async def chain(self, connection: AsyncConnection, gateway: str) -> list[bytes]:
        """What the gateway is to show the broker (DER, its own first); empty until it asked.

        The caller lets nobody else do this for the same gateway meanwhile.
        """
        request = await certificate_rows.request_of(connection, gateway)
        if request is None:
            return []
        until = self.now() + RENEW_BEFORE
        found = await certificate_rows.newest(connection, gateway, request.csr_key, until)
        if found is None:
            found = await self._sign(connection, gateway, request)
        return [found.certificate, self.authority.issuer.der]

    async def is_due(self, connection: AsyncConnection, gateway: str) -> bool:
        """Whether `chain` would sign a new one."""
        return bool(await certificate_rows.due(connection, self.now() + RENEW_BEFORE, 1, gateway))

    async def due(self, connection: AsyncConnection) -> list[str]:
        """Gateways for which `chain` would sign a new one."""
        return await certificate_rows.due(connection, self.now() + RENEW_BEFORE, RENEWED_MAX)

    async def void(self, connection: AsyncConnection) -> list[Void]:
        """What the broker must let in no more."""
        return await certificate_rows.void(connection, self.now())

    async def evicted(self, connection: AsyncConnection, serials: list[bytes]) -> None:
        """Of these the broker has no session any more."""
        await certificate_rows.evicted(connection, serials, self.now())

    async def remember(self, connection: AsyncConnection, gateway: str, certificate: bytes) -> None:
        """Know a certificate (DER) again that a restored database forgot: it may have to be revoked."""
        signed = x509.load_der_x509_certificate(certificate)
        digest = key_digest(signed.public_key())
        await certificate_rows.keep(connection, Certificate.of(gateway, digest, signed, self.now()))

    async def prune(self, connection: AsyncConnection) -> None:
        """Forget what is over."""
        await certificate_rows.prune(connection, self.now())

    async def _sign(self, connection: AsyncConnection, gateway: str, request: Request) -> Certificate:
        signed = self.authority.certify(request.csr, gateway, self.now())
        certificate = Certificate.of(gateway, request.csr_key, signed, self.now())
        await certificate_rows.void_others(connection, gateway, request.csr_key, self.now())
        await certificate_rows.keep(connection, certificate)
        return certificate
