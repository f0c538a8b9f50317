"""A gateway's day in which records mean others, and the orders in which its frames can arrive."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from protocol.bodies import (
    BinEstimated,
    BinScanned,
    BinWeighed,
    CustodyHandedOver,
    HolderKind,
    ManualEntered,
    Outcome,
    PickupClosed,
    PickupOpened,
    Stability,
    TareKind,
    WeighingVoided,
)
from tests.cloud.ingest.gateway import RATES, Gateway, serial_of
from tests.cloud.ingest.test_exactly_once import carry

if TYPE_CHECKING:
    from collections.abc import Iterator

GUEST_POINTS = 1_000
"""What the guest's visit is worth in the end."""
SPLITS = ((1, 2, 3, 4, 5), (6, 7, 8, 9, 11), (2, 4, 7, 9, 12), (12, 13, 15, 17, 18))
"""Where the day is cut into frames: after these seqs. Each is every possible order of six frames."""


def day(gateway: Gateway, person: int = 1) -> int:
    """A member's visit, a pickup handed over twice, a guest's visit, one with a revoked card. The head."""
    first = gateway.open(holder=serial_of(person))  # 1
    gateway.weigh(first, 1_000, holder=serial_of(person))
    taken_back = gateway.weigh(first, 300, "glass", holder=serial_of(person))
    gateway.append(WeighingVoided(first, taken_back, "taken back"))
    gateway.close(first, 1_000, 12_000)
    _pickup(gateway, person)  # 6 to 12
    guest = HolderKind.GUEST, guest_of(person)
    visit = gateway.open(*guest)  # 13
    gateway.weigh(visit, 500, "pet", *guest)
    rate = RATES["paper"]
    by = serial_of(person + 1)
    gateway.append(
        ManualEntered(*guest, "paper", rate, gateway.catalog, visit, by, "the scale fails", 200, rate // 5)
    )
    gateway.append(WeighingVoided(visit, visit + 1, "taken back"))
    gateway.close(visit, 200, 1_000)
    visit = gateway.open(holder=revoked_of(person))  # 18
    gateway.weigh(visit, 400, holder=revoked_of(person))
    gateway.close(visit, 400, 4_800)
    return gateway.head


def _pickup(gateway: Gateway, person: int) -> None:
    collector, driver, depot = (serial_of(person + more) for more in (2, 3, 4))
    opened = gateway.append(PickupOpened(collector))
    weighed = (Stability.FLAG, TareKind.WEIGHED, 3_000, b"raw", 15_000, 12_000)
    gateway.append(BinWeighed(opened, "BIN-1", "SN", "kg", 5, *weighed))
    gateway.append(CustodyHandedOver(opened, collector, driver, 12_000))
    gateway.append(BinEstimated(opened, "BIN-2", 700))
    gateway.append(BinScanned(opened, "BIN-3"))
    gateway.append(CustodyHandedOver(opened, driver, depot, 12_700))
    gateway.append(PickupClosed(opened, Outcome.COMPLETED, 2, 12_700))


def guest_of(person: int) -> bytes:
    """The hash of the guest's claim code."""
    return b"guest" + person.to_bytes(11, "big")


def revoked_of(person: int) -> bytes:
    """The serial of a card that is revoked long before the day."""
    return serial_of(person + 5)


def parts_of(gateway: Gateway, cuts: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last seq of every frame."""
    return [(first + 1, last) for first, last in zip((0, *cuts), (*cuts, gateway.head), strict=True)]


def frames(gateway: Gateway, order: list[tuple[int, int]]) -> list[bytes]:
    """The frames of these parts: each says that what lies before it is lost. The whole day ends them all."""
    return [*(gateway.frame(*part, first_kept=part[0]) for part in order), gateway.frame()]


def random_frames(gateway: Gateway, chance: random.Random) -> Iterator[bytes]:
    """Parts of any length in any order, some with their neighbour's record; perhaps the end of it all carried
    in a new epoch; then the whole day.
    """
    cuts = tuple(sorted(chance.sample(range(1, gateway.head), chance.randint(1, 9))))
    parts = parts_of(gateway, cuts)
    carried = parts[chance.randrange(len(parts))][0] if chance.random() < 0.5 else None
    order = [(first, min(gateway.head, last + chance.randint(0, 1))) for first, last in parts]
    chance.shuffle(order)
    place = chance.randint(0, len(order))
    for number, (first, last) in enumerate(order):
        if number == place and carried is not None:
            yield _carried(gateway, carried)
        yield gateway.frame(first, last, first_kept=first)
    yield gateway.frame()


def _carried(gateway: Gateway, first: int) -> bytes:
    new = Gateway(gateway.id, gateway.catalog, gateway.epoch + 1)
    carry(gateway, new, first)
    return new.frame()
