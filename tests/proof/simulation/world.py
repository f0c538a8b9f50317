"""What stands before a schedule begins: keys, cards, the catalogue, and a directory that holds them.

Made once for a process and copied for each gateway, since it is the same in every schedule.
"""

from __future__ import annotations

import functools
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cloud.kit.keyring import Keyring
from edge.directory import Directory
from edge.identity import Identity
from protocol.bodies import HolderKind, Stability, TareKind, WeighingRecorded
from protocol.cards import Card, Role, build_card
from protocol.cose import SigningKey
from protocol.documents import (
    CatalogBody,
    CloudKey,
    ConfigBody,
    DocumentBody,
    KeysBody,
    KeyUse,
    Material,
    Name,
    RevocationsBody,
    build_document,
    document_digest,
)
from tests.proof.simulation.clock import EPOCH_MS, SimulatedClock

KEYRING = Keyring(*(SigningKey.from_seed(letter * 32) for letter in (b"r", b"a", b"d", b"c")))
STRANGER = SigningKey.from_seed(b"s" * 32)
MATERIALS = {"pet": 12_000, "glass": 2_000, "paper": 5_000}
"""Points per kilo."""
CITIZENS, COLLECTORS = 6, 2
_LIFE_S = 400 * 86_400
_FRESH_S = 30 * 86_400
FAST = Path("/dev/shm")
"""A folder in memory."""


def pseudonym(number: int) -> bytes:
    """Of the card with this number."""
    return f"person{number:02d}".encode()


@functools.cache
def card_text(number: int) -> str:
    """The QR text of a card; the first belong to citizens, the last to collectors."""
    role = Role.CITIZEN if number < CITIZENS else Role.COLLECTOR
    card = Card(pseudonym(number) + b"\1", role, f"Person {number}", EPOCH_MS // 1000 + _LIFE_S)
    return build_card(card, KEYRING.card)


def gateway_key(gateway: str) -> SigningKey:
    """The key that was born on this gateway."""
    return SigningKey(_seed(gateway))


def _seed(gateway: str) -> bytes:
    return gateway.encode().ljust(32, b"k")


@functools.cache
def documents() -> dict[Name, bytes]:
    """What the cloud published, signed."""
    uses = {KeyUse.ACK: KEYRING.ack, KeyUse.DOCUMENT: KEYRING.document, KeyUse.CARD: KEYRING.card}
    begin_s = EPOCH_MS // 1000
    keys = [CloudKey(use, key.public, begin_s, begin_s + _LIFE_S) for use, key in uses.items()]
    materials = [Material(code, code, code, code, rate, 1) for code, rate in MATERIALS.items()]
    bodies: dict[Name, DocumentBody] = {
        Name.KEYS: KeysBody(keys),
        Name.CATALOG: CatalogBody(materials, _FRESH_S),
        Name.REVOCATIONS: RevocationsBody(b""),
        Name.CONFIG: ConfigBody("ktm-01", "Patan Durbar"),
    }
    return {
        name: build_document(
            name, 1, 1, EPOCH_MS, body, KEYRING.root if name is Name.KEYS else KEYRING.document
        )
        for name, body in bodies.items()
    }


def catalog_digest() -> bytes:
    """By which weighings name the catalogue."""
    return document_digest(documents()[Name.CATALOG])


def issued_at() -> datetime:
    """When everything was published."""
    return datetime.fromtimestamp(EPOCH_MS / 1000, UTC)


class _NoTime(SimulatedClock):
    def monotonic(self) -> float:
        return 0.0


@functools.cache
def directory_file() -> bytes:
    """A directory that has taken all documents."""
    with tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None) as folder:
        path = Path(folder) / "directory.db"
        directory = Directory.open(path, KEYRING.root.public, _NoTime(), "")
        for name, data in documents().items():
            directory.apply(name, data)
        directory.close()
        return path.read_bytes()


def secret(gateway: str) -> bytes:
    """Of the one-time code with which a gateway was claimed by a bundle."""
    return gateway.encode().ljust(16, b"s")[:16]


def outfit(folder: Path, gateway: str, *, enrolled: bool) -> None:
    """Give a gateway what a claim leaves: an identity, its key, the documents."""
    code = None if enrolled else secret(gateway)
    identity = Identity(gateway, KEYRING.root.public, "https://cloud", None, code)
    (folder / "identity.json").write_bytes(msgspec.json.encode(identity))
    (folder / "gateway.key").write_bytes(_seed(gateway))
    (folder / "directory.db").write_bytes(directory_file())


def poison(net_g: int) -> WeighingRecorded:
    """A weighing whose masses do not add up; in all else it is as it should be."""
    return WeighingRecorded(
        HolderKind.CARD, pseudonym(0) + b"\1", "pet", MATERIALS["pet"], catalog_digest(), "mt-sics", "kg", 5,
        Stability.FLAG, TareKind.NONE, 0, 1, b"", net_g + 5, net_g, net_g * MATERIALS["pet"] // 1000,
    )  # fmt: skip
