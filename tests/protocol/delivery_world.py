"""A world in memory for the delivery session: gateways, a lossy network and a cloud that can be restored.

The rules are `Sender` and `receive`; this only stores what they decide, as a journal and a database would.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

from protocol import VERSION
from protocol.acks import Ack, Echo, Verdict
from protocol.delivery import (
    WINDOW_MAX,
    AckOutcome,
    Cursor,
    Plan,
    Received,
    Sender,
    forgot,
    receive,
    receive_carried,
)
from protocol.frames import ClockSample, Frame, Older
from protocol.records import ClockQuality, genesis_digest, next_digest

GATEWAY = "ktm-drop-01"
RECORDS_PER_FRAME = 3
NETWORK_MAX = 12
ROUNDS_MAX = 4_000
GATEWAYS_MAX = 3
NETWORK = {
    "append": 6,
    "send": 8,
    "deliver_frame": 12,
    "repeat_frame": 2,
    "lose_frame": 1,
    "deliver_ack": 10,
    "repeat_ack": 2,
    "lose_ack": 1,
    "stall": 2,
    "restart_gateway": 1,
    "prune": 2,
}
CLOUD_RESTORED = {"back_up_cloud": 1, "restore_cloud": 2}
JOURNAL_COPIED = {"save_image": 1, "restore_image": 1, "clone": 1}
EPOCH_ENDED = {"end_epoch": 1}
_CARRIED = b"carried:"
_TAKEN = {AckOutcome.ADVANCED, AckOutcome.REPEATED, AckOutcome.REWOUND, AckOutcome.FORGOTTEN}


def identity(previous: bytes, data: bytes) -> bytes:
    """A record's id for ever, whether it travels in its own epoch or carried in another."""
    if data.startswith(_CARRIED):
        _, _, previous, data = unwrap(data)
    return next_digest(previous, data)


def wrap(epoch: int, seq: int, previous: bytes, data: bytes) -> bytes:
    """A record as it travels in another epoch; what is carried already stays as it is."""
    if data.startswith(_CARRIED):
        return data
    return _CARRIED + epoch.to_bytes(4, "big") + seq.to_bytes(4, "big") + previous + data


def unwrap(data: bytes) -> tuple[int, int, bytes, bytes]:
    """Epoch, seq, previous digest and bytes of a carried record."""
    data = data.removeprefix(_CARRIED)
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big"), data[8:40], data[40:]


@dataclass(slots=True)
class Journal:
    """One epoch of one gateway, whose first `carried` are of others. `digests[n]` is the chain after n."""

    epoch: int
    records: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    first_kept: int = 1
    acked: int = 0
    acked_before: int = 0
    carried: int = 0
    ids: dict[int, set[bytes]] = field(default_factory=dict)  # every id that ever had this seq, twins' too

    def __post_init__(self) -> None:
        self.digests = self.digests or [genesis_digest(GATEWAY, self.epoch)]

    @property
    def head(self) -> int:
        return len(self.records)

    def append(self, data: bytes) -> bytes:
        self.records.append(data)
        self.digests.append(next_digest(self.digests[-1], data))
        found = identity(self.digests[-2], data)
        self.ids.setdefault(self.head, set()).add(found)
        return found

    def digest_at(self, seq: int) -> bytes | None:
        kept = self.first_kept - 1 <= seq <= self.head
        return self.digests[seq] if kept else None

    def copy(self) -> Journal:
        return replace(self, records=list(self.records), digests=list(self.digests))

    def kept(self, after: int) -> list[tuple[int, bytes]]:
        """Seq and bytes of what is held behind `after`."""
        return [(seq, self.records[seq - 1]) for seq in range(max(after + 1, self.first_kept), self.head + 1)]

    def claim(self) -> Older:
        data = self.records[self.acked - 1] if self.acked else b""
        own = identity(self.digests[self.acked - 1], data) if self.acked else self.digests[0]
        return Older(self.epoch, self.acked, self.head, own[:16])

    def kept_ids(self) -> set[bytes]:
        return {identity(self.digests[seq - 1], data) for seq, data in self.kept(0)}


@dataclass(slots=True)
class Gateway:
    """One device, whose identity a clone has as well. `history` is all that it was given.

    `older` are the epochs before this one; the first `carried` of them are carried in a later one as a whole.
    """

    name: str
    journal: Journal
    history: list[bytes] = field(default_factory=list)
    mono_ms: int = 0
    older: list[Journal] = field(default_factory=list)
    carried: int = 0
    outcomes: list[AckOutcome] = field(default_factory=list)
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, *, before_the_mark_was_kept: bool = False) -> None:
        journal = self.journal
        if before_the_mark_was_kept:
            journal.acked = journal.acked_before
        journal.acked = max(journal.acked, 0)
        self.sender = Sender(GATEWAY, journal.epoch, journal.acked, journal.head)

    def append(self) -> None:
        data = f"{self.name}:{len(self.history)}".encode()
        self.history.append(self.journal.append(data))
        self.sender.appended(self.journal.head)

    def send(self) -> Frame | None:
        plan = self.sender.plan()
        return None if plan is None else self._frame(plan)

    def hello(self) -> Frame | None:
        plan = self.sender.hello()
        return None if plan is None else self._frame(plan)

    def _frame(self, plan: Plan) -> Frame:
        journal = self.journal
        first = max(plan.first, journal.first_kept)
        last = min(
            first + RECORDS_PER_FRAME - 1, journal.head
        )  # first - 1 if all that is asked for is pruned
        self.mono_ms += 1
        sample = ClockSample(1, self.mono_ms, 0, ClockQuality.SYNCED)
        self.sender.dispatched(last, Echo(1, self.mono_ms))
        assert self.sender.in_flight <= WINDOW_MAX
        return Frame(
            VERSION,
            GATEWAY,
            journal.epoch,
            first,
            journal.first_kept,
            journal.digests[first - 1],
            journal.digests[last],
            sample,
            journal.records[first - 1 : last],
            tuple(each.claim() for each in self.older[self.carried :]),
        )

    def hear(self, ack: Ack, world: World) -> None:
        outcome = self.sender.ack(ack, self.journal.digest_at, self.journal.first_kept)
        self.outcomes.append(outcome)
        if outcome in _TAKEN:
            # Only a cloud that asks for records moves the mark back, never an old receipt that comes again.
            assert ack.through >= self.journal.acked or ack.expect is not None
            self.journal.acked_before, self.journal.acked = self.journal.acked, ack.through
        if outcome in {AckOutcome.NEW_EPOCH, AckOutcome.FORGOTTEN}:
            self.carry_over(world.new_journal(), everything=outcome is AckOutcome.FORGOTTEN)
            hello = self.hello()  # a new session begins with it
            if hello is not None:
                world.up.append(hello)

    def carry_over(self, new: Journal, *, everything: bool) -> None:
        """Go on in `new`, which carries what is not acknowledged, or all that is held."""
        for old in [*self.older, self.journal] if everything else [self.journal]:
            for seq, data in old.kept(0 if everything else old.acked):
                new.append(wrap(old.epoch, seq, old.digests[seq - 1], data))
        new.carried = new.head
        self.older.append(self.journal)
        self.carried = len(self.older) if everything else self.carried
        self.journal = new
        self.restart()

    def kept(self) -> set[bytes]:
        """Ids of all that it holds."""
        return {one for journal in (*self.older, self.journal) for one in journal.kept_ids()}

    def prune(self) -> None:
        """Forget what is acknowledged: older epochs first, once all that was carried of them is."""
        journal = self.journal
        if journal.acked >= journal.carried:
            self.older, self.carried = [], 0
            journal.acked_before = journal.acked  # pruning writes to the disk behind the mark
            journal.first_kept = max(journal.first_kept, journal.acked + 1)

    def copy(self, name: str) -> Gateway:
        older = [each.copy() for each in self.older]
        return Gateway(name, self.journal.copy(), list(self.history), self.mono_ms, older, self.carried)


@dataclass(slots=True)
class Cloud:
    """What Postgres holds: cursors, records and, in order, the ids whose effects were applied.

    `gaps` are what a gateway said it no longer holds, `holes` what lay before a carried record.
    """

    cursors: dict[int, Cursor] = field(default_factory=dict)
    stored: dict[tuple[int, int], bytes] = field(default_factory=dict)
    applied: dict[bytes, None] = field(default_factory=dict)
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    holes: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, frame: Frame) -> Ack:
        before = self.cursor(frame.epoch)
        received = receive(before, frame, lambda seq: self.stored.get((frame.epoch, seq)))
        last = min(frame.last, before.through)
        if last >= frame.first and self._another_at(frame.epoch, last, frame.digests()[last - frame.first]):
            assert received.verdict is Verdict.FORKED, "a fork is found at the first overlap"
        self._commit(frame, before, received)
        cursor = received.cursor
        echo = Echo(frame.sample.boot, frame.sample.mono_ms)
        return Ack(
            v=VERSION,
            gateway=GATEWAY,
            epoch=frame.epoch,
            through=cursor.through,
            head_digest=cursor.digest,
            expect=received.expect,
            verdict=received.verdict,
            quarantined=[],
            window=3,
            server_time_ms=0,
            echo=echo,
            forgot=forgot(frame, self._has),
            missing=0 if frame.first == before.through + 1 else max(self._missing(frame.epoch), default=0),
        )

    def _another_at(self, epoch: int, seq: int, digest: bytes) -> bool:
        return self.stored.get((epoch, seq), digest) != digest

    def _has(self, older: Older) -> bool:
        known = any(one[:16] == older.record for one in self.applied)
        return known and self._whole_through(older.epoch) >= older.acked

    def _missing(self, epoch: int) -> list[int]:
        """Each seq behind the cursor that is not here."""
        return [
            seq
            for gap, first, last in self.gaps + self.holes
            if gap == epoch
            for seq in range(first, last + 1)
            if (epoch, seq) not in self.stored
        ]

    def _whole_through(self, epoch: int) -> int:
        return min([self.cursor(epoch).through, *(seq - 1 for seq in self._missing(epoch))])

    def cursor(self, epoch: int) -> Cursor:
        return self.cursors.get(epoch) or Cursor.start(GATEWAY, epoch)

    def _commit(self, frame: Frame, before: Cursor, received: Received) -> None:
        first = before.through + 1
        if received.lost is not None:
            assert received.lost[0] == first
            self.gaps.append((frame.epoch, *received.lost))
            first = received.lost[1] + 1
        assert [fresh.seq for fresh in received.fresh] == list(range(first, first + len(received.fresh)))
        for fresh in received.fresh:
            assert (frame.epoch, fresh.seq) not in self.stored
            self.stored[frame.epoch, fresh.seq] = fresh.digest
            if fresh.data.startswith(_CARRIED):
                self._carried(*unwrap(fresh.data))
            else:
                self.applied.setdefault(fresh.digest)
        self.cursors[frame.epoch] = received.cursor

    def _carried(self, epoch: int, seq: int, previous: bytes, data: bytes) -> None:
        digest = next_digest(previous, data)
        if digest in self.applied:
            return
        taken = (epoch, seq) in self.stored
        before = self.cursor(epoch)
        received = receive_carried(before, seq, previous, digest, taken=taken)
        follows = seq == before.through + 1 and self._another_at(epoch, seq - 1, previous)
        if follows or self._another_at(epoch, seq, digest):
            assert received.verdict is Verdict.FORKED, "a fork is found by what is carried, too"
        if received.lost is not None:
            self.holes.append((epoch, *received.lost))
        self.cursors[epoch] = received.cursor
        self.stored.setdefault((epoch, seq), digest)
        self.applied.setdefault(digest)

    def copy(self) -> Cloud:
        return Cloud(
            dict(self.cursors), dict(self.stored), dict(self.applied), list(self.gaps), list(self.holes)
        )


class World:
    """Everything, and the faults that may strike it. Every choice is a small number, so any run replays."""

    def __init__(self) -> None:
        self.epochs = count(1)
        self.names = count(1)
        self.ids: dict[int, dict[int, set[bytes]]] = {}
        self.gateways = [Gateway("g0", self.new_journal())]
        self.cloud = Cloud()
        self.backup = Cloud()
        self.images: list[Gateway] = []
        self.up: list[Frame] = []
        self.down: list[Ack] = []
        self.once_applied: set[bytes] = set()

    def new_journal(self) -> Journal:
        epoch = next(self.epochs)
        journal = Journal(epoch)
        self.ids[epoch] = journal.ids
        return journal

    def gateway(self, choice: int) -> Gateway:
        return self.gateways[choice % len(self.gateways)]

    def send(self, choice: int) -> bool:
        frame = self.gateway(choice).send()
        if frame is not None and len(self.up) < NETWORK_MAX:
            self.up.append(frame)
        return frame is not None

    def deliver_up(self, choice: int, *, again: bool = False) -> None:
        index = choice % len(self.up)
        frame = self.up[index] if again else self.up.pop(index)
        ack = self.cloud.take(frame)
        self.once_applied.update(self.cloud.applied)
        if len(self.down) < NETWORK_MAX:
            self.down.append(ack)

    def deliver_down(self, choice: int, *, again: bool = False) -> None:
        index = choice % len(self.down)
        ack = self.down[index] if again else self.down.pop(index)
        for gateway in self.gateways:  # twins share one topic
            gateway.hear(ack, self)

    def save_image(self, choice: int) -> None:
        self.images[:] = [self.gateway(choice).copy("image")]

    def restore_image(self, choice: int) -> None:
        image, self.gateways[choice % len(self.gateways)] = self.images[0], self._twin(self.images[0])
        self.images[:] = [image]

    def clone(self, choice: int) -> None:
        self.gateways.append(self._twin(self.gateway(choice)))

    def _twin(self, gateway: Gateway) -> Gateway:
        return gateway.copy(f"g{next(self.names)}")

    def restore_cloud(self) -> None:
        self.cloud = self.backup.copy()

    def calm(self, *, patient: bool = False) -> None:
        """No more faults: what is on its way arrives, sessions begin, and everything is delivered.

        Nothing is lost any more, so only if `patient` may somebody wait in vain until it looks as if.
        """
        self._deliver_all()
        for gateway in self.gateways:
            gateway.sender.road_lost()
        self._say_hello()
        idle = False
        for _ in range(ROUNDS_MAX):
            self._deliver_all()
            sent = [self.send(index) for index in range(len(self.gateways))]
            if any(sent):
                idle = False
            elif all(gateway.sender.backlog == 0 for gateway in self.gateways):
                if idle:
                    return
                idle = True  # whoever has nothing to send says so now and then, and may be asked for more
                self._say_hello()
            else:
                assert patient, "nothing is on its way and not everything is delivered"
                for gateway in self.gateways:
                    gateway.sender.stalled()
        raise AssertionError(f"not delivered within {ROUNDS_MAX} rounds")

    def _say_hello(self) -> None:
        """A session begins, or goes on idle."""
        hellos = [gateway.hello() for gateway in self.gateways]
        self.up += [hello for hello in hellos if hello is not None]

    def _deliver_all(self) -> None:
        while self.up or self.down:
            while self.up:
                self.deliver_up(0)
            while self.down:
                self.deliver_down(0)

    def check_order(self) -> None:
        """What was applied of anyone's history was applied in the order of that history."""
        place = {one: index for index, one in enumerate(self.cloud.applied)}
        for gateway in self.gateways:
            places = [place[one] for one in gateway.history if one in place]
            assert places == sorted(places)

    def _of_lost_devices(self) -> set[bytes]:
        held = {one for gateway in self.gateways for one in gateway.history}
        return {one for seqs in self.ids.values() for ids in seqs.values() for one in ids} - held

    def check_complete(self) -> None:
        """Every record is applied, but for those pruned after an ack, forgotten by the cloud and said so."""
        declared = self._declared()
        assert declared <= self.once_applied | self._of_lost_devices()
        for gateway in self.gateways:
            missing = {one for one in gateway.history if one not in self.cloud.applied}
            assert missing <= declared & self.once_applied
            self.check_kept(gateway)

    def check_kept(self, gateway: Gateway) -> None:
        """Whatever the gateway still holds is applied, whatever was forgotten and however it was carried.

        But for what a twin of it pruned, and then declared lost to a cloud that had forgotten it.
        """
        assert gateway.kept() - self._declared() <= set(self.cloud.applied)

    def _declared(self) -> set[bytes]:
        return {
            one
            for epoch, first, last in self.cloud.gaps
            for seq in range(first, last + 1)
            for one in self.ids[epoch][seq]
        }


def happen(world: World, event: str, choice: int) -> bool:  # noqa: PLR0912 - one line per event
    """Let one event strike; False, and nothing happens, where it cannot."""
    match event:
        case "append":
            for _ in range(1 + choice % 5):
                world.gateway(choice).append()
        case "send":
            while world.send(choice):
                pass
        case "deliver_frame" if world.up:
            world.deliver_up(choice)
        case "repeat_frame" if world.up:
            world.deliver_up(choice, again=True)
        case "lose_frame" if world.up:
            world.up.pop(choice % len(world.up))
        case "deliver_ack" if world.down:
            world.deliver_down(choice)
        case "repeat_ack" if world.down:
            world.deliver_down(choice, again=True)
        case "lose_ack" if world.down:
            world.down.pop(choice % len(world.down))
        case "stall":
            world.gateway(choice).sender.stalled()
        case "restart_gateway":
            world.gateway(choice).restart(before_the_mark_was_kept=choice % 2 == 1)
        case "prune":
            world.gateway(choice).prune()
        case "end_epoch":
            world.gateway(choice).carry_over(world.new_journal(), everything=False)
        case "back_up_cloud":
            world.backup = world.cloud.copy()
        case "restore_cloud":
            world.restore_cloud()
        case "save_image":
            world.save_image(choice)
        case "restore_image" if world.images:
            world.restore_image(choice)
        case "clone" if len(world.gateways) < GATEWAYS_MAX:
            world.clone(choice)
        case _:
            return False
    return True
