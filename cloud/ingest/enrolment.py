"""Enrolment by any road: a gateway's new key becomes known if it proves that it holds the one-time code."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cloud.ingest.opening import Refusal
from protocol.cose import key_id_of
from protocol.enrolment import open_enrolment, proof_of
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    import psycopg

_LOCK = """
SELECT state, code_hash, coalesce(code_expires_at > now(), true) FROM gateways WHERE id = %s FOR UPDATE
"""
_KNOWN = "SELECT gateway_id, public_key FROM gateway_keys WHERE key_id = %s"
_ADD = "INSERT INTO gateway_keys (key_id, gateway_id, public_key) VALUES (%s, %s, %s)"
_USE = """
UPDATE gateways SET state = 'claimed', claimed_at = coalesce(claimed_at, now()), code_hash = %s WHERE id = %s
"""


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
    key_id = key_id_of(offer.public_key)
    gateway = await (await connection.execute(_LOCK, (offer.gateway,))).fetchone()
    known = await (await connection.execute(_KNOWN, (key_id,))).fetchone()
    if gateway is None or gateway[0] == "revoked":
        return Refusal("", "enrolment.refused", f"there is no gateway {offer.gateway} to enrol")
    if known is not None:
        same = (known[0], bytes(known[1])) == (offer.gateway, offer.public_key)
        return None if same else Refusal("", "enrolment.key_known", "this key id is another key's already")
    secret = bytes(gateway[1] or b"")
    proof = proof_of(offer.gateway, offer.public_key, secret)
    if not secret or not gateway[2] or not hmac.compare_digest(proof, offer.proof):
        detail = f"the one-time code of {offer.gateway} is used, expired or another"
        return Refusal(offer.gateway, "enrolment.refused", detail)
    await connection.execute(_ADD, (key_id, offer.gateway, offer.public_key))
    await connection.execute(_USE, (used_code_hash(secret, offer.public_key), offer.gateway))
    return None


def used_code_hash(secret: bytes, public_key: bytes) -> bytes:
    """What is kept of a code once it was used: only the same key can repeat a claim with it."""
    return hashlib.sha256(b"reloop/gateway-code-used/1" + secret + public_key).digest()
