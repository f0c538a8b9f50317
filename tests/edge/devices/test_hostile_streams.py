"""A million hostile bytes per dialect: garbage, truncated, glued and bit-flipped frames between intact ones.

What is promised, and held to here:

* No bytes raise. What is no frame is a `FrameFault`, and the buffer stays bounded.
* Dialects with a checksum (toledo, a9, a9-command, a12e): no reading comes out that was not sent, whatever
  single bit is flipped and whatever byte is lost.
* Dialects without one cannot tell a flipped digit from another digit; no parser can. Their parsers promise it
  for the damage the format can show: wrong width, bytes outside the alphabet, missing ends. For the rest the
  tracker promises that damage which does not hit two frames in a row never becomes a weight.
* An intact frame behind an intact frame is always read.
"""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.devices.readings import FrameFault, Reading
from edge.devices.scales.dialects import DIALECTS, Setup, dialect
from edge.devices.stability import ScaleTracker
from tests.edge.devices.encoders import ENCODERS, Encoder, Meaning

STREAM_BYTES = 1_000_000
DIVISION_G = 5


def flip_bit(frame: bytes, encoder: Encoder, rng: random.Random) -> bytes:
    """Any bit where a checksum watches; else one that takes a byte out of the dialect's alphabet."""
    place = rng.choice([i for i in range(len(frame)) if i not in encoder.bits_kept])
    bit = rng.randrange(8) if encoder.checked else 7
    return frame[:place] + bytes((frame[place] ^ 1 << bit,)) + frame[place + 1 :]


def lose_byte(frame: bytes, encoder: Encoder, rng: random.Random) -> bytes:
    """Any byte where a checksum watches; else one digit of a field of fixed width."""
    places = [i for i, byte in enumerate(frame) if encoder.checked or byte in b"0123456789"]
    if not places or frame.startswith(b"OL"):
        return frame[: len(frame) // 2]
    if not encoder.checked:
        places = [i for i in places if i > 5 or frame[:1] in b"=0123456789-w"]
    place = rng.choice(places)
    damaged = frame[:place] + frame[place + 1 :]
    if (damaged + frame[:1]).startswith(frame):
        return damaged[:-4]  # the next frame's first byte would stand in for the lost one
    return damaged


def damage(frame: bytes, encoder: Encoder, rng: random.Random) -> bytes:
    match rng.randrange(4):
        case 0:
            return rng.randbytes(rng.randint(1, 40))
        case 1:
            return frame[: rng.randint(1, max(1, len(frame) - 4))]
        case 2:
            return flip_bit(frame, encoder, rng)
        case _:
            return lose_byte(frame, encoder, rng)


def hostile_stream(name: str, seed: int) -> tuple[bytes, Counter[Meaning], Counter[Meaning]]:
    """The bytes, what was sent intact, and what of it came right behind an intact frame.

    Damage is always followed by an intact frame: debris of two frames can be one plausible frame where
    nothing but a width is there to show it.
    """
    encoder, rng = ENCODERS[name], random.Random(f"{name} {seed}")
    stream, sent, clean = bytearray(), Counter[Meaning](), Counter[Meaning]()
    after_intact = False
    while len(stream) < STREAM_BYTES:
        frame, meaning = encoder.sample(rng)
        if after_intact and rng.random() < 0.4:
            stream += damage(frame, encoder, rng)
            after_intact = False
            continue
        stream += frame
        sent[meaning] += 1
        clean[meaning] += after_intact
        after_intact = True
    return bytes(stream), sent, clean


def chunks(stream: bytes, rng: random.Random) -> Iterator[bytes]:
    """From single bytes to what a blocked loop finds waiting."""
    position = 0
    while position < len(stream):
        size = rng.choice((1, 3, 17, 64, 300, 4096))
        yield stream[position : position + size]
        position += size


@pytest.mark.parametrize("name", DIALECTS)
def test_a_million_hostile_bytes_give_no_reading_that_was_not_sent(name: str) -> None:
    stream, sent, clean = hostile_stream(name, seed=1)
    parser = dialect(name).parser(Setup())
    read, faults = Counter[Meaning](), 0
    for chunk in chunks(stream, random.Random(2)):
        for item in parser.feed(chunk):
            if isinstance(item, Reading):
                read[(item.status, item.gross_g, item.net_g, item.tare_g)] += 1
            else:
                assert isinstance(item, FrameFault)
                assert item.code.startswith("frame.")
                assert len(item.raw) <= 64
                faults += 1
    assert not read - sent, "a reading that was not sent"
    assert not clean - read, "an intact frame behind an intact frame was not read"
    assert faults > 1_000


@pytest.mark.parametrize("name", DIALECTS)
def test_a_million_bytes_of_pure_noise_are_no_weighings(name: str) -> None:
    noise = random.Random(f"noise {name}").randbytes(STREAM_BYTES)
    parser = dialect(name).parser(Setup())
    tracker = ScaleTracker(DIVISION_G, opened_s=0.0)
    for index, chunk in enumerate(chunks(noise, random.Random(3))):
        now = index * 0.02
        for item in parser.feed(chunk):
            if isinstance(item, Reading):
                tracker.take(item, now)
            else:
                tracker.take_fault(now)
        assert tracker.view(now).stable_g is None


def any_damage(frame: bytes, rng: random.Random) -> bytes:
    """Damage of every kind, also such as makes another plausible frame where there is no checksum."""
    place = rng.randrange(len(frame))
    match rng.randrange(4):
        case 0:
            return frame[:place] + bytes((frame[place] ^ 1 << rng.randrange(8),)) + frame[place + 1 :]
        case 1:
            return frame[:place] + frame[place + 1 :]
        case 2:
            return frame[:place] + rng.randbytes(1) + frame[place:]
        case _:
            return frame[:place]


@pytest.mark.parametrize("name", DIALECTS)
def test_damage_that_spares_every_other_frame_never_becomes_a_weight(name: str) -> None:
    """Ten frames a second; loads of 3 s each, at rest; a third of the frames damaged, never two in a row."""
    rng = random.Random(f"damage {name}")
    encoder, parser = ENCODERS[name], dialect(name).parser(Setup())
    tracker = ScaleTracker(DIVISION_G, opened_s=0.0)
    now, weighed, damaged = 0.0, 0, False
    loads_g, load_g = [0, 0], 0
    for tick in range(9_000):
        if tick % 30 == 0:
            load_g = rng.randint(0, 60_000)
            loads_g = [loads_g[-1], load_g]
        now += 0.1
        frame = encoder.weigh(load_g, tick % 30 > 2)
        damaged = not damaged and rng.random() < 0.5
        for item in parser.feed(any_damage(frame, rng) if damaged else frame):
            if isinstance(item, Reading):
                tracker.take(item, now)
        stable_g = tracker.view(now).stable_g
        if stable_g is not None:
            weighed += 1
            assert any(abs(stable_g - known_g) <= DIVISION_G for known_g in loads_g)
    assert weighed > 20


@given(data=st.binary(max_size=300), name=st.sampled_from(sorted(DIALECTS)), cut=st.integers(0, 300))
@settings(max_examples=500, deadline=None)
def test_no_bytes_raise_and_where_they_are_cut_makes_no_difference(data: bytes, name: str, cut: int) -> None:
    whole = dialect(name).parser(Setup())
    parts = dialect(name).parser(Setup())
    readings = [item for item in whole.feed(data) if isinstance(item, Reading)]
    cut_readings = [
        item for part in (data[:cut], data[cut:]) for item in parts.feed(part) if isinstance(item, Reading)
    ]
    assert readings == cut_readings


@pytest.mark.parametrize("name", DIALECTS)
def test_endless_bytes_without_a_frame_keep_the_buffer_bounded(name: str) -> None:
    parser = dialect(name).parser(Setup())
    for filler in (b"\x00", b"\x02", b"w", b"7", b" "):
        for _ in range(2_000):
            parser.feed(filler * 7)
    assert _held_bytes(parser) < 1_000


def _held_bytes(parser: object, depth: int = 0) -> int:
    held = 0
    for value in vars(parser).values():
        if isinstance(value, bytes):
            held += len(value)
        elif hasattr(value, "__dict__") and depth < 2:
            held += _held_bytes(value, depth + 1)
    return held
