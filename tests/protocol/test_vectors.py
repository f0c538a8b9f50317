"""Today's code reads every golden vector and makes each again, byte for byte."""

from __future__ import annotations

import json
import zlib
from io import BytesIO
from typing import Any

import pytest

from protocol import cloudevents
from protocol.acks import build_ack, open_ack
from protocol.bundle import read_bundle
from protocol.cards import open_card
from protocol.codes import claim_hash, gateway_code_secret
from protocol.cose import Purpose, SigningKey, parse
from protocol.courier import Direction, Item, read_header, read_items, write_header, write_item
from protocol.documents import PartJoiner, document_digest, open_document, split_document
from protocol.enrolment import open_enrolment
from protocol.frames import open_frame
from protocol.records import decode_record, encode_record, genesis_digest, next_digest, record_id
from protocol.status import read_status, write_status
from tests.protocol import samples
from tests.protocol.make_vectors import DIRECTORY, MAKERS, path_of, plain, rendered

DEFLATED = {"frame", "courier"}  # their bytes are one deflate library's; what is inside is pinned below


def vectors(message: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path_of(message).read_text(encoding="utf-8"))["vectors"]
    return found


def named(message: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors(message), ids=lambda vector: vector["name"])


def test_every_vector_file_has_a_maker_and_every_maker_a_file() -> None:
    assert {path.name for path in DIRECTORY.glob("*.json")} == {path_of(message).name for message in MAKERS}


@pytest.mark.parametrize("message", sorted(set(MAKERS) - DEFLATED))
def test_todays_code_makes_the_same_bytes(message: str) -> None:
    assert rendered(message) == path_of(message).read_text(encoding="utf-8")


@named("record")
def test_a_record_is_read_and_made_again(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    record = decode_record(data)
    assert plain(record) == vector["fields"]
    assert record.kind == vector["name"]
    assert encode_record(record) == data
    digest = bytes.fromhex(vector["digest"])
    assert str(record_id(digest)) == vector["id"]
    event = cloudevents.to_cloudevent(samples.GATEWAY_ID, samples.EPOCH, record, digest)
    assert event == vector["cloudevent"]


def test_the_records_chain_from_genesis() -> None:
    digest = genesis_digest(samples.GATEWAY_ID, samples.EPOCH)
    assert digest.hex() == vectors("digest")[0]["digest"]
    for vector in vectors("record"):
        digest = next_digest(digest, bytes.fromhex(vector["bytes"]))
        assert digest.hex() == vector["digest"]


@named("frame")
def test_a_frame_is_read_and_signed_again(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    frame = open_frame(data, samples.KEYS.get)
    assert plain(frame) == vector["fields"]
    payload = parse(data).payload
    assert zlib.decompress(payload).hex() == vector["inflated"]
    assert samples.GATEWAY.sign(Purpose.FRAME, payload) == data


@named("ack")
def test_an_ack_is_read_and_made_again(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    ack = open_ack(data, samples.KEYS.get)
    assert plain(ack) == vector["fields"]
    assert build_ack(ack, samples.ACK) == data


@named("document")
def test_a_document_is_read_and_has_its_digest(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    document = open_document(data, vector["name"], samples.KEYS.get)
    assert (document.generation, document.version, document.issued_ms) == (1, 7, samples.NOW_MS)
    assert document.digest.hex() == document_digest(data).hex() == vector["digest"]


@named("part")
def test_parts_join_to_the_document(vector: dict[str, Any]) -> None:
    parts = [bytes.fromhex(part) for part in vector["parts"]]
    joiner = PartJoiner()
    whole = [joiner.add(part) for part in parts][-1]
    assert whole is not None
    assert split_document(vector["name"], whole) == parts


def test_a_card_is_read() -> None:
    vector = vectors("card")[0]
    assert plain(open_card(vector["text"], samples.KEYS.get)) == vector["fields"]


def test_codes_become_what_they_became() -> None:
    claim, gateway = vectors("code")
    assert claim_hash(claim["code"]).hex() == claim["hash"]
    assert gateway_code_secret(gateway["code"]).hex() == gateway["secret"]


def test_an_enrolment_brings_the_key_and_its_proof() -> None:
    body = open_enrolment(bytes.fromhex(vectors("enrolment")[0]["bytes"]))
    assert (body.gateway, body.public_key) == (samples.GATEWAY_ID, samples.GATEWAY.public)
    assert body.proof.hex() == vectors("code")[1]["proof"]


@named("courier")
def test_a_courier_file_is_read_and_written_again(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    stream, copy = BytesIO(data), BytesIO()
    header = read_header(stream, Direction(vector["name"]))
    write_header(copy, header)
    items = list(read_items(stream))
    for item, content in items:
        write_item(copy, item, content)
    assert copy.getvalue() == data
    up, down = [Item.ENROLMENT, Item.FRAME], [Item.DOCUMENT, Item.ACK]
    assert [item for item, _ in items] == (up if header.direction is Direction.UP else down)


def test_status_and_bundle_are_read_and_written_again() -> None:
    status, bundle = (vector["text"].encode() for vector in vectors("json"))
    assert read_status(status) == samples.sample_status()
    assert write_status(read_status(status)) == status
    assert read_bundle(bundle).access.gateway == samples.GATEWAY_ID


def test_the_keys_are_those_of_their_seeds() -> None:
    for vector in vectors("keys"):
        key = SigningKey.from_seed(bytes.fromhex(vector["seed"]))
        assert (key.public.hex(), key.key_id.hex()) == (vector["public"], vector["key_id"])
