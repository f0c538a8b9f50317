"""Documents the cloud signed, held for offline use: verified when they come, swapped whole, never edited.

Owns which version is in force, how fresh it is and which cloud keys may be trusted now. Does not own fetching
them (`sync`), nor showing them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.directory.storage import Held, Storage
from edge.directory.trust import TrustedTime
from edge.errors import DirectoryError
from protocol.cards import SERIAL_LENGTH
from protocol.cose import PUBLIC_KEY_LENGTH, key_id_of
from protocol.documents import (
    CatalogBody,
    ConfigBody,
    Document,
    KeysBody,
    KeyUse,
    ManifestEntry,
    Name,
    RevocationsBody,
    open_document,
)
from protocol.errors import DocumentError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.clock import Clock

_SAVE_TIME_MS: Final = 600_000
"""The signed time is written to the disk at most this often."""
_Body = KeysBody | CatalogBody | RevocationsBody | ConfigBody


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an offered document: `changed` is false if exactly it was in force already."""

    changed: bool
    document: Document


@dataclass(frozen=True, slots=True)
class CatalogView:
    """The catalogue in force. `digest` is over its signed bytes; when not `fresh`, no points are shown."""

    body: CatalogBody
    digest: bytes
    issued_ms: int
    age_ms: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class _InForce:
    document: Document
    body: _Body


class Directory:
    """What this gateway knows of the cloud. Use `Directory.open`.

    One thread at a time may apply and trust; others may read meanwhile, and see what was or what is.
    """

    def __init__(self, storage: Storage, root_public_key: bytes | None, clock: Clock, gateway: str) -> None:
        self._storage = storage
        self._gateway = gateway
        self._root = root_public_key
        self._in_force: dict[str, _InForce] = {}
        self._revoked = b""
        signed_ms = storage.trusted_ms()
        for held in storage.load():
            self._restore(held)
        issued_ms = max((item.document.issued_ms for item in self._in_force.values()), default=0)
        self._time = TrustedTime(clock, max(signed_ms, issued_ms))
        self._saved_ms = signed_ms

    @classmethod
    def open(cls, path: Path, root_public_key: bytes | None, clock: Clock, gateway: str) -> Directory:
        """Open or create the file. A damaged one is set aside and everything is asked for anew.

        `root_public_key` (32 bytes) verifies `keys`; without one nothing can be applied. A `config` that
        names another gateway than `gateway` is refused. Raises DirectoryError.
        """
        return cls(Storage(path), root_public_key, clock, gateway)

    @property
    def rebuilt(self) -> bool:
        """Whether a damaged file was set aside at this opening."""
        return self._storage.set_aside

    def apply(self, name: str, data: bytes) -> Applied:
        """Verify a document and put it in force at once, or leave everything as it was.

        Raises EnvelopeError or SignatureError for what the cloud did not sign, DocumentError for what cannot
        be used: `document.unknown`, `document.malformed`, `document.older` than the one in force,
        `document.conflict` with it; DirectoryError if the disk refuses.
        """
        signer = _Signer(self._keys_for(name))
        document = open_document(data, name, signer)
        held = self._in_force.get(name)
        if held is not None and held.document.digest == document.digest:
            return Applied(False, held.document)
        body = _body_of(document, self._gateway)
        _check_order(document, held.document if held else None)
        self._storage.swap(
            Held(
                name,
                document.generation,
                document.version,
                document.issued_ms,
                document.digest,
                signer.used,
                data,
            )
        )
        self._put(document, body)
        self.trust_time(document.issued_ms)
        return Applied(True, document)

    def catalog(self) -> CatalogView | None:
        """The catalogue in force and how old it is, None if none ever came."""
        item = self._in_force.get(Name.CATALOG)
        if item is None or not isinstance(item.body, CatalogBody):
            return None
        document = item.document
        age_ms = max(self._time.now_ms() - document.issued_ms, 0)
        fresh = age_ms <= item.body.fresh_s * 1000
        return CatalogView(item.body, document.digest, document.issued_ms, age_ms, fresh)

    def config(self) -> ConfigBody | None:
        """What operators set from afar, None if nothing came yet."""
        item = self._in_force.get(Name.CONFIG)
        return item.body if item is not None and isinstance(item.body, ConfigBody) else None

    def revoked(self, serial: bytes) -> bool:
        """Whether a card's serial (9 bytes) is revoked; bisected, as a set takes ten times the memory."""
        low, high = 0, len(self._revoked) // SERIAL_LENGTH
        while low < high:
            middle = (low + high) // 2
            if self._revoked[middle * SERIAL_LENGTH : (middle + 1) * SERIAL_LENGTH] < serial:
                low = middle + 1
            else:
                high = middle
        return self._revoked[low * SERIAL_LENGTH : (low + 1) * SERIAL_LENGTH] == serial

    def key_for(self, use: KeyUse) -> Callable[[bytes], bytes | None]:
        """A look-up from 8-byte key id to the public key announced for `use`, as it stands when asked.

        None for an unknown key and for one whose time is surely over.
        """

        def look_up(key_id: bytes) -> bytes | None:
            item = self._in_force.get(Name.KEYS)
            keys = item.body.keys if item is not None and isinstance(item.body, KeysBody) else []
            for key in keys:
                if key.use is use and key_id_of(key.public_key) == key_id:
                    return None if self._time.expired(key.not_after_s) else key.public_key
            return None

        return look_up

    def key_for_document(self) -> Callable[[bytes], bytes | None]:
        """`key_for(KeyUse.DOCUMENT)`: what manifests are verified with."""
        return self.key_for(KeyUse.DOCUMENT)

    def digests(self) -> dict[str, bytes]:
        """Digest by name of every document in force."""
        return {name: item.document.digest for name, item in self._in_force.items()}

    def manifest(self) -> list[ManifestEntry]:
        """What is in force, in the shape in which the cloud says what it offers."""
        return [
            ManifestEntry(name, one.generation, one.version, one.digest, len(one.data))
            for name, one in sorted((name, item.document) for name, item in self._in_force.items())
        ]

    def document(self, name: str) -> Document | None:
        """A document in force with its signed bytes."""
        item = self._in_force.get(name)
        return item.document if item else None

    def trust_time(self, server_time_ms: int) -> None:
        """The cloud has signed this time (UTC milliseconds): it is not earlier than that."""
        self._time.hear(server_time_ms)
        if self._time.signed_ms >= self._saved_ms + _SAVE_TIME_MS:
            # A disk that refuses must not stop acks: the time is kept in memory and saved with a later one.
            with contextlib.suppress(DirectoryError):
                self._storage.save_trusted_ms(self._time.signed_ms)
                self._saved_ms = self._time.signed_ms

    def now_ms(self) -> int:
        """Now, as far as it can be known (UTC milliseconds)."""
        return self._time.now_ms()

    def earliest_ms(self) -> int | None:
        """It is not earlier, by what the cloud signed alone (UTC milliseconds); None: it never did."""
        return self._time.earliest_ms() if self._time.signed_ms else None

    def surely_ms(self) -> int:
        """It is surely not earlier (UTC milliseconds): what decides that a card is over."""
        return self._time.surely_ms()

    def close(self) -> None:
        """Close the file."""
        self._storage.close()

    def _restore(self, held: Held) -> None:
        """Take a stored document if it is still as it came; drop it, to be asked for anew, if not."""
        try:
            document = open_document(held.data, held.name, _known(held.public_key))
            if (document.digest, document.issued_ms) != (held.digest, held.issued_ms):
                raise DocumentError(f"document {held.name} is not as it was stored")
            self._put(document, _body_of(document, self._gateway))
        except ProtocolError:
            self._storage.forget(held.name)

    def _put(self, document: Document, body: _Body) -> None:
        self._in_force = self._in_force | {document.name: _InForce(document, body)}
        if isinstance(body, RevocationsBody):
            self._revoked = _sorted_serials(body.serials)

    def _keys_for(self, name: str) -> Callable[[bytes], bytes | None]:
        if name == Name.KEYS:
            return _known(self._root) if self._root is not None else lambda _: None
        return self.key_for(KeyUse.DOCUMENT)


class _Signer:
    """Remembers which key a look-up gave."""

    def __init__(self, look_up: Callable[[bytes], bytes | None]) -> None:
        self._look_up = look_up
        self.used = b""

    def __call__(self, key_id: bytes) -> bytes | None:
        public_key = self._look_up(key_id)
        self.used = public_key or b""
        return public_key


def _known(public_key: bytes) -> Callable[[bytes], bytes | None]:
    return lambda key_id: public_key if public_key and key_id_of(public_key) == key_id else None


def _body_of(document: Document, gateway: str) -> _Body:
    match document.name:
        case Name.KEYS:
            return _checked_keys(document.body(KeysBody))
        case Name.CATALOG:
            return _checked_catalog(document.body(CatalogBody))
        case Name.REVOCATIONS:
            return _checked_revocations(document.body(RevocationsBody))
        case Name.CONFIG:
            return _checked_config(document.body(ConfigBody), gateway)
        case _:
            raise DocumentError(
                f"document {document.name!r} is not kept by this version", code="document.unknown"
            )


def _checked_keys(body: KeysBody) -> KeysBody:
    if any(len(key.public_key) != PUBLIC_KEY_LENGTH for key in body.keys):
        raise DocumentError(f"public keys have {PUBLIC_KEY_LENGTH} bytes each")
    return body


def _checked_catalog(body: CatalogBody) -> CatalogBody:
    codes = [material.code for material in body.materials]
    if len(set(codes)) != len(codes):
        raise DocumentError("the catalogue names a material twice")
    return body


def _checked_revocations(body: RevocationsBody) -> RevocationsBody:
    if len(body.serials) % SERIAL_LENGTH:
        raise DocumentError(f"revoked serials have {SERIAL_LENGTH} bytes each")
    return body


def _checked_config(body: ConfigBody, gateway: str) -> ConfigBody:
    if body.gateway not in {"", gateway}:
        raise DocumentError(f"this config is {body.gateway}'s, not {gateway}'s", code="document.foreign")
    return body


def _check_order(document: Document, held: Document | None) -> None:
    if document.supersedes(held) or held is None:
        return
    older = (document.generation, document.version) < (held.generation, held.version)
    raise DocumentError(
        f"{document.name} {document.generation}.{document.version} does not follow "
        f"{held.generation}.{held.version}, which is in force",
        code="document.older" if older else "document.conflict",
    )


def _sorted_serials(serials: bytes) -> bytes:
    step = SERIAL_LENGTH
    return b"".join(sorted(serials[start : start + step] for start in range(0, len(serials), step)))
