"""Enrolment: how the cloud learns a public key that was born on a gateway, over any road.

    envelope = COSE_Sign1(ENROLMENT by the new key, CBOR [v, gateway, public_key, proof])
    proof    = HMAC-SHA256(secret of the one-time code, gateway ‖ 0x00 ‖ public_key)

A claim over HTTPS, a bundle's first MQTT frame and a courier file all carry these same bytes.
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

ENROLMENT_BYTES_MAX = 1024


class EnrolmentError(ProtocolError):
    """An enrolment is malformed or its proof is wrong."""

    code = "enrolment.malformed"


class Enrolment(msgspec.Struct, array_like=True, frozen=True):
    """A gateway's id, its new public key (32 bytes) and the proof that it holds the one-time code."""

    v: int
    gateway: str
    public_key: Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_LENGTH, max_length=PUBLIC_KEY_LENGTH)]
    proof: Digest


def build_enrolment(gateway: str, secret: bytes, key: SigningKey) -> bytes:
    """Signed enrolment of `key` for `gateway` under the one-time code's 32-byte secret."""
    body = Enrolment(VERSION, check_gateway_id(gateway), key.public, proof_of(gateway, key.public, secret))
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
