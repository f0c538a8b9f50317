"""The tests' own tiny encoders, one per dialect, written from the makers' layouts and not from our parsers.

An encoder draws a sample from a seeded generator and gives the frame and what it must be read as.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from edge.devices.readings import Status

Meaning = tuple[Status, int | None, int | None, int | None]
"""Status, gross, net and tare in grams."""
Sample = tuple[bytes, Meaning]
Encode = Callable[[random.Random], Sample]
Weigh = Callable[[int, bool], bytes]


@dataclass(frozen=True)
class Encoder:
    """`sample` draws any frame of the dialect; `weigh(mass_g, stable)` is a gross weight in kg."""

    sample: Encode
    weigh: Weigh
    checked: bool
    """Every frame carries a checksum, so any single damaged byte shows."""
    bits_kept: frozenset[int] = frozenset()
    """Bytes of the frame whose high bit means something and is not flipped in an unchecked dialect."""


def _flagged(rng: random.Random) -> tuple[bool, Status]:
    stable = rng.random() < 0.5
    return stable, Status.STABLE if stable else Status.MOTION


def mt_sics_weight(mass_g: int, stable: bool) -> bytes:
    sign = "-" if mass_g < 0 else ""
    number = f"{sign}{abs(mass_g) // 1000}.{abs(mass_g) % 1000:03d}"
    return f"S {'S' if stable else 'D'} {number:>10} kg\r\n".encode()


def mt_sics(rng: random.Random) -> Sample:
    if rng.random() < 0.1:
        frame, status = rng.choice(
            [(b"S +\r\n", Status.OVERLOAD), (b"S -\r\n", Status.UNDERLOAD), (b"S I\r\n", Status.ERROR)]
        )
        return frame, (status, None, None, None)
    stable, status = _flagged(rng)
    mass_g = rng.randint(-5_000, 999_999)
    return mt_sics_weight(mass_g, stable), (status, mass_g, None, None)


def _toledo_frame(word_b: int, digits: int, tare: int = 0) -> bytes:
    body = bytes((2, 0x2D, word_b, 0x20)) + b"%6d%6d\r" % (digits, tare)  # 0x2D: three decimals, steps of one
    return body + bytes(((128 - sum(body) % 128) % 128,))


def toledo_weight(mass_g: int, stable: bool) -> bytes:
    return _toledo_frame(0x30 | (0 if stable else 8) | (2 if mass_g < 0 else 0), abs(mass_g))


def toledo(rng: random.Random) -> Sample:
    choice = rng.random()
    if choice < 0.05:
        return _toledo_frame(0x34, rng.randrange(10**6)), (Status.OVERLOAD, None, None, None)
    stable, status = _flagged(rng)
    if choice < 0.2:
        net_g, tare_g = rng.randrange(10**6), rng.randrange(10**6)
        frame = _toledo_frame(0x31 | (0 if stable else 8), net_g, tare_g)
        return frame, (status, net_g + tare_g, net_g, tare_g)
    mass_g = rng.randint(-5_000, 999_999)
    return toledo_weight(mass_g, stable), (status, mass_g, None, None)


def and_weight(mass_g: int, stable: bool) -> bytes:
    sign, mass_g = "-" if mass_g < 0 else "+", abs(mass_g)
    return f"{'ST' if stable else 'US'},{sign}{mass_g // 1000:04d}.{mass_g % 1000:03d} kg\r\n".encode()


def and_(rng: random.Random) -> Sample:
    if rng.random() < 0.1:
        return b"OL,+9999999E+19\r\n", (Status.OVERLOAD, None, None, None)
    stable, status = _flagged(rng)
    mass_g = rng.randint(-5_000, 999_999)
    return and_weight(mass_g, stable), (status, mass_g, None, None)


def _eight(mass_g: int) -> str:
    if mass_g < 0:
        return f"-{-mass_g // 1000:03d}.{-mass_g % 1000:03d}"
    return f"{mass_g // 1000:04d}.{mass_g % 1000:03d}"


def cas22_weight(mass_g: int, stable: bool) -> bytes:
    lamp = 0xA4 | (0x40 if stable else 0)
    head = b"ST" if stable else b"US"
    return head + b",GS,1" + bytes((lamp,)) + b"," + _eight(mass_g).encode() + b" kg\r\n"


def cas18_weight(mass_g: int, stable: bool) -> bytes:
    return f"{'ST' if stable else 'US'},GS,{_eight(mass_g)}kg\r\n".encode()


def kern_weight(mass_g: int, stable: bool) -> bytes:
    sign, mass_g = "-" if mass_g < 0 else "+", abs(mass_g)
    return f"{'ST' if stable else 'US'},GS,{sign}{mass_g // 1000:04d}.{mass_g % 1000:03d}  kg\r\n".encode()


def cas10_weight(mass_g: int, stable: bool) -> bytes:
    return f"{_eight(mass_g)}\r\n".encode()


def _hex_xor(body: bytes) -> bytes:
    value = 0
    for byte in body:
        value ^= byte
    return f"{value:02X}".encode()


def a9_weight(mass_g: int, stable: bool) -> bytes:
    body = f"{'-' if mass_g < 0 else '+'}{abs(mass_g):06d}3".encode()
    return b"\x02" + body + _hex_xor(body) + b"\x03"


def a9_reply_weight(mass_g: int, stable: bool) -> bytes:
    body = f"AB{'-' if mass_g < 0 else '+'}{abs(mass_g):06d}3".encode()
    return b"\x02" + body + _hex_xor(body) + b"\x03"


def reversed_weight(mass_g: int, stable: bool) -> bytes:
    return b"=" + _eight(mass_g).encode()[::-1]


def _seven(mass_g: int) -> str:
    if mass_g < 0:
        return f"-{-mass_g // 1000:02d}.{-mass_g % 1000:03d}"
    return f"{mass_g // 1000:03d}.{mass_g % 1000:03d}"


def a12e_weight(mass_g: int, stable: bool) -> bytes:
    body = b"WG" + _seven(mass_g).encode() + b"kg"
    return body + _hex_xor(body) + b"\r\n"


def a12e(rng: random.Random) -> Sample:
    choice = rng.random()
    if choice < 0.05:
        return b" " * 9 + b"OL23\r\n", (Status.OVERLOAD, None, None, None)
    mass_g = rng.randint(-5_000, 999_999)
    if choice < 0.2:
        body = b"WN" + _seven(mass_g).encode() + b"kg"
        return body + _hex_xor(body) + b"\r\n", (Status.MOTION, None, mass_g, None)
    return a12e_weight(mass_g, True), (Status.MOTION, mass_g, None, None)


def a12e_clone_weight(mass_g: int, stable: bool) -> bytes:
    return b"ww" + _seven(mass_g).encode() + b"kg"


def a12e_clone(rng: random.Random) -> Sample:
    mass_g = rng.randint(-5_000, 999_999)
    text = _seven(mass_g).encode()
    match rng.randrange(4):
        case 0:
            return b"wn" + text + b"kg", (Status.MOTION, None, mass_g, None)
        case 1:
            return b"wt" + text + b"kg", (Status.MOTION, None, None, mass_g)
        case _:
            return b"ww" + text + b"kg", (Status.MOTION, mass_g, None, None)


def _plain(weigh: Weigh, *, flag: bool) -> Encode:
    def sample(rng: random.Random) -> Sample:
        stable, status = _flagged(rng)
        mass_g = rng.randint(-5_000, 999_999)
        return weigh(mass_g, stable), (status if flag else Status.MOTION, mass_g, None, None)

    return sample


def _with_modes(weigh: Weigh) -> Encode:
    def sample(rng: random.Random) -> Sample:
        frame, (status, mass_g, _, _) = _plain(weigh, flag=True)(rng)
        if rng.random() < 0.2:
            return frame.replace(b",GS,", b",NT,"), (status, None, mass_g, None)
        return frame, (status, mass_g, None, None)

    return sample


ENCODERS: dict[str, Encoder] = {
    "mt-sics": Encoder(mt_sics, mt_sics_weight, checked=False),
    "toledo": Encoder(toledo, toledo_weight, checked=True),
    "and": Encoder(and_, and_weight, checked=False),
    "cas22": Encoder(_with_modes(cas22_weight), cas22_weight, checked=False, bits_kept=frozenset({7})),
    "cas18": Encoder(_with_modes(cas18_weight), cas18_weight, checked=False),
    "cas10": Encoder(_plain(cas10_weight, flag=False), cas10_weight, checked=False),
    "kern": Encoder(_with_modes(kern_weight), kern_weight, checked=False),
    "a9": Encoder(_plain(a9_weight, flag=False), a9_weight, checked=True),
    "a9-command": Encoder(_plain(a9_reply_weight, flag=False), a9_reply_weight, checked=True),
    "yaohua-reversed": Encoder(_plain(reversed_weight, flag=False), reversed_weight, checked=False),
    "a12e": Encoder(a12e, a12e_weight, checked=True),
    "a12e-clone": Encoder(a12e_clone, a12e_clone_weight, checked=False),
}
