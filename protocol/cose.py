"""COSE_Sign1 (RFC 9052) with Ed25519 over cbor2, no more of COSE than we use.

Owns: the envelope of everything signed. The purpose of an envelope is its external AAD, so that
an ack can never be replayed as a document, or a card as a frame. Does not own: what is inside.

An envelope has one encoding only, byte for byte:

    d2 84                      tag 18, array of 4
      4d a2 01 27 04 48 kid₈   protected: {1: -8 (EdDSA), 4: key id of 8 bytes}
      a0                       unprotected: {}
      bstr                     payload, length in its shortest form
      58 40 signature₆₄

so bytes nobody signed never reach a general decoder, and nobody on the way can give signed content
another digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from protocol.cbor import byte_string_head
from protocol.errors import EnvelopeError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable

_COSE_SIGN1_TAG = 18
_ALGORITHM = 1  # header label, RFC 9052 §3.1
_KEY_ID = 4
_EDDSA = -8  # RFC 9053 §2.2
KEY_ID_LENGTH = 8
PUBLIC_KEY_LENGTH = 32
_SIGNATURE_LENGTH = 64
_HEAD = bytes.fromhex("d2844d")
_PROTECTED_HEAD = bytes.fromhex("a201270448")
_PROTECTED_LENGTH = len(_PROTECTED_HEAD) + KEY_ID_LENGTH
_UNPROTECTED = bytes.fromhex("a0")
_SIGNATURE_HEAD = bytes.fromhex("5840")
_TAIL_LENGTH = len(_SIGNATURE_HEAD) + _SIGNATURE_LENGTH


class Purpose(Enum):
    """What an envelope is for; bound into its signature as external AAD."""

    FRAME = b"reloop/frame/1"
    ACK = b"reloop/ack/1"
    DOCUMENT = b"reloop/document/1"
    KEYS = b"reloop/keys/1"
    CARD = b"reloop/card/1"
    ENROLMENT = b"reloop/enrolment/1"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed, not yet verified COSE_Sign1 message."""

    protected: bytes
    key_id: bytes
    payload: bytes
    signature: bytes


class SigningKey:
    """An Ed25519 private key and its key id (first 8 bytes of SHA-256 of the public key)."""

    __slots__ = ("_private", "key_id", "public")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id_of(self.public)

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """`seed`: 32 secret bytes. Raises ValueError if the length differs."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for keeping in a file only its owner may read."""
        return self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        """Return a COSE_Sign1 envelope, CBOR-encoded with tag 18."""
        protected = cbor2.dumps({_ALGORITHM: _EDDSA, _KEY_ID: self.key_id})
        signature = self._private.sign(_to_be_signed(protected, purpose, payload))
        return cbor2.dumps(cbor2.CBORTag(_COSE_SIGN1_TAG, [protected, {}, payload, signature]))


def key_id_of(public_key: bytes) -> bytes:
    """8 bytes naming a raw Ed25519 public key of 32 bytes."""
    if len(public_key) != PUBLIC_KEY_LENGTH:
        raise EnvelopeError(f"a public key has {PUBLIC_KEY_LENGTH} bytes, this has {len(public_key)}")
    return hashlib.sha256(public_key).digest()[:KEY_ID_LENGTH]


def parse(data: bytes) -> Envelope:
    """Take an envelope apart without trusting it. Raises EnvelopeError on anything unexpected."""
    protected = data[len(_HEAD) : len(_HEAD) + _PROTECTED_LENGTH]
    start = len(_HEAD) + _PROTECTED_LENGTH + len(_UNPROTECTED)
    if not data.startswith(_HEAD + _PROTECTED_HEAD) or data[start - 1 : start] != _UNPROTECTED:
        raise EnvelopeError("not a COSE_Sign1 envelope (CBOR tag 18) signed with EdDSA under a key id")
    end = len(data) - _TAIL_LENGTH
    if data[max(end, 0) : end + len(_SIGNATURE_HEAD)] != _SIGNATURE_HEAD:
        raise EnvelopeError("the envelope does not end in a signature of 64 bytes")
    payload = _payload(data[start:end])
    return Envelope(protected, protected[len(_PROTECTED_HEAD) :], payload, data[-_SIGNATURE_LENGTH:])


def verify(envelope: Envelope, purpose: Purpose, public_key: bytes) -> bytes:
    """Return the payload if the signature is good for this purpose and key, else raise SignatureError."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(envelope.signature, _to_be_signed(envelope.protected, purpose, envelope.payload))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(
            f"the signature under key {envelope.key_id.hex()} does not verify as {purpose.name.lower()}"
        ) from error
    return envelope.payload


def open_envelope(data: bytes, purpose: Purpose, key_for: Callable[[bytes], bytes | None]) -> bytes:
    """Parse, find the key by its id, verify, return the payload.

    `key_for` maps an 8-byte key id to a 32-byte public key, or None if unknown or no longer valid.
    Raises EnvelopeError (malformed), SignatureError (unknown key or bad signature).
    """
    envelope = parse(data)
    public_key = key_for(envelope.key_id)
    if public_key is None:
        raise SignatureError(f"no valid key {envelope.key_id.hex()} is known", code="envelope.unknown_key")
    return verify(envelope, purpose, public_key)


def _payload(encoded: bytes) -> bytes:
    for head_length in (1, 2, 3, 5):
        payload = encoded[head_length:]
        if encoded[:head_length] == byte_string_head(len(payload)):
            return payload
    raise EnvelopeError("the envelope's payload is not one byte string that fills it")


def _to_be_signed(protected: bytes, purpose: Purpose, payload: bytes) -> bytes:
    return cbor2.dumps(["Signature1", protected, purpose.value, payload])
