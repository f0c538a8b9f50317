"""One fixed sample of everything the protocol can say: seeds, times and fields never change."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from protocol import VERSION, bodies
from protocol.acks import Ack, Echo, Quarantined, Verdict, build_ack
from protocol.bodies import HolderKind, Outcome, Stability, TareKind
from protocol.bundle import Access, Broker, write_bundle
from protocol.cards import Card, Role, build_card
from protocol.codes import claim_hash, gateway_code_secret
from protocol.cose import SigningKey
from protocol.courier import Direction, Header, Item, write_header, write_item
from protocol.documents import (
    CatalogBody,
    CloudKey,
    ConfigBody,
    DocumentBody,
    KeysBody,
    KeyUse,
    ManifestBody,
    ManifestEntry,
    Material,
    Name,
    RevocationsBody,
    build_document,
    document_digest,
)
from protocol.enrolment import build_enrolment
from protocol.frames import ClockSample, Frame, Older, build_frame
from protocol.records import ClockQuality, Record, encode_record, genesis_digest, next_digest
from protocol.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable


def key(name: str) -> SigningKey:
    """A key of this name, for tests only: its seed is public."""
    return SigningKey(hashlib.sha256(b"reloop test key " + name.encode()).digest())


ROOT, ACK, DOCUMENT, CARD, GATEWAY, OTHER = map(key, ("root", "ack", "document", "card", "gateway", "other"))
KEYS = {one.key_id: one.public for one in (ROOT, ACK, DOCUMENT, CARD, GATEWAY)}
GATEWAY_ID = "ktm-drop-01"
EPOCH = 0x1F2E3D4C5B6A7988
BOOT = 3
NOW_MS = 1_790_000_000_000
CLAIM_CODE = "7K3M-9QXT-2VAB-H"
GATEWAY_CODE = "ABCD-EFGH-JKMN-PQRS-TVWX-YZ01-23"
SERIAL = bytes.fromhex("0102030405060708") + b"\x01"
COLLECTOR = bytes.fromhex("1112131415161718") + b"\x02"
STEWARD = bytes.fromhex("2122232425262728") + b"\x01"
CATALOG_DIGEST = hashlib.sha256(b"a catalogue").digest()
RAW = b"S S      1.234 kg\r\n"


def sample_bodies() -> list[bodies.Body]:
    """One body of every kind, in the order of their codes."""
    old = encode_record(Record(41, 2, 900, NOW_MS - 86_400_000, ClockQuality.RTC, bodies.ScaleZeroed("A9-7")))
    return [
        bodies.DepositOpened(HolderKind.GUEST, claim_hash(CLAIM_CODE)),
        bodies.DepositClosed(1, Outcome.COMPLETED, 1, 1234, 18),
        bodies.WeighingRecorded(
            holder_kind=HolderKind.CARD,
            holder=SERIAL,
            material="PET",
            points_per_kg=15,
            catalog=CATALOG_DIGEST,
            scale="A9-7",
            unit="kg",
            division_g=5,
            stability=Stability.FLAG,
            tare_kind=TareKind.PRESET,
            tare_g=20,
            deposit=1,
            raw=RAW,
            gross_g=1254,
            net_g=1234,
            points=18,
        ),
        bodies.WeighingVoided(1, 3, "person"),
        bodies.PickupOpened(COLLECTOR),
        bodies.PickupClosed(5, Outcome.COMPLETED, 2, 41_000),
        bodies.BinScanned(5, "BIN-7"),
        bodies.BinWeighed(
            5, "BIN-7", "A9-7", "kg", 5, Stability.WINDOW, TareKind.WEIGHED, 900, RAW, 31_900, 31_000
        ),
        bodies.BinEstimated(5, "BIN-8", 10_000),
        bodies.CustodyHandedOver(5, COLLECTOR, STEWARD, 41_000),
        bodies.ScaleZeroed("A9-7"),
        bodies.ScaleTared("A9-7", 900),
        bodies.ScaleFaulted("A9-7", "stale", "the value has not moved"),
        bodies.ScaleCalibrated("A9-7", "NBSM-2026-114", "2027-09-30"),
        bodies.DeviceAttached("scanner", "/dev/serial0"),
        bodies.DeviceDetached("scanner", "unplugged"),
        bodies.ClockSynced(NOW_MS - 7_200_000, "ack"),
        bodies.GatewayStarted("0.1.0", "5c9d7c1e-0000-4000-8000-000000000001", "boot"),
        bodies.GatewayStopped("asked"),
        bodies.IntakeSuspended("disk"),
        bodies.IntakeResumed("disk"),
        bodies.DocumentApplied("catalog", 1, 7, CATALOG_DIGEST),
        bodies.ManualEntered(
            HolderKind.TAG,
            bytes.fromhex("010063e9ae"),
            "PAPER",
            None,
            None,
            1,
            STEWARD,
            "the scale shows an error",
            500,
            None,
        ),
        bodies.RecordCarried(0x0102030405060708, 41, bytes(32), old),
        bodies.ClockHeard(NOW_MS - 2_000),
    ]


def sample_records() -> list[Record]:
    """One record of every kind, in one epoch from seq 1, 1,500 ms apart."""
    return [
        Record(seq, BOOT, 60_000 + 1_500 * seq, NOW_MS + 1_500 * seq, ClockQuality.SYNCED, body)
        for seq, body in enumerate(sample_bodies(), start=1)
    ]


def chain(data: Iterable[bytes], epoch: int = EPOCH) -> list[bytes]:
    """Digests from genesis on: element n is the digest after n records."""
    digests = [genesis_digest(GATEWAY_ID, epoch)]
    for one in data:
        digests.append(next_digest(digests[-1], one))
    return digests


def sample_frame(first: int = 1, count: int = 24) -> Frame:
    """A frame over the sample records."""
    data = [encode_record(record) for record in sample_records()]
    digests = chain(data)
    part = data[first - 1 : first - 1 + count]
    sample = ClockSample(BOOT, 120_000, NOW_MS + 60_000, ClockQuality.SYNCED)
    last = first + len(part) - 1
    return Frame(VERSION, GATEWAY_ID, EPOCH, first, 1, digests[first - 1], digests[last], sample, part)


def frame_with_older() -> Frame:
    """The third frame record of `sample_frame()` from a gateway that holds two epochs before this one."""
    older = (
        Older(EPOCH - 2, 9_000, 9_000, bytes(range(16))),
        Older(EPOCH - 1, 120, 124, bytes(range(16, 32))),
    )
    return msgspec.structs.replace(sample_frame(3, 1), older=older)


def sample_ack() -> Ack:
    """The answer to `sample_frame()`; one record of it is held in quarantine."""
    frame = sample_frame()
    return Ack(
        v=VERSION,
        gateway=GATEWAY_ID,
        epoch=EPOCH,
        through=frame.last,
        head_digest=frame.head_digest,
        expect=None,
        verdict=Verdict.OK,
        quarantined=[Quarantined(23, "weighing.points")],
        window=4,
        server_time_ms=NOW_MS + 60_120,
        echo=Echo(frame.sample.boot, frame.sample.mono_ms),
    )


def gap_ack() -> Ack:
    """The answer to a frame that begins too late."""
    digests = chain(sample_frame().records)
    return Ack(VERSION, GATEWAY_ID, EPOCH, 2, digests[2], 3, Verdict.GAP, [], 1, NOW_MS, Echo(BOOT, 121_000))


def forgot_ack() -> Ack:
    """The answer to `frame_with_older()` by a cloud that lost the older epochs, and has this one."""
    return msgspec.structs.replace(gap_ack(), expect=None, verdict=Verdict.OK, forgot=True)


def missing_ack() -> Ack:
    """The answer by a cloud that lost the first record, while a twin's has moved it on."""
    return msgspec.structs.replace(gap_ack(), expect=None, verdict=Verdict.OK, missing=1)


def sample_documents() -> dict[str, bytes]:
    """Signed documents of every name; the manifest names the others."""
    year_s = 365 * 86_400
    now_s = NOW_MS // 1000
    uses = {KeyUse.ACK: ACK, KeyUse.DOCUMENT: DOCUMENT, KeyUse.CARD: CARD}
    content: dict[str, DocumentBody] = {
        Name.KEYS: KeysBody([CloudKey(use, one.public, now_s, now_s + year_s) for use, one in uses.items()]),
        Name.CATALOG: CatalogBody(
            [Material("PET", "Plastic bottles", "प्लास्टिक बोतल", "pet", 15, 7)], 604_800
        ),
        Name.REVOCATIONS: RevocationsBody(SERIAL + COLLECTOR),
        Name.CONFIG: ConfigBody(
            "ktm-01",
            "Kalimati",
            "https://reloop.example/r/",
            [sample_certificate(GATEWAY_ID, "tls", "issuer"), sample_certificate("issuer", "issuer", "root")],
            GATEWAY_ID,
            closed=True,
        ),
    }
    signed = {
        name: build_document(name, 1, 7, NOW_MS, body, ROOT if name == Name.KEYS else DOCUMENT)
        for name, body in content.items()
    }
    entries = [ManifestEntry(name, 1, 7, document_digest(data), len(data)) for name, data in signed.items()]
    manifest = build_document(Name.MANIFEST, 1, 7, NOW_MS, ManifestBody(entries), DOCUMENT)
    return {Name.MANIFEST.value: manifest, **{str(name): data for name, data in signed.items()}}


def sample_card() -> Card:
    """A citizen's card."""
    return Card(SERIAL, Role.CITIZEN, "Maya", NOW_MS // 1000 + 86_400)


def sample_status() -> Status:
    """A birth."""
    return Status(True, GATEWAY_ID, EPOCH, BOOT, 24, 20, 1, "0.1.0", {"catalog": CATALOG_DIGEST.hex()})


def sample_bundle() -> bytes:
    """A bundle file with documents."""
    documents = sample_documents()
    access = Access(
        GATEWAY_ID,
        ROOT.public,
        "https://reloop.example",
        sample_broker(),
        [documents[Name.KEYS], documents[Name.CATALOG]],
    )
    return write_bundle(GATEWAY_CODE, access)


def sample_enrolment() -> bytes:
    """The gateway's key, enrolled under its one-time code, with a request for a certificate."""
    return build_enrolment(GATEWAY_ID, gateway_code_secret(GATEWAY_CODE), GATEWAY, sample_request())


def sample_broker() -> Broker:
    """Where the broker is, and by what it is known."""
    root = sample_certificate("root", "root", "root")
    return Broker("mqtt.reloop.example", 8883, "broker.reloop.internal", root)


def tls_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 key of this name, for tests only."""
    return ec.derive_private_key(int.from_bytes(key(name).public) >> 8, ec.SECP256R1())


def sample_request() -> bytes:
    """A request for a certificate of the key `tls`, in the same bytes every time."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(tls_key("tls"), hashes.SHA256(), ecdsa_deterministic=True)
    return request.public_bytes(Encoding.DER)


def sample_certificate(name: str, of: str, by: str) -> bytes:
    """A certificate (DER) of key `of` under key `by`, in the same bytes every time."""
    begin = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    names = {one: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, by)}
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[name])
        .issuer_name(names[by])
        .public_key(tls_key(of).public_key())
        .serial_number(1 + len(of))
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=90))
    )
    certificate = builder.sign(tls_key(by), hashes.SHA256(), ecdsa_deterministic=True)
    return certificate.public_bytes(Encoding.DER)


def sample_courier(direction: Direction) -> bytes:
    """A courier file that holds one of each item that travels this way."""
    stream = BytesIO()
    write_header(stream, Header(direction, GATEWAY_ID, NOW_MS))
    if direction is Direction.UP:
        write_item(stream, Item.ENROLMENT, sample_enrolment())
        write_item(stream, Item.FRAME, build_frame(sample_frame(), GATEWAY))
    else:
        write_item(stream, Item.DOCUMENT, sample_documents()[Name.CATALOG])
        write_item(stream, Item.ACK, build_ack(sample_ack(), ACK))
    return stream.getvalue()


def card_text() -> str:
    """The text in the sample card's QR."""
    return build_card(sample_card(), CARD)
