"""Ids made here: UUIDv7 (RFC 9562) for new things, UUIDv8 of a digest for what is derived."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def uuid7(unix_ms: int, random_bytes: Callable[[int], bytes]) -> uuid.UUID:
    """A time-ordered id; `random_bytes(n)` gives n random bytes. Not a secret: it tells when."""
    value = (unix_ms & (2**48 - 1)) << 80 | int.from_bytes(random_bytes(10), "big")
    value = value & ~(0xF << 76) | (7 << 76)
    return uuid.UUID(int=value & ~(0b11 << 62) | (0b10 << 62))


def derived_id(domain: str, *parts: bytes) -> uuid.UUID:
    """The same UUIDv8 for the same domain and parts, for ever; parts are length-prefixed."""
    hasher = hashlib.sha256(domain.encode())
    for part in parts:
        hasher.update(len(part).to_bytes(4, "big") + part)
    value = int.from_bytes(hasher.digest()[:16], "big")
    value = value & ~(0xF << 76) | (8 << 76)
    return uuid.UUID(int=value & ~(0b11 << 62) | (0b10 << 62))
