"""Codes that people carry or type: guest claim codes, gateway claim codes, bin codes.

Crockford base32, case and look-alikes forgiven. Only hashes of secrets are ever journalled or kept.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from protocol.errors import CodeError

if TYPE_CHECKING:
    from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FORGIVEN = str.maketrans("OILU", "011V")
_CLAIM_SYMBOLS = 13  # 65 bits: an online guesser meets a rate limit, an offline one 2⁶⁴ hashes
_GATEWAY_SYMBOLS = 26  # 130 bits
CLAIM_HASH_LENGTH = 16
_BIN = re.compile(r"[A-Z0-9][A-Z0-9-]{1,30}[A-Z0-9]")
BIN_PREFIX = "RLB1:"


def new_claim_code(random_bytes: Callable[[int], bytes]) -> str:
    """A guest's claim code such as `7K3M-9QXT-2VAB-H`; `random_bytes(n)` gives n secret bytes."""
    return _group(_symbols(random_bytes, _CLAIM_SYMBOLS))


def new_gateway_code(random_bytes: Callable[[int], bytes]) -> str:
    """A one-time code that claims or enrols a gateway (130 bits)."""
    return _group(_symbols(random_bytes, _GATEWAY_SYMBOLS))


def claim_hash(code: str) -> bytes:
    """The 16 bytes of a claim code that may be journalled. Raises CodeError if it is not one."""
    plain = _plain(code, _CLAIM_SYMBOLS)
    return hashlib.sha256(b"reloop/claim/1" + plain.encode()).digest()[:CLAIM_HASH_LENGTH]


def gateway_code_secret(code: str) -> bytes:
    """32 bytes derived from a gateway's one-time code; the cloud keeps only their hash."""
    return hashlib.sha256(b"reloop/gateway-code/1" + _plain(code, _GATEWAY_SYMBOLS).encode()).digest()


def check_bin_code(code: str) -> str:
    """Return a bin's id (3–32 of A-Z, 0-9, inner hyphens, upper-cased), else raise CodeError."""
    upper = code.removeprefix(BIN_PREFIX).upper()
    if not code.isascii() or not _BIN.fullmatch(upper):
        raise CodeError(f"bin code {code!r} is not 3-32 letters, digits and hyphens")
    return upper


def _symbols(random_bytes: Callable[[int], bytes], count: int) -> str:
    number = int.from_bytes(random_bytes(count), "big")
    return "".join(_ALPHABET[number >> (5 * position) & 31] for position in range(count))


def _group(symbols: str) -> str:
    return "-".join(symbols[start : start + 4] for start in range(0, len(symbols), 4))


def _plain(code: str, count: int) -> str:
    plain = re.sub(r"[\s-]", "", code).upper().translate(_FORGIVEN)
    if len(plain) != count or not set(plain) <= set(_ALPHABET):
        raise CodeError(f"a code has {count} letters and digits; check it for typing errors")
    return plain
