"""Enrolment by any road: a gateway's new key becomes known if it proves that it holds the one-time code.

Keeps which TLS key it wants a certificate for. Does not sign one: that is done when its documents are made.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from cloud.ingest.opening import Refusal
from cloud.kit.authority import RequestRefusedError, requested_key_digest
from protocol.cose import key_id_of
from protocol.enrolment import open_enrolment, proof_of
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    import psycopg

    from protocol.enrolment import Enrolment

_LOCK = """
SELECT state, code_hash, coalesce(code_expires_at > now(), true), csr_key
  FROM gateways WHERE id = %s FOR UPDATE
"""
_KNOWN = "SELECT gateway_id, public_key, valid_to IS NULL FROM gateway_keys WHERE key_id = %s"
_ADD = "INSERT INTO gateway_keys (key_id, gateway_id, public_key) VALUES (%s, %s, %s)"
_USE = """
UPDATE gateways SET state = 'claimed', claimed_at = coalesce(claimed_at, now()), code_hash = %s WHERE id = %s
"""
_ASK = "UPDATE gateways SET csr = %s, csr_key = %s, csr_at = now() WHERE id = %s"
_ANSWERED = "SELECT FROM gateway_certificates WHERE gateway_id = %s AND key_digest = %s LIMIT 1"


async def enrol(connection: psycopg.AsyncConnection, data: bytes, expected: str | None) -> Refusal | None:
    """Add the key; None if it is enrolled now, or was before. The caller commits.

    `expected` is the gateway that the road says it is from.
    """
    try:
        offer = open_enrolment(data)
    except ProtocolError as error:
        return Refusal("", error.code, str(error))
    if expected not in {None, offer.gateway}:
        return Refusal("", "frame.wrong_gateway", f"enrolment of {offer.gateway} delivered as {expected}")
    gateway = await (await connection.execute(_LOCK, (offer.gateway,))).fetchone()
    if gateway is None or gateway[0] == "revoked":
        return Refusal("", "enrolment.refused", f"there is no gateway {offer.gateway} to enrol")
    try:
        asked = requested_key_digest(offer.csr) if offer.csr else gateway[3]
    except RequestRefusedError as error:
        return Refusal("", "enrolment.request", str(error))
    known = await (await connection.execute(_KNOWN, (key_id_of(offer.public_key),))).fetchone()
    refusal = (
        await _add_key(connection, offer, gateway)
        if known is None
        else await _check_again(connection, offer, known, asked, gateway[3])
    )
    if refusal is None and asked != gateway[3]:
        await connection.execute(_ASK, (offer.csr, asked, offer.gateway))
    return refusal


async def _add_key(
    connection: psycopg.AsyncConnection, offer: Enrolment, gateway: tuple[Any, ...]
) -> Refusal | None:
    secret = bytes(gateway[1] or b"")
    proof = proof_of(offer.gateway, offer.public_key, secret)
    if not secret or not gateway[2] or not hmac.compare_digest(proof, offer.proof):
        detail = f"the one-time code of {offer.gateway} is used, expired or another"
        return Refusal(offer.gateway, "enrolment.refused", detail)
    key_id = key_id_of(offer.public_key)
    await connection.execute(_ADD, (key_id, offer.gateway, offer.public_key))
    await connection.execute(_USE, (used_code_hash(secret, offer.public_key), offer.gateway))
    return None


async def _check_again(
    connection: psycopg.AsyncConnection,
    offer: Enrolment,
    known: tuple[Any, ...],
    asked: bytes | None,
    present: bytes | None,
) -> Refusal | None:
    """An enrolled key may ask for another TLS key; a recorded enrolment may not bring back an old one."""
    if (known[0], bytes(known[1])) != (offer.gateway, offer.public_key):
        return Refusal("", "enrolment.key_known", "this key id is another key's already")
    if asked == present:
        return None
    if not known[2]:
        return Refusal(offer.gateway, "enrolment.refused", "this key is void")
    found = await connection.execute(_ANSWERED, (offer.gateway, asked))
    if await found.fetchone() is None:
        return None
    detail = "this TLS key was replaced by another; make a new one, or claim anew with a one-time code"
    return Refusal(offer.gateway, "enrolment.old_request", detail)


def used_code_hash(secret: bytes, public_key: bytes) -> bytes:
    """What is kept of a code once it was used: only the same key can repeat a claim with it."""
    return hashlib.sha256(b"reloop/gateway-code-used/1" + secret + public_key).digest()
