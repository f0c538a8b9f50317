"""What a stored document is, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """Signed bytes under a shelf: the document's name, or `name/gateway` for what is each gateway's own."""

    shelf: str
    generation: int
    version: int
    digest: bytes
    data: bytes
    issued_at: datetime

    @property
    def name(self) -> str:
        """The name that is signed: `config` of `config/ktm-drop-01`."""
        return self.shelf.partition("/")[0]

    @property
    def etag(self) -> str:
        """Strong entity tag: the digest."""
        return f'"{self.digest.hex()}"'
