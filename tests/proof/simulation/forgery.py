"""A stranger at the broker: frames and acks in the name of a real gateway's or the cloud's key, which is not
the key that signed them.
"""

from __future__ import annotations

from protocol import VERSION
from protocol.acks import Ack, Echo, Verdict, build_ack
from protocol.bodies import HolderKind, Stability, TareKind, WeighingRecorded
from protocol.cose import SigningKey, parse
from protocol.delivery import WINDOW_MAX
from protocol.errors import ProtocolError
from protocol.frames import ClockSample, Frame, build_frame, read_frame
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest
from tests.proof.simulation.clock import EPOCH_MS
from tests.proof.simulation.world import KEYRING, MATERIALS, catalog_digest, gateway_key, pseudonym


class _Forger(SigningKey):
    """Signs with its own key under somebody else's name."""

    def __init__(self, victim: SigningKey) -> None:
        super().__init__(b"s" * 32)
        self.key_id = victim.key_id


def forged_frame(gateway: str, number: int) -> bytes:
    """A weighing that nobody made, number `number`; its grams are no multiple of any scale's division."""
    net_g, epoch = 100_001 + 5 * number, 1_000_000 + number
    body = WeighingRecorded(
        HolderKind.CARD, pseudonym(0) + b"\1", "pet", MATERIALS["pet"], catalog_digest(), "mt-sics", "kg", 5,
        Stability.FLAG, TareKind.NONE, 0, 1, b"", net_g, net_g, net_g * MATERIALS["pet"] // 1000,
    )  # fmt: skip
    data = encode_record(Record(1, 1, 1_000, EPOCH_MS, ClockQuality.SYNCED, body))
    genesis = genesis_digest(gateway, epoch)
    sample = ClockSample(1, 1_000, EPOCH_MS, ClockQuality.SYNCED)
    head = next_digest(genesis, data)
    frame = Frame(VERSION, gateway, epoch, 1, 1, genesis, head, sample, [data])
    return build_frame(frame, _Forger(gateway_key(gateway)))


def forged_ack(data: bytes) -> bytes | None:
    """A receipt for a frame read on its way, right in all but its signature; None for an enrolment."""
    try:
        frame = read_frame(parse(data).payload)
    except ProtocolError:
        return None
    ack = Ack(
        VERSION, frame.gateway, frame.epoch, frame.last, frame.head_digest, None, Verdict.OK, [], WINDOW_MAX,
        EPOCH_MS, Echo(frame.sample.boot, frame.sample.mono_ms),
    )  # fmt: skip
    return build_ack(ack, _Forger(KEYRING.ack))
