"""The cloud's own signing keys: one 32-byte seed per file, readable by its owner only.

Owns making and reading them. Does not own announcing them (the `keys` document) nor rotating them.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud.errors import ConfigError
from protocol.cose import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

_SEED_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    """`root` signs the keys document and is pinned by gateways; the others are announced by it."""

    root: SigningKey
    ack: SigningKey
    document: SigningKey
    card: SigningKey

    @classmethod
    def load_or_create(cls, directory: Path) -> Keyring:
        """Read `<directory>/{root,ack,document,card}.key`, making what is missing (mode 0600).

        Raises ConfigError if a file is damaged or readable by others.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = ("root", "ack", "document", "card")
        return cls(*(_load_or_create(directory / f"{name}.key") for name in names))


def _load_or_create(path: Path) -> SigningKey:
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}", code="keys.exposed")
    seed = path.read_bytes()
    if len(seed) != _SEED_LENGTH:
        raise ConfigError(
            f"{path} is not a key of 32 bytes; restore it from your backup", code="keys.damaged"
        )
    return SigningKey.from_seed(seed)


def _create(path: Path) -> None:
    """Write a new seed beside, then link it in place: of two processes starting at once one key wins."""
    beside = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SEED_LENGTH))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink()
