"""Every decoder that meets bytes from outside, with a valid input to damage and the errors it may raise."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import base45

from cloud.config import Settings as CloudSettings
from cloud.errors import CloudError
from cloud.kit.authority import Authority
from edge.clock import SystemClock
from edge.config import load_settings
from edge.devices.readings import FrameFault, Reading
from edge.devices.scales.dialects import DIALECTS, Setup, dialect
from edge.devices.scanners.line.frames import LineReader
from edge.devices.scanners.rdm6300.frames import Rdm6300Reader
from edge.errors import EdgeError
from edge.station.identify import read_card, tag_holder
from edge.sync.credentials import Credentials
from edge.tlskey import TlsKey, keep_tls_key
from protocol.acks import build_ack, open_ack
from protocol.bundle import peek_name, read_access, read_bundle
from protocol.cards import PREFIX, open_card
from protocol.codes import check_bin_code, claim_hash, gateway_code_secret
from protocol.cose import Purpose, parse
from protocol.courier import Direction, read_header, read_items
from protocol.documents import Name, open_document, read_part, split_document
from protocol.enrolment import open_enrolment
from protocol.errors import ProtocolError
from protocol.frames import build_frame, open_frame
from protocol.records import decode_record, encode_record
from protocol.status import read_status, write_status
from protocol.topics import parse_topic
from tests.edge.devices.encoders import ENCODERS
from tests.protocol import samples


@dataclass(frozen=True, slots=True)
class Target:
    """`decode` answers with a value or one of `errors`; `valid` is what it takes. `cbor`: what it reads."""

    decode: Callable[[bytes], object]
    valid: bytes
    errors: tuple[type[Exception], ...] = (ProtocolError,)
    cbor: bool = False


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _courier(data: bytes) -> object:
    stream = BytesIO(data)
    return read_header(stream, Direction.UP), list(read_items(stream))


def _signed(purpose: Purpose, reader: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The reader behind a good signature: what a stolen gateway, or a cloud gone mad, could send."""
    return lambda payload: reader(samples.GATEWAY.sign(purpose, payload))


def _frame(data: bytes) -> object:
    return open_frame(data, samples.KEYS.get)


def _document(data: bytes) -> object:
    return open_document(data, Name.CATALOG, samples.KEYS.get)


def _ack(data: bytes) -> object:
    return open_ack(data, samples.KEYS.get)


def _signed_card(payload: bytes) -> object:
    text = base45.b45encode(samples.GATEWAY.sign(Purpose.CARD, payload)).decode()
    return open_card(PREFIX + text, samples.KEYS.get)


def _scan(data: bytes) -> object:
    return read_card(_text(data), samples.KEYS.get, lambda _: False, 1_780_000_000)


def _scale(name: str, data: bytes) -> object:
    """Bytes as they come, in two portions; whatever comes out is a reading or a fault, and bounded."""
    parser = dialect(name).parser(Setup())
    items = [*parser.feed(data[: len(data) // 3]), *parser.feed(data[len(data) // 3 :])]
    for item in items:
        if not isinstance(item, Reading | FrameFault) or len(item.raw) > 64:
            raise TypeError(f"{name} gave {item!r}")
    return items


def _line(terminator: str, data: bytes) -> object:
    reader = LineReader(terminator)  # type: ignore[arg-type]
    return [*reader.feed(data, 1.0), *reader.idle(1.05), *reader.idle(9.0)]


def _rdm(data: bytes) -> object:
    reader = Rdm6300Reader()
    return [*reader.feed(data, 1.0), *reader.idle(9.0)]


def _config(data: bytes) -> object:
    """A file of its own, in memory, that is gone with its last descriptor."""
    file = os.memfd_create("edge.toml")
    try:
        os.write(file, data)
        return load_settings(Path(f"/proc/self/fd/{file}"))
    finally:
        os.close(file)


@cache
def _authority() -> Authority:
    with tempfile.TemporaryDirectory() as folder:
        return Authority.load_or_create(Path(folder), datetime.now(UTC))


def _certified(data: bytes) -> object:
    return _authority().gateway_certificate(data, samples.GATEWAY_ID, datetime.now(UTC))


def _chain(data: bytes) -> object:
    """As a gateway would show it to the broker, or have none."""
    key, held = TlsKey(samples.tls_key("tls")), [data]
    standing = Credentials(
        samples.sample_broker(), key, lambda: held, SystemClock(), lambda: 0, earliest_ms=lambda: None
    )
    return standing.word(), None if standing.waits_for() else standing.context()


def _tls_key(data: bytes) -> object:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        (Path(folder) / "gateway-tls.key").write_bytes(data)
        return keep_tls_key(Path(folder), os.urandom)


def _environment(data: bytes) -> object:
    lines = [line.partition("=") for line in _text(data).split("\n")]
    return CloudSettings.from_environment({name: value for name, _, value in lines})


_FRAME = build_frame(samples.sample_frame(), samples.GATEWAY)
_CATALOG = samples.sample_documents()[Name.CATALOG]
_ACK = build_ack(samples.sample_ack(), samples.ACK)
_CARD = samples.card_text()
_CONFIG = (Path(__file__).parents[3] / "deploy" / "gateway" / "edge.toml").read_bytes()
_ENVIRONMENT = b"RELOOP_HTTP_PORT=8400\nRELOOP_MQTT_URL=mqtts://127.0.0.1:8884\nRELOOP_MQTT_VERSION=5"
_EDGE = (EdgeError,)


def _payload(data: bytes) -> bytes:
    return parse(data).payload


TARGETS: dict[str, Target] = {
    "record": Target(decode_record, encode_record(samples.sample_records()[2]), cbor=True),
    "frame": Target(_frame, _FRAME, cbor=True),
    "signed frame": Target(
        lambda data: _frame(samples.GATEWAY.sign(Purpose.FRAME, zlib.compress(data, 1))),
        zlib.decompress(_payload(_FRAME)),
        cbor=True,
    ),
    "inflated frame": Target(_signed(Purpose.FRAME, _frame), _payload(_FRAME)),
    "ack": Target(_ack, _ACK, cbor=True),
    "signed ack": Target(_signed(Purpose.ACK, _ack), _payload(_ACK), cbor=True),
    "document": Target(_document, _CATALOG, cbor=True),
    "signed document": Target(_signed(Purpose.DOCUMENT, _document), _payload(_CATALOG), cbor=True),
    "part": Target(read_part, split_document(Name.CATALOG, _CATALOG)[0], cbor=True),
    "name": Target(peek_name, _CATALOG, cbor=True),
    "card": Target(lambda data: open_card(_text(data), samples.KEYS.get), _CARD.encode()),
    "signed card": Target(_signed_card, _payload(base45.b45decode(_CARD.removeprefix(PREFIX))), cbor=True),
    "card at the kiosk": Target(_scan, _CARD.encode(), ()),
    "tag at the kiosk": Target(lambda data: tag_holder(_text(data)), b"1a2b3c4d5e", ()),
    "enrolment": Target(open_enrolment, samples.sample_enrolment(), cbor=True),
    "courier": Target(_courier, samples.sample_courier(Direction.UP), cbor=True),
    "status": Target(read_status, write_status(samples.sample_status()), cbor=True),
    "bundle": Target(read_bundle, samples.sample_bundle(), cbor=True),
    "access": Target(read_access, b'{"gateway":"ktm-drop-01","root_public_key":"AA==","documents":[]}'),
    "topic": Target(lambda data: parse_topic(_text(data)), b"reloop/v1/ktm-drop-01/doc/catalog"),
    "claim code": Target(lambda data: claim_hash(_text(data)), samples.CLAIM_CODE.encode()),
    "gateway code": Target(lambda data: gateway_code_secret(_text(data)), samples.GATEWAY_CODE.encode()),
    "bin code": Target(lambda data: check_bin_code(_text(data)), b"RLB1:BIN-7"),
    **{f"scale {name}": Target(partial(_scale, name), b"", ()) for name in DIALECTS},
    **{
        f"scanner {terminator}": Target(partial(_line, terminator), f"]Q3{_CARD}\r\n".encode(), ())
        for terminator in ("cr", "crlf", "tab", "gap")
    },
    "certificate request": Target(_certified, samples.sample_request(), (CloudError,)),
    "certificates in config": Target(_chain, samples.sample_certificate("issuer", "tls", "root"), _EDGE),
    "gateway-tls.key": Target(_tls_key, TlsKey(samples.tls_key("tls")).pem, ()),
    "scanner rdm6300": Target(_rdm, b"\x020A00330B4F7D\x03", ()),
    "edge.toml": Target(_config, _CONFIG, _EDGE),
    "environment": Target(_environment, _ENVIRONMENT, (CloudError,)),
}

__all__ = ["ENCODERS", "TARGETS", "Target"]
