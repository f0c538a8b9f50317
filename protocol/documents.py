"""Documents: signed snapshots on their way down, in parts, applied by atomic swap.

    document = COSE_Sign1(DOCUMENT, CBOR [v, name, generation, version, issued_ms, body])
    keys     = COSE_Sign1(KEYS by the pinned root, CBOR [v, "keys", generation, version, issued_ms, body])
    manifest = COSE_Sign1(DOCUMENT, CBOR [v, "manifest", generation, version, issued_ms, [[name, …], …]])
    part     = CBOR [name, digest, index, total, chunk]          digest = SHA-256(document)

Owns: their shapes, the order of versions, and joining parts. Does not own: storing or applying them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import cbor2
import msgspec

from protocol import VERSION
from protocol.cose import Purpose, SigningKey, open_envelope
from protocol.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

PART_BYTES_MAX = 60 * 1024
"""Chunk size, so that a part with its header stays below 64 KiB."""
DOCUMENT_BYTES_MAX = 4 * 1024 * 1024
"""A snapshot larger than this is refused: a Pi must hold it twice while swapping."""


class Name(StrEnum):
    """Documents that exist."""

    MANIFEST = "manifest"
    KEYS = "keys"
    CATALOG = "catalog"
    REVOCATIONS = "revocations"
    CONFIG = "config"


class KeyUse(StrEnum):
    """What an announced cloud key may sign."""

    ACK = "ack"
    DOCUMENT = "document"
    CARD = "card"


class CloudKey(msgspec.Struct, array_like=True, frozen=True):
    """One public key of the cloud; `not_after_s` leaves 400 days of overlap after its successor."""

    use: KeyUse
    public_key: bytes
    not_before_s: int
    not_after_s: int


class KeysBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `keys`: every cloud key that may still be met."""

    keys: list[CloudKey]


class Material(msgspec.Struct, array_like=True, frozen=True):
    """A material with its rate. Names are shown as they are; `picture` names one of our own SVGs."""

    code: str
    name_en: str
    name_ne: str
    picture: str
    points_per_kg: int
    rate_version: int


class CatalogBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `catalog`. Older than `fresh_s`, it shows no points any more."""

    materials: list[Material]
    fresh_s: int


class RevocationsBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `revocations`: serials of cards no kiosk may accept (9 bytes each, concatenated)."""

    serials: bytes


class ConfigBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `config`: what operators may set from afar."""

    drop_point: str
    drop_point_name: str
    receipt_url: str = ""


class ManifestEntry(msgspec.Struct, array_like=True, frozen=True):
    """What the cloud currently offers under a name."""

    name: str
    generation: int
    version: int
    digest: bytes
    size_bytes: int


class ManifestBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of the retained manifest."""

    entries: list[ManifestEntry]


DocumentBody = KeysBody | CatalogBody | RevocationsBody | ConfigBody | ManifestBody
_BodyT = TypeVar("_BodyT", KeysBody, CatalogBody, RevocationsBody, ConfigBody, ManifestBody)


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    v: int
    name: str
    generation: int
    version: int
    issued_ms: int
    body: object


@dataclass(frozen=True, slots=True)
class Document:
    """A verified document. `digest` is over its signed bytes; (generation, version) orders them."""

    name: str
    generation: int
    version: int
    issued_ms: int
    digest: bytes
    data: bytes
    content: object

    def body(self, shape: type[_BodyT]) -> _BodyT:
        """The body as `shape`. Raises DocumentError if it is another."""
        try:
            return msgspec.convert(self.content, shape)
        except msgspec.ValidationError as error:
            raise DocumentError(f"document {self.name} cannot be read: {error}") from error

    def supersedes(self, other: Document | None) -> bool:
        """Whether this one should replace `other`: a restored cloud raises the generation."""
        return other is None or (self.generation, self.version) > (other.generation, other.version)


def build_document(  # noqa: PLR0917
    name: str, generation: int, version: int, issued_ms: int, body: DocumentBody, key: SigningKey
) -> bytes:
    """Encode and sign; `keys` must be signed with the root, everything else with the document key."""
    content = msgspec.to_builtins(body, builtin_types=(bytes,))
    payload = cbor2.dumps([VERSION, name, generation, version, issued_ms, content])
    if len(payload) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"document {name} is over the limit", code="document.too_large")
    return key.sign(_purpose(name), payload)


def open_document(data: bytes, name: str, key_for: Callable[[bytes], bytes | None]) -> Document:
    """Verify a document of this name. For `keys`, `key_for` must know the pinned root only.

    Raises EnvelopeError, SignatureError or DocumentError.
    """
    payload = open_envelope(data, _purpose(name), key_for)
    try:
        wire = msgspec.convert(cbor2.loads(payload), _Wire)
    except (
        cbor2.CBORError,
        msgspec.ValidationError,
        ValueError,
        TypeError,
        EOFError,
        RecursionError,
    ) as error:
        raise DocumentError(f"document {name} cannot be read: {error}") from error
    if wire.v != VERSION:
        raise DocumentError(f"document version {wire.v} is not spoken here", code="document.version")
    if wire.name != name:
        raise DocumentError(f"this is document {wire.name!r}, not {name!r}", code="document.wrong_name")
    return Document(
        name, wire.generation, wire.version, wire.issued_ms, document_digest(data), data, wire.body
    )


def document_digest(data: bytes) -> bytes:
    """SHA-256 of a document's signed bytes: its identity in manifests and weighings."""
    return hashlib.sha256(data).digest()


def _purpose(name: str) -> Purpose:
    return Purpose.KEYS if name == Name.KEYS else Purpose.DOCUMENT


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One chunk of a document's signed bytes."""

    name: str
    digest: bytes
    index: int
    total: int
    chunk: bytes


def split_document(name: str, data: bytes) -> list[bytes]:
    """Encoded parts of a document, each below 64 KiB, in order."""
    digest = document_digest(data)
    chunks = [data[start : start + PART_BYTES_MAX] for start in range(0, len(data), PART_BYTES_MAX)]
    return [cbor2.dumps([name, digest, index, len(chunks), chunk]) for index, chunk in enumerate(chunks)]


@dataclass(slots=True)
class PartJoiner:
    """Collects the parts of one document at a time; a part of another digest starts over."""

    _digest: bytes = b""
    _chunks: dict[int, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> bytes | None:
        """Take one encoded part; return the document's bytes once they are complete and match.

        Raises DocumentError for a part that is malformed or does not belong.
        """
        part = self._read(data)
        if part.digest != self._digest:
            self._digest, self._chunks = part.digest, {}
        self._chunks[part.index] = part.chunk
        if len(self._chunks) < part.total:
            return None
        whole = b"".join(self._chunks[index] for index in sorted(self._chunks))
        self._digest, self._chunks = b"", {}
        if document_digest(whole) != part.digest:
            raise DocumentError(f"the parts of {part.name} do not add up to their digest")
        return whole

    def _read(self, data: bytes) -> Part:
        try:
            part = msgspec.convert(cbor2.loads(data), Part)
        except (
            cbor2.CBORError,
            msgspec.ValidationError,
            ValueError,
            TypeError,
            EOFError,
            RecursionError,
        ) as error:
            raise DocumentError(f"a document part cannot be read: {error}") from error
        parts_max = DOCUMENT_BYTES_MAX // PART_BYTES_MAX + 2
        if not (0 <= part.index < part.total <= parts_max and len(part.chunk) <= PART_BYTES_MAX):
            raise DocumentError("a document part is out of range")
        return part
