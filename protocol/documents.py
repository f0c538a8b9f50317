"""Documents: signed snapshots on their way down, in parts, applied by atomic swap.

    document = COSE_Sign1(DOCUMENT, CBOR [v, name, generation, version, issued_ms, body])
    keys     = COSE_Sign1(KEYS by the pinned root, CBOR [v, "keys", generation, version, issued_ms, body])
    manifest = COSE_Sign1(DOCUMENT, CBOR [v, "manifest", generation, version, issued_ms, [[name, …], …]])
    part     = CBOR [name, digest, index, total, chunk]          digest = SHA-256(document)

Owns: their shapes, the order of versions, and joining parts. Does not own: storing or applying them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from protocol import VERSION
from protocol.bodies import Rate
from protocol.cbor import Count, Digest, Int64, convert, decode, encode, require_version
from protocol.cose import PUBLIC_KEY_LENGTH, Purpose, SigningKey, open_envelope
from protocol.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

PART_BYTES_MAX = 60 * 1024
"""Chunk size, so that a part with its header stays below 64 KiB."""
DOCUMENT_BYTES_MAX = 4 * 1024 * 1024
"""A snapshot larger than this is refused: a Pi must hold it twice while swapping."""
SIGNED_BYTES_MAX = DOCUMENT_BYTES_MAX + 256
"""The same with its envelope."""
PARTS_MAX = SIGNED_BYTES_MAX // PART_BYTES_MAX + 1
_PART_HEADER_BYTES = 2 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


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
    OTHER = "other"
    """A use that this version does not know yet: such a key is kept in the document and never used."""

    @classmethod
    def _missing_(cls, value: object) -> KeyUse:  # noqa: ARG003 - the enum module's interface
        return cls.OTHER


class CloudKey(msgspec.Struct, array_like=True, frozen=True):
    """One public key of the cloud; `not_after_s` leaves 400 days of overlap after its successor."""

    use: KeyUse
    public_key: Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_LENGTH, max_length=PUBLIC_KEY_LENGTH)]
    not_before_s: Count
    not_after_s: Count


class KeysBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `keys`: every cloud key that may still be met."""

    keys: list[CloudKey]


class Material(msgspec.Struct, array_like=True, frozen=True):
    """A material with its rate. Names are shown as they are; `picture` names one of our own SVGs."""

    code: str
    name_en: str
    name_ne: str
    picture: str
    points_per_kg: Rate
    rate_version: Count


class CatalogBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `catalog`. Older than `fresh_s`, it shows no points any more."""

    materials: list[Material]
    fresh_s: Count


class RevocationsBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `revocations`: serials of cards no kiosk may accept (9 bytes each, concatenated)."""

    serials: bytes


class ConfigBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of `config`: what operators may set from afar.

    `certificates`: the gateway's own TLS certificate first, then what it chains to below the pinned root
    (DER each); none until its request has reached the cloud. `gateway`: whose config this is; an old cloud
    leaves it empty. `closed`: it is revoked, and may take nothing in.
    """

    drop_point: str
    drop_point_name: str
    receipt_url: str = ""
    certificates: list[bytes] = []
    gateway: str = ""
    closed: bool = False


class ManifestEntry(msgspec.Struct, array_like=True, frozen=True):
    """What the cloud currently offers under a name."""

    name: str
    generation: Count
    version: Count
    digest: Digest
    size_bytes: Count


class ManifestBody(msgspec.Struct, array_like=True, frozen=True):
    """Body of the retained manifest."""

    entries: list[ManifestEntry]


DocumentBody = KeysBody | CatalogBody | RevocationsBody | ConfigBody | ManifestBody
_BodyT = TypeVar("_BodyT", KeysBody, CatalogBody, RevocationsBody, ConfigBody, ManifestBody)


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    v: int
    name: str
    generation: Count
    version: Count
    issued_ms: Int64
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
        return convert(self.content, shape, f"document {self.name}", DocumentError)

    def supersedes(self, other: Document | None) -> bool:
        """Whether this one should replace `other`: a restored cloud raises the generation."""
        return other is None or (self.generation, self.version) > (other.generation, other.version)


def build_document(  # noqa: PLR0917
    name: str, generation: int, version: int, issued_ms: int, body: DocumentBody, key: SigningKey
) -> bytes:
    """Encode and sign; `keys` must be signed with the root, everything else with the document key.

    Raises DocumentError: `document.too_large`, `document.malformed` for what could not be read back.
    """
    what = f"document {check_document_name(name)}"
    payload = encode([VERSION, name, generation, version, issued_ms, body], what, DocumentError)
    if len(payload) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"document {name} is over the limit", code="document.too_large")
    wire = convert(
        decode(payload, f"document {name}", DocumentError), _Wire, f"document {name}", DocumentError
    )
    convert(wire.body, type(body), f"document {name}", DocumentError)
    return key.sign(_purpose(name), payload)


def check_document_name(name: str) -> str:
    """Return the name if it is 1-32 characters of a-z, 0-9, hyphen, else raise DocumentError."""
    if not _NAME.fullmatch(name):
        raise DocumentError(f"document name {name!r} is not 1-32 characters of a-z, 0-9 and hyphens")
    return name


def open_document(data: bytes, name: str, key_for: Callable[[bytes], bytes | None]) -> Document:
    """Verify a document of this name. For `keys`, `key_for` must know the pinned root only.

    Raises EnvelopeError, SignatureError or DocumentError.
    """
    if len(data) > SIGNED_BYTES_MAX:
        raise DocumentError(f"document {name} is over the limit", code="document.too_large")
    return read_document(open_envelope(data, _purpose(name), key_for), name, data)


def read_document(payload: bytes, name: str, data: bytes) -> Document:
    """Read the payload of a document whose signed bytes `data` are trusted already. Raises DocumentError."""
    what = f"document {name}"
    value = decode(payload, what, DocumentError)
    require_version(value, VERSION, what, DocumentError)
    wire = convert(value, _Wire, what, DocumentError)
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
    digest: Digest
    index: Count
    total: Annotated[int, msgspec.Meta(ge=1, le=PARTS_MAX)]
    chunk: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PART_BYTES_MAX)]


def split_document(name: str, data: bytes) -> list[bytes]:
    """Encoded parts of a document, each below 64 KiB, in order. Raises DocumentError if it is too large."""
    if len(data) > SIGNED_BYTES_MAX:
        raise DocumentError(f"document {name} is over the limit", code="document.too_large")
    digest = document_digest(data)
    chunks = [data[start : start + PART_BYTES_MAX] for start in range(0, len(data), PART_BYTES_MAX)]
    total = len(chunks)
    parts = (
        Part(check_document_name(name), digest, index, total, chunk) for index, chunk in enumerate(chunks)
    )
    return [encode(part, "a document part", DocumentError) for part in parts]


def read_part(data: bytes) -> Part:
    """Read one part, which nobody signed. Raises DocumentError."""
    if len(data) > PART_BYTES_MAX + _PART_HEADER_BYTES:
        raise DocumentError(f"a document part of {len(data)} bytes is over the limit")
    part = convert(decode(data, "a document part", DocumentError), Part, "a document part", DocumentError)
    check_document_name(part.name)
    if part.index >= part.total:
        raise DocumentError(f"document part {part.index} of {part.total} is out of range")
    return part


@dataclass(slots=True)
class PartJoiner:
    """Collects the parts of one document at a time; a part of another digest or total starts over.

    Holds at most PARTS_MAX chunks.
    """

    _of: tuple[bytes, int] = (b"", 0)
    _chunks: dict[int, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> bytes | None:
        """Take one encoded part; return the document's bytes once they are complete and match.

        Raises DocumentError for a part that is malformed or does not belong.
        """
        part = read_part(data)
        if self._of != (part.digest, part.total):
            self._of, self._chunks = (part.digest, part.total), {}
        self._chunks[part.index] = part.chunk
        if len(self._chunks) < part.total:
            return None
        whole = b"".join(self._chunks[index] for index in range(part.total))
        self._of, self._chunks = (b"", 0), {}
        if document_digest(whole) != part.digest:
            raise DocumentError(f"the parts of {part.name} do not add up to their digest")
        return whole
