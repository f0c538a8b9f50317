"""Makes the golden vectors: `python -m tests.protocol.make_vectors` from the root of the repository.

Run it only when the wire format is meant to change; the diff of `protocol/vectors/` is then the review.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from protocol import cloudevents
from protocol.acks import build_ack
from protocol.codes import claim_hash, gateway_code_secret
from protocol.courier import Direction
from protocol.documents import document_digest, split_document
from protocol.enrolment import proof_of
from protocol.frames import build_frame, encode_frame
from protocol.records import encode_record, genesis_digest, record_id
from protocol.status import write_status
from tests.protocol import samples

DIRECTORY = Path(__file__).parents[2] / "protocol" / "vectors"
VECTORS_VERSION = 1


def plain(value: object) -> Any:
    """JSON-ready form of a struct: bytes as lower-case hex."""
    match value:
        case bytes():
            return value.hex()
        case list() | tuple():
            return [plain(one) for one in value]
        case msgspec.Struct():
            return {name: plain(one) for name, one in msgspec.structs.asdict(value).items()}
        case _:
            return value


def keys() -> list[dict[str, Any]]:
    """The keys that everything else is signed with. Their seeds are public: never use them."""
    named = {"root": samples.ROOT, "ack": samples.ACK, "document": samples.DOCUMENT}
    named |= {"card": samples.CARD, "gateway": samples.GATEWAY}
    return [
        {"name": name, "seed": key.seed.hex(), "public": key.public.hex(), "key_id": key.key_id.hex()}
        for name, key in named.items()
    ]


def records() -> list[dict[str, Any]]:
    """Every kind, chained from genesis."""
    made = samples.sample_records()
    data = [encode_record(record) for record in made]
    digests = samples.chain(data)
    return [
        {
            "name": record.kind,
            "bytes": data[index].hex(),
            "digest": digests[index + 1].hex(),
            "id": str(record_id(digests[index + 1])),
            "fields": plain(record),
            "cloudevent": cloudevents.to_cloudevent(
                samples.GATEWAY_ID, samples.EPOCH, record, digests[index + 1]
            ),
        }
        for index, record in enumerate(made)
    ]


def digests() -> list[dict[str, Any]]:
    """The start of a chain."""
    genesis = genesis_digest(samples.GATEWAY_ID, samples.EPOCH)
    return [
        {"name": "genesis", "gateway": samples.GATEWAY_ID, "epoch": samples.EPOCH, "digest": genesis.hex()}
    ]


def frames() -> list[dict[str, Any]]:
    """All records in one frame, an empty frame, and one of a gateway with older epochs."""
    named = {
        "every kind": samples.sample_frame(),
        "nothing to send": samples.sample_frame(25, 0),
        "older epochs": samples.frame_with_older(),
    }
    return [
        {
            "name": name,
            "bytes": build_frame(frame, samples.GATEWAY).hex(),
            "inflated": encode_frame(frame).hex(),
            "fields": plain(frame),
        }
        for name, frame in named.items()
    ]


def acks() -> list[dict[str, Any]]:
    """A receipt, a gap, and clouds that have lost older epochs, or some of this one."""
    named = {
        "receipt": samples.sample_ack(),
        "gap": samples.gap_ack(),
        "forgot": samples.forgot_ack(),
        "missing": samples.missing_ack(),
    }
    return [
        {"name": name, "bytes": build_ack(ack, samples.ACK).hex(), "fields": plain(ack)}
        for name, ack in named.items()
    ]


def documents() -> list[dict[str, Any]]:
    """Documents of every name; each signer is the root for `keys`, else the document key."""
    return [
        {"name": name, "bytes": data.hex(), "digest": document_digest(data).hex()}
        for name, data in samples.sample_documents().items()
    ]


def parts() -> list[dict[str, Any]]:
    """The catalogue in its one part."""
    data = samples.sample_documents()["catalog"]
    return [{"name": "catalog", "parts": [part.hex() for part in split_document("catalog", data)]}]


def cards() -> list[dict[str, Any]]:
    """A citizen's card."""
    return [{"name": "citizen", "text": samples.card_text(), "fields": plain(samples.sample_card())}]


def codes() -> list[dict[str, Any]]:
    """What a claim code and a gateway code become."""
    proof = proof_of(samples.GATEWAY_ID, samples.GATEWAY.public, gateway_code_secret(samples.GATEWAY_CODE))
    return [
        {"name": "claim", "code": samples.CLAIM_CODE, "hash": claim_hash(samples.CLAIM_CODE).hex()},
        {
            "name": "gateway",
            "code": samples.GATEWAY_CODE,
            "secret": gateway_code_secret(samples.GATEWAY_CODE).hex(),
            "proof": proof.hex(),
        },
    ]


def enrolments() -> list[dict[str, Any]]:
    """The gateway's key under its one-time code, with its request for a certificate."""
    request = samples.sample_request()
    return [{"name": "gateway", "bytes": samples.sample_enrolment().hex(), "csr": request.hex()}]


def couriers() -> list[dict[str, Any]]:
    """One file each way."""
    return [
        {"name": direction.value, "bytes": samples.sample_courier(direction).hex()} for direction in Direction
    ]


def texts() -> list[dict[str, Any]]:
    """The two messages that are JSON."""
    return [
        {"name": "status", "text": write_status(samples.sample_status()).decode()},
        {"name": "bundle", "text": samples.sample_bundle().decode()},
    ]


MAKERS = {
    "keys": keys,
    "digest": digests,
    "record": records,
    "frame": frames,
    "ack": acks,
    "document": documents,
    "part": parts,
    "card": cards,
    "code": codes,
    "enrolment": enrolments,
    "courier": couriers,
    "json": texts,
}


def rendered(message: str) -> str:
    """The text of one vector file."""
    content = {"message": message, "version": VECTORS_VERSION, "vectors": MAKERS[message]()}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def path_of(message: str) -> Path:
    """Where the vectors of this message and version live."""
    return DIRECTORY / f"{message}-v{VECTORS_VERSION}.json"


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for one in MAKERS:
        path_of(one).write_text(rendered(one), encoding="utf-8")
