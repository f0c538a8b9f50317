"""What comes down: documents into the directory, each change a record in the journal.

Owns: comparing the manifest with what is held, joining parts, applying. Does not own: acks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, assert_never

from edge.errors import DirectoryError
from edge.sync.roads import DocumentArrived, ManifestArrived, PartArrived
from protocol.bodies import DocumentApplied
from protocol.documents import ManifestBody, Name, PartJoiner, open_document
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.directory import Directory
    from edge.journal import AsyncJournal

_LOGGER = logging.getLogger("reloop.documents")
_ORDER = (Name.KEYS, Name.REVOCATIONS, Name.CATALOG, Name.CONFIG)
"""Keys first: the others are verified with them."""


class Documents:
    """Keeps the directory at what the cloud's manifest names.

    `wanted` lists the documents the manifest names and the directory does not hold.
    """

    def __init__(self, directory: Directory, journal: AsyncJournal, alarm: Callable[[str], None]) -> None:
        self._directory = directory
        self._journal = journal
        self._alarm = alarm
        self._offered: dict[str, bytes] = {}
        self._joiners: dict[str, PartJoiner] = {name: PartJoiner() for name in _ORDER}
        self._writing = asyncio.Lock()  # the directory's file has one writer, which is no event loop

    @property
    def wanted(self) -> list[str]:
        """Names to fetch, keys first."""
        held = self._directory.digests()
        return [name for name in _ORDER if name in self._offered and held.get(name) != self._offered[name]]

    async def arrived(self, item: ManifestArrived | DocumentArrived | PartArrived) -> None:
        """Take one item; what cannot be used is counted, said, and asked for again later."""
        try:
            match item:
                case ManifestArrived(data):
                    self._manifest(data)
                case DocumentArrived(name, data):
                    await self.apply(name, data)
                case PartArrived(name, data) if name in self._joiners:
                    whole = self._joiners[name].add(data)
                    if whole is not None:
                        await self.apply(name, whole)
                case PartArrived(name, _):
                    self._alarm("document.unknown")
                case _:
                    assert_never(item)
        except (ProtocolError, DirectoryError) as error:
            self._alarm(error.code)
            _LOGGER.warning("a document cannot be used: %s", error)

    async def apply(self, name: str, data: bytes) -> None:
        """Apply a whole document and journal it. Raises ProtocolError; an equal one changes nothing."""
        if name == Name.MANIFEST:
            self._manifest(data)
            return
        async with self._writing:
            applied = await asyncio.to_thread(self._directory.apply, name, data)
        if applied.changed:
            document = applied.document
            await self._journal.append(
                DocumentApplied(document.name, document.generation, document.version, document.digest)
            )

    async def trust_time(self, server_time_ms: int) -> None:
        """The cloud has signed this time: what is held is at least that old."""
        async with self._writing:
            await asyncio.to_thread(self._directory.trust_time, server_time_ms)

    def _manifest(self, data: bytes) -> None:
        key_for = self._directory.key_for_document()
        manifest = open_document(data, Name.MANIFEST, key_for)
        self._offered = {entry.name: entry.digest for entry in manifest.body(ManifestBody).entries}
