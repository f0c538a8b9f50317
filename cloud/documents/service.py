"""Building, signing and offering documents. What goes into them is handed in by whoever owns it.

A shelf is `keys`, `catalog`, `revocations`, or a gateway's own `config/<gateway>` and `manifest/<gateway>`.
Within a shelf (generation, version) only rises; a restored cloud raises the generation first: it finds in the
archive what its database has forgotten.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import cbor2
import msgspec

from cloud.documents import repository
from cloud.documents.errors import DocumentNotFoundError, DocumentsAlikeError
from cloud.documents.models import StoredDocument
from protocol.cose import parse
from protocol.documents import (
    ManifestBody,
    ManifestEntry,
    Name,
    build_document,
    document_digest,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cloud.documents.archive import Archive
    from protocol.cose import SigningKey
    from protocol.documents import DocumentBody

REISSUE_AFTER = timedelta(days=1)
"""The catalogue is signed anew this often, unchanged, so that kiosks know that it still holds."""

ALIKE_MAX = 1_000
"""Documents with the same content issued in one millisecond: gateways of one site."""


class Source(Protocol):
    """Gives the body of a shared document as it is now."""

    async def __call__(self, connection: AsyncConnection) -> DocumentBody:
        """The body."""


SHARED = (Name.KEYS, Name.CATALOG, Name.REVOCATIONS)


@dataclass(frozen=True, slots=True)
class Documents:
    """Publishes and offers documents.

    `sources` gives the body of a shared document by name; `config_of` that of one gateway's config.
    `config_due` says that it must be made anew though nobody said so: a certificate in it is asked for, or
    runs out. `root` signs `keys`, `signer` everything else. `archive` keeps on file what is offered.
    """

    now: Callable[[], datetime]
    root: SigningKey
    signer: SigningKey
    sources: Mapping[str, Source]
    config_of: Callable[[AsyncConnection, str], Awaitable[DocumentBody]]
    config_due: Callable[[AsyncConnection, str], Awaitable[bool]]
    archive: Archive | None = None

    async def publish(self, connection: AsyncConnection, name: str) -> StoredDocument:
        """Sign the shared document `name` as it is now; an equal one is not issued twice."""
        await repository.lock(connection, name)
        return await self._issue(connection, name, await self.sources[name](connection))

    async def publish_config(self, connection: AsyncConnection, gateway: str) -> StoredDocument:
        """Sign one gateway's config as it is now."""
        shelf = f"{Name.CONFIG}/{gateway}"
        await repository.lock(connection, shelf)
        return await self._issue(connection, shelf, await self.config_of(connection, gateway))

    async def reissue_due(self, connection: AsyncConnection) -> bool:
        """Sign the catalogue anew if it is a day old; whether it was."""
        stored = await repository.newest(connection, Name.CATALOG)
        if stored is not None and self.now() - stored.issued_at < REISSUE_AFTER:
            return False
        await repository.lock(connection, Name.CATALOG)
        body = await self.sources[Name.CATALOG](connection)
        await self._issue(connection, Name.CATALOG, body, always=True)
        return True

    async def raise_generation(self, connection: AsyncConnection) -> int:
        """After a restore: issue every document in a new generation, above all that were given out."""
        generation = await repository.highest_generation(connection) + 1
        for name in SHARED:
            await repository.lock(connection, name)
            body = await self.sources[name](connection)
            await self._store(connection, name, generation, 1, body)
        for gateway in await repository.live_gateways(connection):
            shelf = f"{Name.CONFIG}/{gateway}"
            await repository.lock(connection, shelf)
            await self._store(connection, shelf, generation, 1, await self.config_of(connection, gateway))
        return generation

    async def recover(self, connection: AsyncConnection) -> list[StoredDocument]:
        """Put back what is on file and not in the database, which then is a restored one: that was issued.

        Raise the generation afterwards. Nothing comes back from a database that forgot nothing.
        """
        if self.archive is None:
            return []
        filed = await asyncio.to_thread(list, self.archive.documents())
        await repository.lock(connection, "archive")
        known = await repository.known_digests(connection, [one.digest for one in filed])
        missing = [one for one in filed if one.digest not in known]
        for document in missing:
            await repository.put_back(connection, document)
        return missing

    async def offered(self, connection: AsyncConnection, gateway: str) -> list[StoredDocument]:
        """What this gateway should have: keys, catalog, revocations, config, manifest, in this order."""
        own = await self._own(connection, gateway)
        return [*own, await self._manifest(connection, gateway, own)]

    async def find(self, connection: AsyncConnection, gateway: str, name: str) -> StoredDocument:
        """One of the documents offered to a gateway. Raises DocumentNotFoundError."""
        for document in await self.offered(connection, gateway):
            if document.name == name:
                return document
        raise DocumentNotFoundError(f"there is no document {name!r}; there are {', '.join(Name)}")

    async def live_gateways(self, connection: AsyncConnection) -> list[str]:
        """Ids of the gateways that are to have documents."""
        return await repository.live_gateways(connection)

    async def _own(self, connection: AsyncConnection, gateway: str) -> list[StoredDocument]:
        shelves = [*SHARED, f"{Name.CONFIG}/{gateway}"]
        stored = {one.shelf: one for one in await repository.newest_of(connection, list(map(str, shelves)))}
        await self._file(stored.values())
        for name in SHARED:
            if name not in stored:
                stored[name] = await self.publish(connection, name)
        if shelves[-1] not in stored or await self.config_due(connection, gateway):
            stored[shelves[-1]] = await self.publish_config(connection, gateway)
        return [stored[shelf] for shelf in shelves]

    async def file_newest(self, connection: AsyncConnection) -> None:
        """Have the newest shared documents on file, even if nobody asked for them yet."""
        await self._file(await repository.newest_of(connection, list(map(str, SHARED))))

    async def _file(self, documents: Iterable[StoredDocument]) -> None:
        """Have on file what is given out; never what this transaction has made and may yet take back."""
        if self.archive is None:
            return
        for document in documents:
            if not self.archive.has(document):
                await asyncio.to_thread(self.archive.keep, document)

    async def _manifest(
        self, connection: AsyncConnection, gateway: str, own: list[StoredDocument]
    ) -> StoredDocument:
        shelf = f"{Name.MANIFEST}/{gateway}"
        body = ManifestBody(
            [ManifestEntry(one.name, one.generation, one.version, one.digest, len(one.data)) for one in own]
        )
        stored = await repository.newest(connection, shelf)
        if stored is not None and _content(stored.data) == _plain(body):
            return stored
        await repository.lock(connection, shelf)
        return await self._issue(connection, shelf, body)

    async def _issue(
        self, connection: AsyncConnection, shelf: str, body: DocumentBody, *, always: bool = False
    ) -> StoredDocument:
        stored = await repository.newest(connection, shelf)
        if stored is None:
            generation = await repository.highest_generation(connection)
            return await self._store(connection, shelf, generation, 1, body)
        if not always and _content(stored.data) == _plain(body):
            return stored
        generation = max(stored.generation, await repository.highest_generation(connection))
        return await self._store(connection, shelf, generation, stored.version + 1, body)

    async def _store(
        self, connection: AsyncConnection, shelf: str, generation: int, version: int, body: DocumentBody
    ) -> StoredDocument:
        """Two gateways of a site are told the same; issued in one millisecond it would be one document."""
        name, now = shelf.partition("/")[0], self.now()
        key = self.root if name == Name.KEYS else self.signer
        now_ms = int(now.timestamp() * 1000)
        for issued_ms in range(now_ms, now_ms + ALIKE_MAX):
            data = build_document(name, generation, version, issued_ms, body, key)
            document = StoredDocument(str(shelf), generation, version, document_digest(data), data, now)
            if await repository.insert(connection, document):
                return document
        raise DocumentsAlikeError(f"{ALIKE_MAX} documents like this one were issued just now; try again")


def _content(data: bytes) -> object:
    """The body inside a document that we signed ourselves."""
    return cbor2.loads(parse(data).payload)[5]


def _plain(body: DocumentBody) -> object:
    return cbor2.loads(cbor2.dumps(msgspec.to_builtins(body, builtin_types=(bytes,))))
