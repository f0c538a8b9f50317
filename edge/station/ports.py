"""What the station asks of its surroundings, so that it can be composed with any of them.

Owns the shapes only; the agent hands in the real journal, directory and devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.documents import CatalogBody, ConfigBody, KeyUse


class Catalog(Protocol):
    """The catalogue at hand: its body, the digest of its signed bytes, when it was issued, if still fresh."""

    @property
    def body(self) -> CatalogBody:
        """Materials and rates."""
        ...

    @property
    def digest(self) -> bytes:
        """32 bytes that weighings name it by."""
        ...

    @property
    def issued_ms(self) -> int:
        """UTC milliseconds since 1970."""
        ...

    @property
    def fresh(self) -> bool:
        """Whether it is young enough to show points."""
        ...


class Directory(Protocol):
    """The offline copy of what the cloud knows."""

    def catalog(self) -> Catalog | None:
        """The catalogue, or None if none ever came."""
        ...

    def revoked(self, serial: bytes) -> bool:
        """Whether this card serial was revoked."""
        ...

    def key_for(self, use: KeyUse) -> Callable[[bytes], bytes | None]:
        """A look-up from key id to public key for one use."""
        ...

    def config(self) -> ConfigBody | None:
        """What operators set from afar."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rest of the agent knows that the kiosk shows. `claimed` false: nothing may be taken."""

    claimed: bool = True
    offline: bool = False
    never_online: bool = False
    scanner_absent: bool = False
    autonomy_h: float | None = None


NOWHERE = Surroundings()
"""Nothing special is known."""
