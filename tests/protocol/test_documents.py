"""Documents: verified, ordered, split and joined."""

from __future__ import annotations

import itertools
import random
from typing import Any

import cbor2
import pytest

from protocol.cose import Purpose, key_id_of
from protocol.documents import (
    DOCUMENT_BYTES_MAX,
    PART_BYTES_MAX,
    PARTS_MAX,
    SIGNED_BYTES_MAX,
    CatalogBody,
    ConfigBody,
    Document,
    KeysBody,
    KeyUse,
    ManifestBody,
    Material,
    Name,
    PartJoiner,
    RevocationsBody,
    build_document,
    document_digest,
    open_document,
    split_document,
)
from protocol.errors import DocumentError, SignatureError
from tests.protocol.samples import CATALOG_DIGEST, DOCUMENT, KEYS, NOW_MS, ROOT, sample_documents

SIGNED = sample_documents()
SHAPES: dict[str, Any] = {
    Name.MANIFEST: ManifestBody,
    Name.KEYS: KeysBody,
    Name.CATALOG: CatalogBody,
    Name.REVOCATIONS: RevocationsBody,
    Name.CONFIG: ConfigBody,
}


def signed(*fields: object, purpose: Purpose = Purpose.DOCUMENT) -> bytes:
    return DOCUMENT.sign(purpose, cbor2.dumps(list(fields)))


def refused(data: bytes, name: str = Name.CATALOG) -> str:
    with pytest.raises(DocumentError) as caught:
        open_document(data, name, KEYS.get)
    return caught.value.code


@pytest.mark.parametrize("name", list(Name))
def test_each_name_has_its_body(name: Name) -> None:
    document = open_document(SIGNED[name], name, KEYS.get)
    assert document.body(SHAPES[name])
    other = SHAPES[Name.CONFIG if name is not Name.CONFIG else Name.KEYS]
    with pytest.raises(DocumentError, match="is not as it should be"):
        document.body(other)


def test_a_manifest_names_the_others_by_digest() -> None:
    manifest = open_document(SIGNED["manifest"], "manifest", KEYS.get).body(ManifestBody)
    assert {entry.name: entry.digest for entry in manifest.entries} == {
        name: document_digest(data) for name, data in SIGNED.items() if name != "manifest"
    }


def test_keys_are_signed_by_the_root_and_by_nothing_else() -> None:
    keys = open_document(SIGNED["keys"], "keys", {ROOT.key_id: ROOT.public}.get).body(KeysBody)
    assert [key.use for key in keys.keys] == [KeyUse.ACK, KeyUse.DOCUMENT, KeyUse.CARD]
    forged = build_document("keys", 1, 8, NOW_MS, keys, DOCUMENT)
    with pytest.raises(SignatureError):
        open_document(forged, "keys", {ROOT.key_id: ROOT.public}.get)
    as_plain = signed(1, "keys", 1, 8, NOW_MS, [[]])
    with pytest.raises(SignatureError):
        open_document(as_plain, "keys", KEYS.get)


def test_a_key_for_a_later_use_does_not_hide_the_others() -> None:
    body = [[["firmware", bytes(32), 0, 1], ["ack", bytes(32), 0, 1]]]
    document = open_document(signed(1, "catalog", 1, 1, 0, body), "catalog", KEYS.get)
    assert [key.use for key in document.body(KeysBody).keys] == [KeyUse.OTHER, KeyUse.ACK]


def test_fields_added_by_a_later_version_are_passed_over() -> None:
    body = [[["PET", "Plastic", "x", "pet", 15, 7, "later"]], 60, "later"]
    document = open_document(signed(1, "catalog", 1, 1, 0, body, "later"), "catalog", KEYS.get)
    assert document.body(CatalogBody) == CatalogBody([Material("PET", "Plastic", "x", "pet", 15, 7)], 60)


def test_another_version_or_name_has_its_own_code() -> None:
    assert refused(signed(2, {})) == "document.version"
    assert refused(SIGNED["config"]) == "document.wrong_name"


@pytest.mark.parametrize(
    "fields",
    [(), (1,), (1, "catalog", -1, 1, 0, []), (1, "catalog", 1, 2**63, 0, []), (1, "catalog", 1, 1, 0)],
    ids=str,
)
def test_a_malformed_document_is_refused(fields: tuple[object, ...]) -> None:
    assert refused(signed(*fields)) == "document.malformed"


def test_size_is_bounded_on_both_sides() -> None:
    assert refused(bytes(SIGNED_BYTES_MAX + 1)) == "document.too_large"
    for build in (
        lambda: build_document("revocations", 1, 1, 0, RevocationsBody(bytes(DOCUMENT_BYTES_MAX)), DOCUMENT),
        lambda: split_document("revocations", bytes(SIGNED_BYTES_MAX + 1)),
    ):
        with pytest.raises(DocumentError) as caught:
            build()
        assert caught.value.code == "document.too_large"


@pytest.mark.parametrize("name", ["", "Catalog", "a/b", "doc+", "#", "x" * 33])
def test_a_name_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(DocumentError):
        build_document(name, 1, 1, 0, ConfigBody("a", "b"), DOCUMENT)
    with pytest.raises(DocumentError):
        split_document(name, b"x")


def test_what_could_not_be_read_back_is_not_signed() -> None:
    for generation, body in (
        (-1, ConfigBody("a", "b")),
        (1, CatalogBody([Material("PET", "a", "b", "c", -1, 1)], 60)),
        (1, CatalogBody([], -1)),
    ):
        with pytest.raises(DocumentError):
            build_document("config", generation, 1, 0, body, DOCUMENT)


@pytest.mark.parametrize(
    ("older", "newer"), list(itertools.pairwise([(1, 1), (1, 2), (2, 1), (2, 9), (3, 0)]))
)
def test_a_restored_cloud_supersedes_by_its_generation(
    older: tuple[int, int], newer: tuple[int, int]
) -> None:
    first, second = (Document("config", *order, 0, b"", b"", None) for order in (older, newer))
    assert second.supersedes(first)
    assert not first.supersedes(second)
    assert not second.supersedes(second)
    assert first.supersedes(None)


def test_the_largest_document_travels_in_parts_below_64_kib() -> None:
    data = random.Random(3).randbytes(SIGNED_BYTES_MAX)
    parts = split_document("catalog", data)
    assert max(map(len, parts)) < 64 * 1024
    assert len(parts) == PARTS_MAX
    joiner = PartJoiner()
    random.Random(4).shuffle(parts)
    assert [joiner.add(part) for part in parts] == [None] * (PARTS_MAX - 1) + [data]


def test_parts_join_in_any_order_and_repeated() -> None:
    data = bytes(3 * PART_BYTES_MAX - 5)
    first, second, third = split_document("catalog", data)
    joiner = PartJoiner()
    assert [joiner.add(part) for part in (third, first, first, third, second)] == [None] * 4 + [data]
    assert joiner.add(first) is None


def test_a_part_of_another_document_starts_over() -> None:
    old, new = bytes(PART_BYTES_MAX + 1), b"\1" * (PART_BYTES_MAX + 1)
    joiner = PartJoiner()
    joiner.add(split_document("catalog", old)[0])
    first, second = split_document("catalog", new)
    assert (joiner.add(second), joiner.add(first)) == (None, new)


def part(**changes: object) -> bytes:
    fields: dict[str, object] = {"name": "catalog", "digest": CATALOG_DIGEST, "index": 0, "total": 1}
    return cbor2.dumps(list((fields | {"chunk": b"x"} | changes).values()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        part(index=1),
        part(index=-1),
        part(total=0),
        part(total=PARTS_MAX + 1),
        part(digest=b"short"),
        part(chunk=b""),
        part(chunk=bytes(PART_BYTES_MAX + 1)),
        part(name="a/b"),
        bytes(PART_BYTES_MAX + 4096),
    ],
    ids=range(10),
)
def test_a_part_out_of_range_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentError):
        PartJoiner().add(data)


def test_parts_that_do_not_match_their_digest_are_dropped_and_the_next_try_works() -> None:
    joiner = PartJoiner()
    with pytest.raises(DocumentError, match="do not add up"):
        joiner.add(part())
    data = SIGNED["catalog"]
    assert joiner.add(split_document("catalog", data)[0]) == data


def test_a_part_that_lies_about_the_total_cannot_end_the_join_early() -> None:
    data = bytes(PART_BYTES_MAX + 1)
    first, second = split_document("catalog", data)
    joiner = PartJoiner()
    assert joiner.add(first) is None
    liar = part(digest=document_digest(data), total=3, index=2)
    assert joiner.add(liar) is None
    assert (joiner.add(first), joiner.add(second)) == (None, data)


def test_the_key_id_finds_the_key() -> None:
    assert KEYS[key_id_of(DOCUMENT.public)] == DOCUMENT.public
