"""Hostile inputs made from a valid one: noise, damage, CBOR and JSON of the wrong shape, odd text."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import cbor2

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = (0, 1, 2, 5, 20, 100, 1000)
_FAR_SIZES = (4_096, 70_000)

ODD_BYTES = [
    bytes.fromhex(text)
    for text in (
        *("9f0102ff", "bf0102ff", "5f4101ff", "7f6161ff", "ff", "f6", "f97e00", "fb7ff0000000000000"),
        *("9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff", "7bffffffffffffffff"),
        *("c074323031332d30332d32315432303a30343a30305a", "c249ffffffffffffffffff", "d81c81d81d00"),
        *("d9010281010203", "d82368282861612b292b", "a201010102", "a1f97e0001", "c48221196ab3", "d9d9f701"),
        *("81" * 5000, "a1" * 5000, "d818" * 3000, "d28443a10126a0f640", "82"),
    )
]
ODD_TEXTS = (
    *(
        "",
        "\0",
        "a" * 5_000,
        "é" * 40,
        "\ud800",
        "𝟏𝟐",
        "٣",
        "-0",
        "1e308",
        "NaN",
        "Infinity",
        "0x10",
        "1_000",
    ),
    *(
        "../../etc/passwd",
        "%00",
        "%2e%2e%2f",
        "' OR 1=1 --",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "\r\nX: y",
        "\u202e",
    ),
    *("true", "null", "[]", "{}", '{"a":' * 200, "[" * 3000, "9" * 400, "नेपाल", "🗑" * 20, "+", "#", "$SYS/#"),
)


def hostile(chance: random.Random, valid: bytes, *, cbor: bool) -> bytes:
    """One input. `cbor`: the decoder reads CBOR, so that well-formed but wrong shapes go deepest."""
    match chance.randrange(4):
        case 0:
            size = chance.choice(_SIZES) if chance.random() < 0.99 else chance.choice(_FAR_SIZES)
            return chance.randbytes(size)
        case 1 if cbor:
            return odd_cbor(chance, valid)
        case 1:
            return chance.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")
        case _:
            return damaged(chance, valid)


def damaged(chance: random.Random, valid: bytes) -> bytes:
    """Bits flipped, bytes cut out, repeated, put in, and ends cut off."""
    data = bytearray(valid)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0 if data:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.randrange(1, 9)]
            case 2:
                data[place:place] = data[place : place + chance.randrange(1, 40)]
            case 3:
                data[place:place] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del data[place:]
    return bytes(data)


def odd_cbor(chance: random.Random, valid: bytes) -> bytes:
    """Well-formed CBOR of the wrong shape, and almost the right one with something odd in its place."""
    if chance.random() < 0.2:
        return chance.choice(ODD_BYTES)
    try:
        template = cbor2.loads(valid)
    except (cbor2.CBORError, ValueError):
        template = [1, "ktm-drop-01", 1, 1, b""]
    if chance.random() < 0.5 and isinstance(template, list) and template:
        value = list(template)
        value[chance.randrange(len(value))] = odd(chance, 3)
        return cbor2.dumps(value)
    return cbor2.dumps(odd(chance, 4))


def odd(chance: random.Random, depth: int) -> object:
    """A value that is at home in CBOR and nowhere else."""
    scalars: tuple[object, ...] = (
        *(0, 1, -1, 23, 24, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**200, -(2**63) - 1),
        *(True, False, None, 1.0, float("nan"), float("inf"), "", "\0", "text", "PET\nX", "AAAA"),
        *(b"", b"\0" * 32, b"x" * 64, "é" * 40, "ktm-drop-01", cbor2.undefined),
    )
    if depth == 0 or chance.random() < 0.4:
        return chance.choice(scalars)
    size = chance.randrange(0, 12)
    if chance.random() < 0.7:
        return [odd(chance, depth - 1) for _ in range(size)]
    keys: Sequence[object] = (4, 7, -70001, -70002, "a", b"b", None)
    return {chance.choice(keys): odd(chance, depth - 1) for _ in range(size)}


def odd_json(chance: random.Random, depth: int = 3) -> object:
    """A value that JSON can carry and few schemas expect."""
    scalars: tuple[object, ...] = (
        *(0, 1, -1, 2**31, 2**63, 2**64, 10**40, 1.5, -0.0, 1e308, True, False, None),
        *(float("nan"), float("inf"), *ODD_TEXTS, "ktm-patan-01", "pet"),
    )
    if depth == 0 or chance.random() < 0.5:
        return chance.choice(scalars)
    if chance.random() < 0.4:
        return [odd_json(chance, depth - 1) for _ in range(chance.randrange(6))]
    return {str(chance.choice(ODD_TEXTS)): odd_json(chance, depth - 1) for _ in range(chance.randrange(5))}


def json_bytes(value: object) -> bytes:
    """As JSON, lone surrogates and NaN included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
