"""A gateway for tests of ingest: a journal in memory that signs real frames, and its side of the cloud."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from protocol import VERSION
from protocol.bodies import (
    Body,
    DepositClosed,
    DepositOpened,
    HolderKind,
    Outcome,
    Stability,
    TareKind,
    WeighingRecorded,
)
from protocol.cose import SigningKey
from protocol.documents import CatalogBody, Material, Name, build_document, document_digest
from protocol.frames import ClockSample, Frame, Older, build_frame
from protocol.points import points_for
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest

if TYPE_CHECKING:
    from cloud.kit.keyring import Keyring

WALL_MS = 1_780_000_000_000  # May 2026
RATES = {"pet": 12_000, "glass": 2_000, "paper": 5_000}


def serial_of(citizen: int, issue: int = 1) -> bytes:
    """A card's serial: the pseudonym is drawn from the citizen's number."""
    return hashlib.sha256(b"citizen" + citizen.to_bytes(4, "big")).digest()[:8] + bytes((issue,))


@dataclass(slots=True)
class Gateway:
    """Appends records and cuts frames; `catalog` is the digest of the catalogue it shows."""

    id: str
    catalog: bytes | None = None
    epoch: int = 7
    key: SigningKey = field(init=False)
    records: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    mono_ms: int = 1_000
    clock: ClockQuality = ClockQuality.SYNCED
    older: tuple[Older, ...] = ()

    def __post_init__(self) -> None:
        self.key = SigningKey.from_seed(hashlib.sha256(self.id.encode()).digest())

    @property
    def head(self) -> int:
        return len(self.records)

    def digest_at(self, seq: int) -> bytes:
        return self.digests[seq - 1] if seq else genesis_digest(self.id, self.epoch)

    def append_bytes(self, data: bytes) -> int:
        self.records.append(data)
        self.digests.append(next_digest(self.digest_at(self.head - 1), data))
        return self.head

    def append(self, body: Body, *, seq: int | None = None) -> int:
        self.mono_ms += 7_000
        wall_ms = WALL_MS + self.mono_ms
        record = Record(seq or self.head + 1, 3, self.mono_ms, wall_ms, self.clock, body)
        return self.append_bytes(encode_record(record))

    def open(self, kind: HolderKind = HolderKind.CARD, holder: bytes | None = None) -> int:
        return self.append(DepositOpened(kind, holder or serial_of(1)))

    def weigh(
        self,
        deposit: int,
        net_g: int = 1_000,
        material: str = "pet",
        kind: HolderKind = HolderKind.CARD,
        holder: bytes | None = None,
        *,
        tare_g: int = 0,
        points: int | None = -1,
        rate: int | None = -1,
        gross_g: int | None = None,
    ) -> int:
        """Append a weighing; `points` and `rate` as the catalogue says unless given (None: points follow)."""
        rate = RATES[material] if rate == -1 else rate
        points = points_for(net_g, rate or 0) if points == -1 else points
        gross_g = net_g + tare_g if gross_g is None else gross_g
        tare_kind = TareKind.WEIGHED if tare_g else TareKind.NONE
        raw = f"S S {gross_g / 1000:10.3f} kg\r\n".encode()
        body = WeighingRecorded(
            kind, holder or serial_of(1), material, rate, self.catalog, "SN-4711", "kg", 5, Stability.FLAG,
            tare_kind, tare_g, deposit, raw, gross_g, net_g, points,
        )  # fmt: skip
        return self.append(body)

    def close(self, deposit: int, net_g: int = 0, points: int = 0) -> int:
        return self.append(DepositClosed(deposit, Outcome.COMPLETED, 1, net_g, points))

    def visit(
        self, net_g: int = 1_000, material: str = "pet", *, kind: HolderKind = HolderKind.CARD,
        holder: bytes | None = None,
    ) -> int:  # fmt: skip
        """One person's visit with one weighing; the weighing's seq."""
        deposit = self.open(kind, holder)
        weighing = self.weigh(deposit, net_g, material, kind, holder)
        self.close(deposit, net_g, points_for(net_g, RATES[material]))
        return weighing

    def frame(
        self, first: int = 1, last: int | None = None, *, first_kept: int = 1, key: SigningKey | None = None,
        gateway: str | None = None,
    ) -> bytes:  # fmt: skip
        """The signed frame of records first..last."""
        last = self.head if last is None else last
        sample = ClockSample(3, self.mono_ms, WALL_MS + self.mono_ms, ClockQuality.SYNCED)
        frame = Frame(
            VERSION, gateway or self.id, self.epoch, first, first_kept, self.digest_at(first - 1),
            self.digest_at(last), sample, self.records[first - 1 : last], self.older,
        )  # fmt: skip
        return build_frame(frame, key or self.key)

    def branch(self, through: int, epoch: int | None = None) -> Gateway:
        """The same gateway, its card restored from an image of when it had `through` records."""
        other = Gateway(self.id, self.catalog, self.epoch if epoch is None else epoch)
        other.records, other.digests = self.records[:through], self.digests[:through]
        other.mono_ms = self.mono_ms + 500_000
        return other


def add_catalog(url: str, keyring: Keyring, version: int = 1, rates: dict[str, int] | None = None) -> bytes:
    """Publish a catalogue as the documents module stores it; its digest."""
    shown = rates or RATES
    materials = [Material(code, code, code, code, rate, version) for code, rate in shown.items()]
    issued_ms = WALL_MS - 86_400_000 + version * 1000
    body = CatalogBody(materials, 30 * 86_400)
    data = build_document(Name.CATALOG, 1, version, issued_ms, body, keyring.document)
    digest = document_digest(data)
    issued_at = datetime.fromtimestamp(issued_ms / 1000, UTC)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO documents VALUES ('catalog', 1, %s, %s, %s, %s)", (version, digest, data, issued_at)
        )
        for code, rate in shown.items():
            connection.execute(
                "INSERT INTO materials (code, name_en, name_ne) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (code, code, code),
            )
            connection.execute("INSERT INTO rates VALUES (%s, %s, %s, %s)", (code, version, rate, issued_at))
    return digest


def add_gateway(url: str, gateway: Gateway, *, enrolled: bool = True) -> None:
    """Let the cloud know a gateway and its key."""
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO gateways (id, state) VALUES (%s, 'claimed')", (gateway.id,))
        if enrolled:
            connection.execute(
                "INSERT INTO gateway_keys (key_id, gateway_id, public_key) VALUES (%s, %s, %s)",
                (gateway.key.key_id, gateway.id, gateway.key.public),
            )
