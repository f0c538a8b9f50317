"""Signed documents as files beside the cloud's keys, so that a database that went back is found out.

What kiosks were shown must stay readable when Postgres forgets it: weighings name catalogues by digest. Owns
the files and how many are kept. Does not own what is issued.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloud.documents.models import StoredDocument
from protocol.cose import parse
from protocol.documents import Name, document_digest, read_document
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT_MAX = {Name.CATALOG: 1000, Name.KEYS: 100}
"""By name; of all others the newest two. A catalogue is issued once a day or as rates change."""
_KEPT_MAX_ELSE = 2
_KNOWN_MAX = 100_000
_SUFFIX = ".cose"


class Archive:
    """The files in one folder: `<shelf>/<generation>.<version>.<digest>.cose`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[bytes] = set()
        self._writing = threading.Lock()

    def has(self, document: StoredDocument) -> bool:
        """Whether this process knows that the document is on file; manifests need not be."""
        return document.name == Name.MANIFEST or document.digest in self._known

    def keep(self, document: StoredDocument) -> None:
        """Write the file, durably, unless it is there; from any thread. Raises OSError."""
        with self._writing:
            self._keep(document)

    def _keep(self, document: StoredDocument) -> None:
        shelf = self._folder / document.shelf
        shelf.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = f"{document.generation:012}.{document.version:012}"
        path = shelf / f"{place}.{document.digest.hex()[:16]}{_SUFFIX}"
        if not path.exists():
            _write(path, document.data)
            for old in sorted(shelf.glob(f"*{_SUFFIX}"))[
                : -KEPT_MAX.get(Name(document.name), _KEPT_MAX_ELSE)
            ]:
                old.unlink(missing_ok=True)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known.add(document.digest)

    def documents(self) -> Iterator[StoredDocument]:
        """All that is on file, by shelf, oldest first; what cannot be read is passed over."""
        for path in sorted(self._folder.rglob(f"*{_SUFFIX}")):
            document = self._read(path)
            if document is not None:
                yield document

    def _read(self, path: Path) -> StoredDocument | None:
        shelf = path.parent.relative_to(self._folder).as_posix()
        try:
            data = path.read_bytes()
            name = shelf.partition("/")[0]
            found = read_document(parse(data).payload, name, data)
        except (OSError, ProtocolError):
            return None
        issued_at = datetime.fromtimestamp(found.issued_ms / 1000, UTC)
        digest = document_digest(data)
        return StoredDocument(shelf, found.generation, found.version, digest, data, issued_at)


def _write(path: Path, data: bytes) -> None:
    beside = path.with_suffix(f".{os.getpid()}.part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
