"""A drop point with a history: gateways that append, send, repeat, prune, fork, carry over and lie.

Every choice is drawn from one chance, so a seed replays it. What was committed is told, not guessed.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

import cbor2

from cloud.ingest.project import id_of
from protocol import VERSION
from protocol.bodies import (
    BinEstimated,
    BinWeighed,
    CustodyHandedOver,
    GatewayStarted,
    HolderKind,
    ManualEntered,
    Outcome,
    PickupClosed,
    PickupOpened,
    RecordCarried,
    ScaleZeroed,
    Stability,
    TareKind,
    WeighingVoided,
)
from protocol.frames import OLDER_MAX, ClockSample, Frame, Older, build_frame
from protocol.points import points_for
from protocol.records import ClockQuality, Record, encode_record
from tests.cloud.ingest.gateway import RATES, WALL_MS, Gateway, serial_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

CITIZENS = 6
TAGS = (b"010063E9AE", b"04A2B91C", b"unknown tag")
BINS = ("BIN-PET", "BIN-GLASS", "BIN-NOBODY-KNOWS")
JOURNALS_MAX = 6
_RECORDS_MAX = 60
"""In one frame."""
SEND = {
    "continue": 60,
    "again": 8,
    "overlap": 8,
    "ahead": 3,
    "pruned": 3,
    "late": 8,
    "twin": 3,
    "carry": 4,
    "nothing": 2,
    "older journal": 5,
}
APPEND = {
    "visit": 40,
    "open": 5,
    "close": 5,
    "weighing": 16,
    "unpriced": 6,
    "void": 10,
    "manual": 4,
    "pickup": 3,
    "bin": 6,
    "close pickup": 3,
    "hand over": 3,
    "of no effect": 4,
    "poison": 8,
}


def guest_hash(number: int) -> bytes:
    """The hash of a guest's claim code."""
    return hashlib.sha256(b"guest" + number.to_bytes(4, "big")).digest()[:16]


class Site:
    """One gateway's identity, whoever has its key: `journals` are its epochs, and the sides of its forks."""

    def __init__(self, name: str, chance: random.Random, catalogs: Sequence[bytes], guests: int) -> None:
        self.name = name
        self._chance = chance
        self._catalogs = catalogs
        self._guests = guests
        self._epochs = 1
        self.journals = [Gateway(name, catalogs[0], epoch=1)]
        self._given_up: deque[tuple[Gateway, int, int]] = deque(maxlen=JOURNALS_MAX)
        """What was pruned before it was sent: journal, first and last seq."""

    def frame(self, through: dict[int, int]) -> bytes:
        """Something that a gateway of this name sends next, signed.

        `through`: how far the cloud has each epoch; moves on as if it took what is sent.
        """
        (what,) = self._chance.choices(list(SEND), list(SEND.values()))
        journal = self._chance.choice(self.journals) if what == "older journal" else self.journals[-1]
        if what == "late" and self._given_up:
            journal, begin, end = self._chance.choice(self._given_up)
            first = self._chance.randint(max(1, begin - 1), end)
            last = self._chance.randint(first, min(end + 2, first + 5))
            return self._cut(journal, first, last, 1, through)
        known = min(through.get(journal.epoch, 0), journal.head)
        first, last, kept = self._range(what, journal, known)
        if what in {"twin", "carry"}:
            journal = self.journals[-1]
        if first <= through.get(journal.epoch, 0) + 1:
            through[journal.epoch] = max(last, through.get(journal.epoch, 0))
        return self._cut(journal, first, last, kept, through)

    def _range(  # noqa: PLR0911 - one way a line
        self, what: str, journal: Gateway, through: int
    ) -> tuple[int, int, int]:
        """First and last seq to send, and the first one still kept."""
        chance = self._chance
        match what:
            case "again" if through:
                first = chance.randint(1, through)
                return first, chance.randint(first, through), 1
            case "overlap" if through:
                self._append(journal)
                return chance.randint(max(1, through - 8), through), journal.head, 1
            case "ahead" | "pruned":
                self._append(journal, chance.randint(2, 5))
                first = min(journal.head, through + chance.randint(2, 12))
                if what == "ahead" or first == through + 1:
                    return first, journal.head, 1
                self._given_up.append((journal, through + 1, first - 1))
                return first, journal.head, first
            case "late" if through:
                first = chance.randint(1, through)
                return first, min(journal.head, first + chance.randint(0, 12)), 1
            case "twin":
                return self._fork(journal, through)
            case "carry":
                return self._carry_over(journal, through)
            case "nothing":
                return through + 1, through, 1
            case _:
                self._append(journal, chance.randint(1, 3))
                return (
                    through + 1,
                    chance.choice((journal.head, chance.randint(through + 1, journal.head))),
                    1,
                )

    def _cut(
        self, journal: Gateway, first: int, last: int, first_kept: int, through: dict[int, int]
    ) -> bytes:
        last = min(last, journal.head, first + _RECORDS_MAX - 1)
        sample = ClockSample(3, journal.mono_ms, WALL_MS + journal.mono_ms, ClockQuality.SYNCED)
        frame = Frame(
            VERSION, self.name, journal.epoch, first, first_kept, journal.digest_at(first - 1),
            journal.digest_at(last), sample, journal.records[first - 1 : last], self._older(journal, through),
        )  # fmt: skip
        return build_frame(frame, journal.key)

    def _older(self, journal: Gateway, through: dict[int, int]) -> tuple[Older, ...]:
        """Epochs of before that are kept still, and how far they were acknowledged, or a little further."""
        if self._chance.random() < 0.5:
            return ()
        found = {}
        for older in self.journals:
            if older.epoch < journal.epoch:
                acked = max(
                    0, min(older.head, through.get(older.epoch, 0) + self._chance.choice((0, 0, 0, -1, 2)))
                )
                found[older.epoch] = Older(older.epoch, acked, older.head, id_of(older.digest_at(acked)))
        return tuple(found.values())[-OLDER_MAX:]

    def _fork(self, journal: Gateway, through: int) -> tuple[int, int, int]:
        """A card cloned at some point; both sides go on, and this one is heard next."""
        at = self._chance.randint(max(0, through - 6), journal.head)
        twin = journal.branch(at)
        self._append(twin)
        self._add(twin)
        return max(1, min(at + 1, twin.head) - self._chance.randint(0, 2)), twin.head, 1

    def _carry_over(self, journal: Gateway, through: int) -> tuple[int, int, int]:
        """A new epoch, into which records are carried: some that the cloud has, some twice."""
        self._epochs += 1
        new = Gateway(self.name, journal.catalog, epoch=self._epochs)
        new.mono_ms = journal.mono_ms
        begin = max(1, self._chance.choice((through + 1, 1, through - 4)))
        chosen = list(range(begin, journal.head + 1))[-40:]
        if self._chance.random() < 0.2:
            chosen += chosen[-3:]
        for seq in chosen:
            self._carry(new, journal, seq)
        self._append(new)
        self._add(new)
        return 1, new.head, 1

    def _carry(self, new: Gateway, journal: Gateway, seq: int) -> None:
        """Carried once, a record travels on as it is."""
        data = journal.records[seq - 1]
        if data.startswith(b"\x87\x18\x18"):
            new.append_bytes(data)
        else:
            new.append(RecordCarried(journal.epoch, seq, journal.digest_at(seq - 1), data))

    def _add(self, journal: Gateway) -> None:
        self.journals.append(journal)
        if len(self.journals) > JOURNALS_MAX:
            self.journals.pop(self._chance.randrange(len(self.journals) - 1))

    # -- what people do -------------------------------------------------------------------------------------

    def _append(self, journal: Gateway, count: int = 1) -> None:
        journal.catalog = self._catalogs[-1] if self._chance.random() < 0.6 else journal.catalog
        if self._chance.random() < 0.2:
            journal.clock = self._chance.choice(list(ClockQuality))
        for _ in range(count):
            (what,) = self._chance.choices(list(APPEND), list(APPEND.values()))
            _APPENDERS[what](self, journal)

    def _who(self) -> tuple[HolderKind, bytes]:
        chance = self._chance
        kind = chance.choices((HolderKind.CARD, HolderKind.TAG, HolderKind.GUEST), (6, 2, 3))[0]
        match kind:
            case HolderKind.CARD:
                return kind, serial_of(chance.randrange(CITIZENS), chance.randint(1, 2))
            case HolderKind.TAG:
                return kind, chance.choice(TAGS)
            case HolderKind.GUEST:
                return kind, guest_hash(chance.randrange(self._guests))

    def _seq(self, journal: Gateway) -> int:
        """Some record's seq, rather a late one; it need not exist."""
        return max(1, journal.head - self._chance.randint(-1, 12))

    def _visit(self, journal: Gateway) -> None:
        kind, holder = self._who()
        deposit = journal.open(kind, holder)
        for _ in range(self._chance.randint(1, 3)):
            material = self._chance.choice(sorted(RATES))
            net_g = self._chance.choice((self._chance.randrange(3_000), self._chance.randrange(90_000)))
            journal.weigh(deposit, net_g, material, kind, holder)
        if self._chance.random() < 0.8:
            journal.close(deposit)

    def _open(self, journal: Gateway) -> None:
        journal.open(*self._who())

    def _close(self, journal: Gateway) -> None:
        journal.close(self._seq(journal))

    def _weighing(self, journal: Gateway) -> None:
        kind, holder = self._who()
        tare_g = self._chance.choice((0, 0, 120))
        net_g = self._chance.choice((0, 1, 83, 1_000, 2_750))
        journal.weigh(self._seq(journal), net_g, "pet", kind, holder, tare_g=tare_g)

    def _unpriced(self, journal: Gateway) -> None:
        kind, holder = self._who()
        material = self._chance.choice(("pet", "glass", "steel"))
        journal.weigh(self._seq(journal), 700, material, kind, holder, rate=None, points=None)

    def _void(self, journal: Gateway) -> None:
        weighing = self._lately(journal, b"\x87\x03", 6)
        journal.append(WeighingVoided(max(1, weighing - 1), weighing, "taken back"))

    def _manual(self, journal: Gateway) -> None:
        kind, holder = self._who()
        points = points_for(400, RATES["glass"])
        by = serial_of(0)
        journal.append(
            ManualEntered(
                kind, holder, "glass", RATES["glass"], journal.catalog, self._seq(journal), by, "no scale",
                400, points,
            )
        )  # fmt: skip

    def _pickup(self, journal: Gateway) -> None:
        journal.append(PickupOpened(serial_of(self._chance.randrange(CITIZENS))))

    def _bin(self, journal: Gateway) -> None:
        code, pickup = self._chance.choice(BINS), self._pickup_seq(journal)
        emptied, net_g = self._chance.random() < 0.8, self._chance.choice((0, 4_000, 9_500))
        if self._chance.random() < 0.4:
            journal.append(BinEstimated(pickup, code, net_g, emptied))
            return
        body = BinWeighed(
            pickup, code, "SN-1", "kg", 5, Stability.FLAG, TareKind.WEIGHED, 500, b"S S", net_g + 500, net_g,
            emptied,
        )  # fmt: skip
        journal.append(body)

    def _close_pickup(self, journal: Gateway) -> None:
        journal.append(PickupClosed(self._pickup_seq(journal), Outcome.COMPLETED, 2, 9_000))

    def _hand_over(self, journal: Gateway) -> None:
        giver, taker = serial_of(0), serial_of(self._chance.randrange(CITIZENS))
        journal.append(CustodyHandedOver(self._pickup_seq(journal), giver, taker, 9_000))

    def _pickup_seq(self, journal: Gateway) -> int:
        """A pickup opened here lately, if there is one."""
        return self._lately(journal, b"\x87\x05", 2)

    def _lately(self, journal: Gateway, head: bytes, count: int) -> int:
        """The seq of one of the last records that begin like this, mostly; else any."""
        found = [seq for seq, data in enumerate(journal.records, 1) if data[:2] == head]
        if found and self._chance.random() < 0.9:
            return self._chance.choice(found[-count:])
        return self._seq(journal)

    def _of_no_effect(self, journal: Gateway) -> None:
        body = self._chance.choice((ScaleZeroed("SN-1"), GatewayStarted("1", "boot", "power")))
        journal.append(body)

    def _poison(self, journal: Gateway) -> None:
        """Something that must stand in quarantine, whatever comes behind it."""
        chance = self._chance
        match chance.randrange(12):
            case 0:
                journal.append_bytes(b"\xff\x00 no record " + chance.randbytes(4))
            case 1:
                wire = [99, 3, 3, WALL_MS, journal.head + 1, journal.mono_ms, []]
                journal.append_bytes(cbor2.dumps(wire))
            case 2:
                journal.append(ScaleZeroed("SN-1"), seq=journal.head + 7)
            case 3:
                journal.weigh(self._seq(journal), 500, gross_g=700)
            case 4:
                journal.weigh(self._seq(journal), 500, points=1)
            case 5:
                self._of_an_unknown_catalog(journal)
            case 6:
                journal.weigh(self._seq(journal), 500, holder=b"short")
            case 7:
                journal.append(RecordCarried(2**63 - 1, 2**63 - 1, bytes(32), b"\xff" + chance.randbytes(3)))
            case 8 if chance.random() < 0.3:  # looked for record by record, which takes its time
                journal.append(PickupClosed(self._pickup_seq(journal), Outcome.COMPLETED, 2**40, 0))
            case 9:
                wire = [2, 3, 3, WALL_MS, journal.head + 1, journal.mono_ms, [1, "no\0outcome", 0, 0, 0]]
                journal.append_bytes(cbor2.dumps(wire))
            case 10:
                journal.append(CustodyHandedOver(self._seq(journal), serial_of(1), serial_of(1), 5))
            case _:
                self._of_the_far_future(journal)

    def _of_an_unknown_catalog(self, journal: Gateway) -> None:
        known, journal.catalog = journal.catalog, bytes(32)
        journal.weigh(self._seq(journal), 500)
        journal.catalog = known

    def _of_the_far_future(self, journal: Gateway) -> None:
        """Good but for a clock at the end of time."""
        kind, holder = self._who()
        deposit = journal.open(kind, holder)
        body = WeighingVoided(deposit, 2**63 - 1, "none")
        wall_ms = self._chance.choice((2**62, -(2**62), 0))
        record = Record(journal.head + 1, 2**31 - 1, 2**60, wall_ms, ClockQuality.UNKNOWN, body)
        journal.append_bytes(encode_record(record))


_APPENDERS: dict[str, Callable[[Site, Gateway], None]] = {
    "visit": Site._visit,
    "open": Site._open,
    "close": Site._close,
    "weighing": Site._weighing,
    "unpriced": Site._unpriced,
    "void": Site._void,
    "manual": Site._manual,
    "pickup": Site._pickup,
    "bin": Site._bin,
    "close pickup": Site._close_pickup,
    "hand over": Site._hand_over,
    "of no effect": Site._of_no_effect,
    "poison": Site._poison,
}
