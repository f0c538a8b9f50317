"""Enrolment: how the cloud learns a public key that was born on a gateway, over any road.

    envelope = COSE_Sign1(ENROLMENT by the new key, CBOR [v, gateway, public_key, proof, csr])
    proof    = HMAC-SHA256(secret of the one-time code, gateway ‖ 0x00 ‖ public_key)
    csr      = a PKCS #10 request in DER for the key with which the gateway speaks TLS, or empty

A claim over HTTPS and a courier file carry these same bytes. A gateway that is enrolled sends them again,
with any proof, to ask for a certificate of another TLS key: its signature is enough then.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

import msgspec

from protocol import VERSION
from protocol.cbor import Digest, convert, decode, encode, require_version
from protocol.cose import PUBLIC_KEY_LENGTH, Purpose, SigningKey, key_id_of, parse, verify
from protocol.errors import EnvelopeError, ProtocolError
from protocol.topics import TopicError, check_gateway_id

CSR_BYTES_MAX = 1024
ENROLMENT_BYTES_MAX = 2048


class EnrolmentError(ProtocolError):
    """An enrolment is malformed or its proof is wrong."""

    code = "enrolment.malformed"


class Enrolment(msgspec.Struct, array_like=True, frozen=True):
    """A gateway's id, its public key (32 bytes), the proof that it holds the one-time code, and for which
    TLS key it wants a certificate (DER; empty for none).
    """

    v: int
    gateway: str
    public_key: Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_LENGTH, max_length=PUBLIC_KEY_LENGTH)]
    proof: Digest
    csr: Annotated[bytes, msgspec.Meta(max_length=CSR_BYTES_MAX)] = b""


def build_enrolment(gateway: str, secret: bytes, key: SigningKey, csr: bytes = b"") -> bytes:
    """Signed enrolment of `key` for `gateway` under the one-time code's secret (32 bytes).

    `secret` may be empty once the cloud knows the key. Raises TopicError for a bad id.
    """
    proof = proof_of(gateway, key.public, secret)
    body = Enrolment(VERSION, check_gateway_id(gateway), key.public, proof, csr)
    return key.sign(Purpose.ENROLMENT, encode(body, "an enrolment", EnrolmentError))


def open_enrolment(data: bytes) -> Enrolment:
    """Read an enrolment that is signed by the very key it brings; the proof is for the cloud to check.

    Raises EnvelopeError, SignatureError or EnrolmentError.
    """
    if len(data) > ENROLMENT_BYTES_MAX:
        raise EnrolmentError("an enrolment is over its limit")
    envelope = parse(data)
    value = decode(envelope.payload, "an enrolment", EnrolmentError)
    require_version(value, VERSION, "an enrolment", EnrolmentError)
    body = convert(value, Enrolment, "an enrolment", EnrolmentError)
    try:
        check_gateway_id(body.gateway)
    except TopicError as error:
        raise EnrolmentError(f"an enrolment names no gateway: {error}") from error
    if key_id_of(body.public_key) != envelope.key_id:
        raise EnvelopeError("an enrolment is not signed by the key it brings")
    verify(envelope, Purpose.ENROLMENT, body.public_key)
    return body


def proof_of(gateway: str, public_key: bytes, secret: bytes) -> bytes:
    """The proof an enrolment must carry; compare with `hmac.compare_digest`."""
    return hmac.digest(secret, gateway.encode() + b"\0" + public_key, hashlib.sha256)
