"""What can be done with gateways. A private key never passes through here: it is born on the gateway."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cloud.gateways import repository
from cloud.gateways.errors import (
    ClaimRefusedError,
    GatewayExistsError,
    GatewayNotFoundError,
    GatewayStateError,
)
from protocol.bundle import Access, write_bundle
from protocol.codes import gateway_code_secret, new_gateway_code
from protocol.cose import PUBLIC_KEY_LENGTH, key_id_of
from protocol.enrolment import EnrolmentError, open_enrolment, proof_of
from protocol.errors import CodeError
from protocol.topics import check_gateway_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.gateways.certificates import Certificates
    from cloud.gateways.models import Claimable, Gateway
    from protocol.bundle import Broker
    from protocol.enrolment import Enrolment

CODE_LIFE = timedelta(days=7)
BUNDLE_LIFE = timedelta(days=400)
"""A bundle may travel to a site that meets a network only next season."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where gateways reach this cloud: over HTTPS, and at the broker (None without one)."""

    https_url: str
    mqtt: Broker | None


@dataclass(frozen=True, slots=True)
class Gateways:
    """Creates, claims, revokes and lists gateways.

    `random_bytes(n)` gives n secret bytes; `documents_for` gives the signed documents of a gateway, `keys`
    first; `publish_config` makes its config anew; `drop_point_id` finds a site by its code.
    """

    now: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    certificates: Certificates
    root_public_key: bytes
    endpoints: Endpoints
    documents_for: Callable[[AsyncConnection, str], Awaitable[list[bytes]]]
    publish_config: Callable[[AsyncConnection, str], Awaitable[object]]
    drop_point_id: Callable[[AsyncConnection, str], Awaitable[UUID]]

    async def create(
        self, connection: AsyncConnection, gateway: str, drop_point: str
    ) -> tuple[str, datetime]:
        """Create a gateway at a drop point; its one-time code and when that expires.

        Raises TopicError for a bad id, GatewayExistsError, or whatever finding the drop point raises.
        """
        check_gateway_id(gateway)
        site = await self.drop_point_id(connection, drop_point)
        if not await repository.insert(connection, gateway, site, self.now()):
            raise GatewayExistsError(f"there is a gateway {gateway!r} already; choose another id")
        return await self.new_code(connection, gateway)

    async def new_code(
        self, connection: AsyncConnection, gateway: str, life: timedelta = CODE_LIFE
    ) -> tuple[str, datetime]:
        """A one-time code for a gateway and when it expires; an older code is void from now on.

        A claimed gateway may get one too: its card died, and a new key takes over.
        """
        await self._live(connection, gateway)
        code, expires_at = new_gateway_code(self.random_bytes), self.now() + life
        await repository.set_code(connection, gateway, gateway_code_secret(code), expires_at)
        return code, expires_at

    async def claim(
        self,
        connection: AsyncConnection,
        code: str,
        public_key: bytes | None,
        csr: bytes | None,
        enrolment: bytes | None,
    ) -> Access:
        """Enrol the key under the code and give access. The same code and key may ask again.

        Raises ClaimRefusedError, EnrolmentError, EnvelopeError, GatewayStateError or RequestRefusedError.
        """
        secret = _secret(code)
        offer = None if enrolment is None else open_enrolment(enrolment)
        key = _offered_key(public_key, offer)
        gateway = await self._by_code(connection, secret, key)
        if offer is not None:
            _check_proof(offer, gateway.id, secret)
        if gateway.code_hash == secret:
            await self._enrol(connection, gateway.id, key, secret)
        if csr := csr if offer is None else offer.csr:
            await self.certificates.ask(connection, gateway.id, csr)
        return await self._access(connection, gateway.id)

    async def bundle(self, connection: AsyncConnection, gateway: str) -> bytes:
        """A bundle file for a site that has never been online; earlier codes become void."""
        code, _ = await self.new_code(connection, gateway, BUNDLE_LIFE)
        return write_bundle(code, await self._access(connection, gateway))

    async def revoke(self, connection: AsyncConnection, gateway: str) -> Gateway:
        """Void the gateway's keys, code and certificates. What it delivered stays credited.

        Its kiosk is told to take nothing in; what it holds waits there until it is reinstated.
        """
        claimable = await repository.lock_claimable(connection, gateway, self.now())
        if claimable is None:
            raise _unknown(gateway)
        if claimable.state != "revoked":
            await repository.revoke(connection, gateway, self.now())
            await self.publish_config(connection, gateway)
        return await self.find(connection, gateway)

    async def reinstate(self, connection: AsyncConnection, gateway: str) -> Gateway:
        """Take a revocation back: trust the keys that were valid then, and whatever they have signed since.

        A gateway that is not revoked stays as it is. Raises GatewayNotFoundError.
        """
        claimable = await repository.lock_claimable(connection, gateway, self.now())
        if claimable is None:
            raise _unknown(gateway)
        if claimable.state == "revoked":
            await repository.reinstate(connection, gateway)
            await self.publish_config(connection, gateway)
        return await self.find(connection, gateway)

    async def find(self, connection: AsyncConnection, gateway: str) -> Gateway:
        """One gateway. Raises GatewayNotFoundError."""
        found = await repository.find(connection, gateway)
        if found is None:
            raise _unknown(gateway)
        return found

    async def at_drop_point(self, connection: AsyncConnection, drop_point_id: UUID) -> list[Gateway]:
        """The gateways of a drop point that are not revoked."""
        return await repository.at_drop_point(connection, drop_point_id)

    async def page(self, connection: AsyncConnection, after: str, limit: int) -> list[Gateway]:
        """Gateways after id `after`, at most `limit + 1`."""
        return await repository.page(connection, after, limit + 1)

    async def announced(self, connection: AsyncConnection, gateway: str, birth: dict[str, Any]) -> None:
        """Keep what a gateway announced of itself."""
        await repository.announced(connection, gateway, birth, self.now())

    async def _by_code(self, connection: AsyncConnection, secret: bytes, key: bytes) -> Claimable:
        hashes = [secret, _used_hash(secret, key)]
        gateway = await repository.lock_by_code(connection, hashes, self.now())
        if gateway is None or gateway.state == "revoked" or not gateway.code_valid:
            raise ClaimRefusedError(
                "this code is unknown, used or expired; ask the operator for a new one"
                " (`reloop-cloud gateway create --new-code`)"
            )
        return gateway

    async def _enrol(self, connection: AsyncConnection, gateway: str, key: bytes, secret: bytes) -> None:
        key_id = key_id_of(key)
        known = await repository.has_key(connection, gateway, key_id, key)
        if not known and not await repository.enrol(connection, gateway, key_id, key, self.now()):
            raise GatewayStateError("this key is or was enrolled already; make a new one", code="key.known")
        await repository.use_code(connection, gateway, _used_hash(secret, key))

    async def _access(self, connection: AsyncConnection, gateway: str) -> Access:
        return Access(
            gateway,
            self.root_public_key,
            self.endpoints.https_url,
            self.endpoints.mqtt,
            await self.documents_for(connection, gateway),
        )

    async def _live(self, connection: AsyncConnection, gateway: str) -> None:
        claimable = await repository.lock_claimable(connection, gateway, self.now())
        if claimable is None:
            raise _unknown(gateway)
        if claimable.state == "revoked":
            raise GatewayStateError(
                f"gateway {gateway!r} is revoked; reinstate it, or create another", code="gateway.revoked"
            )


def _unknown(gateway: str) -> GatewayNotFoundError:
    return GatewayNotFoundError(f"there is no gateway {gateway!r}; list them with GET /v1/gateways")


def _secret(code: str) -> bytes:
    try:
        return gateway_code_secret(code)
    except CodeError as error:
        raise ClaimRefusedError(str(error)) from error


def _offered_key(public_key: bytes | None, offer: Enrolment | None) -> bytes:
    if offer is not None:
        return offer.public_key
    if public_key is None or len(public_key) != PUBLIC_KEY_LENGTH:
        raise EnrolmentError(f"a claim brings a public key of {PUBLIC_KEY_LENGTH} bytes or an enrolment")
    return public_key


def _check_proof(offer: Enrolment, gateway: str, secret: bytes) -> None:
    expected = proof_of(gateway, offer.public_key, secret)
    if offer.gateway != gateway or not hmac.compare_digest(offer.proof, expected):
        raise ClaimRefusedError("the enrolment is for another gateway or another code")


def _used_hash(secret: bytes, public_key: bytes) -> bytes:
    """What is kept of a code once it was used: only the same key can repeat the claim."""
    return hashlib.sha256(b"reloop/gateway-code-used/1" + secret + public_key).digest()
