"""Bundles and claim answers: trusted only as far as the root reaches."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from protocol.bundle import (
    BUNDLE_BYTES_MAX,
    DOCUMENTS_MAX,
    Access,
    Broker,
    BundleError,
    open_documents,
    peek_name,
    read_access,
    read_bundle,
    write_bundle,
)
from protocol.cose import Purpose
from protocol.documents import SIGNED_BYTES_MAX, ConfigBody, build_document
from protocol.errors import ProtocolError
from tests.protocol.samples import (
    DOCUMENT,
    GATEWAY_CODE,
    GATEWAY_ID,
    OTHER,
    ROOT,
    sample_bundle,
    sample_documents,
)

SIGNED = sample_documents()
ACCESS = Access(GATEWAY_ID, ROOT.public, "https://reloop.example", None, [SIGNED["keys"], SIGNED["catalog"]])


def changed(**changes: Any) -> Access:
    return msgspec.structs.replace(ACCESS, **changes)


def refused(access: Access) -> str:
    with pytest.raises(BundleError) as caught:
        read_access(msgspec.json.encode(access))
    return caught.value.code


def test_a_bundle_comes_back_with_its_secret_and_without_a_private_key() -> None:
    bundle = read_bundle(sample_bundle())
    assert bundle.code == GATEWAY_CODE
    assert len(bundle.secret) == 32
    assert "private" not in sample_bundle().decode()


def test_a_claim_answer_is_the_same_access() -> None:
    assert read_access(msgspec.json.encode(ACCESS)) == ACCESS
    broker = Broker("192.0.2.1", 1, "broker", b"\x30")
    assert read_access(msgspec.json.encode(changed(mqtt=broker))).mqtt == broker
    assert read_access(msgspec.json.encode(changed(mqtt=None))).mqtt is None


def test_documents_verify_in_any_order_and_keys_come_first() -> None:
    found = open_documents([SIGNED["config"], SIGNED["catalog"], SIGNED["keys"]], ROOT.public)
    assert [document.name for document in found] == ["keys", "config", "catalog"]


def forged() -> bytes:
    return build_document("catalog", 1, 1, 0, ConfigBody("a", "b"), OTHER)


@pytest.mark.parametrize(
    ("access", "code"),
    [
        (changed(gateway="x"), "bundle.malformed"),
        (changed(root_public_key=b"short"), "bundle.malformed"),
        (changed(mqtt=Broker("broker", 0, "broker", b"\x30")), "bundle.malformed"),
        (changed(mqtt=Broker("broker", 8883, "", b"\x30")), "bundle.malformed"),
        (changed(mqtt=Broker("broker", 8883, "broker", b"")), "bundle.malformed"),
        (changed(documents=[]), "bundle.malformed"),
        (changed(documents=[SIGNED["keys"], SIGNED["keys"]]), "bundle.malformed"),
        (changed(documents=[SIGNED["keys"]] * (DOCUMENTS_MAX + 1)), "bundle.malformed"),
        (changed(documents=[DOCUMENT.sign(Purpose.DOCUMENT, b"\x01")]), "bundle.malformed"),
        (changed(documents=[DOCUMENT.sign(Purpose.DOCUMENT, b"\xff")]), "bundle.malformed"),
        (changed(documents=[b"not signed"]), "bundle.forged"),
        (changed(documents=[SIGNED["keys"], forged()]), "bundle.forged"),
        (changed(root_public_key=OTHER.public), "bundle.forged"),
    ],
    ids=range(13),
)
def test_an_access_that_cannot_be_trusted_is_refused(access: Access, code: str) -> None:
    assert refused(access) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reloop_bundle": 2}, "bundle.version"),
        ({"code": "typo"}, "bundle.malformed"),
        ({"code": 5}, "bundle.malformed"),
    ],
    ids=str,
)
def test_a_bundle_of_another_version_or_code_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(json.dumps(json.loads(sample_bundle()) | changes).encode())
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"reloop_bundle":1'])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    for read in (read_bundle, read_access):
        with pytest.raises(BundleError):
            read(data)


def test_size_is_bounded() -> None:
    for read in (read_bundle, read_access):
        with pytest.raises(BundleError) as caught:
            read(bytes(BUNDLE_BYTES_MAX + 1))
        assert caught.value.code == "bundle.too_large"
    with pytest.raises(ProtocolError) as large:
        peek_name(bytes(SIGNED_BYTES_MAX + 1024))
    assert large.value.code == "document.too_large"


def test_no_bundle_is_written_that_could_not_be_read() -> None:
    with pytest.raises(BundleError):
        write_bundle(GATEWAY_CODE, changed(documents=[]))
    with pytest.raises(BundleError):
        write_bundle("typo", ACCESS)
