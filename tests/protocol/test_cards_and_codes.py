"""What people carry and type: cards verify offline, codes forgive, and nothing else passes."""

from __future__ import annotations

import random
from typing import Any

import base45
import cbor2
import msgspec
import pytest

from protocol.cards import PREFIX, Card, Role, build_card, check_card, open_card
from protocol.codes import (
    CLAIM_HASH_LENGTH,
    check_bin_code,
    claim_hash,
    gateway_code_secret,
    new_claim_code,
    new_gateway_code,
)
from protocol.cose import Purpose
from protocol.errors import CardError, CodeError
from protocol.points import points_for
from protocol.topics import (
    Lane,
    TopicError,
    check_gateway_id,
    document_filter,
    document_topic,
    lane_filter,
    parse_topic,
    topic,
)
from tests.protocol.samples import ACK, CARD, GATEWAY_ID, KEYS, OTHER, SERIAL, card_text, sample_card

CLAIMS: dict[Any, object] = {4: 2_000_000_000, 7: SERIAL, -70001: 0, -70002: "Maya"}


def signed(claims: object, purpose: Purpose = Purpose.CARD) -> str:
    encoded: bytes = base45.b45encode(CARD.sign(purpose, cbor2.dumps(claims)))
    return PREFIX + encoded.decode()


def refused(text: str) -> str:
    with pytest.raises(CardError) as caught:
        open_card(text, KEYS.get)
    return caught.value.code


@pytest.mark.parametrize("role", list(Role))
def test_a_card_of_every_role_comes_back(role: Role) -> None:
    card = msgspec.structs.replace(sample_card(), role=role)
    assert open_card(build_card(card, CARD), KEYS.get) == card
    assert card.pseudonym + b"\x01" == card.serial


def test_claims_of_a_later_version_are_passed_over() -> None:
    assert open_card(signed(CLAIMS | {-70003: "later", "x": [1]}), KEYS.get).serial == SERIAL


@pytest.mark.parametrize(
    "claims",
    [
        [],
        {},
        CLAIMS | {4: -1},
        CLAIMS | {4: True},
        CLAIMS | {4: 1.5},
        CLAIMS | {7: SERIAL[:-1]},
        CLAIMS | {7: "text"},
        CLAIMS | {-70001: 3},
        CLAIMS | {-70001: False},
        CLAIMS | {-70002: "x" * 25},
        CLAIMS | {-70002: 5},
    ],
    ids=str,
)
def test_claims_out_of_range_are_malformed(claims: object) -> None:
    assert refused(signed(claims)) == "card.malformed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RL1",
        "rl1:ABC",
        "https://x",
        PREFIX,
        PREFIX + "A",
        PREFIX + "é",
        PREFIX + ":::",
        "RL1:" + "0" * 600,
    ],
)
def test_what_is_no_card_is_told_apart_from_a_forged_one(text: str) -> None:
    assert refused(text) in {"card.malformed", "card.forged"}


def test_a_card_signed_by_another_key_or_for_another_purpose_is_forged() -> None:
    assert refused(build_card(sample_card(), OTHER)) == "card.forged"
    assert refused(signed(CLAIMS, Purpose.DOCUMENT)) == "card.forged"
    data = bytearray(base45.b45decode(card_text().removeprefix(PREFIX)))
    data[-1] ^= 1
    assert refused(PREFIX + base45.b45encode(bytes(data)).decode()) == "card.forged"
    assert ACK.key_id != CARD.key_id


@pytest.mark.parametrize(
    "card",
    [
        Card(SERIAL[:-1], Role.CITIZEN, "Maya", 1),
        Card(SERIAL, Role.CITIZEN, "M" * 25, 1),
        Card(SERIAL, Role.CITIZEN, "\ud800", 1),
        Card(SERIAL, Role.CITIZEN, "Maya", -1),
    ],
    ids=range(4),
)
def test_no_card_is_made_that_no_kiosk_would_take(card: Card) -> None:
    with pytest.raises(CardError):
        build_card(card, CARD)


def test_the_text_fits_the_alphanumeric_mode_of_a_qr() -> None:
    assert set(card_text()) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    longest = Card(SERIAL, Role.STEWARD, "नमस्तेनमस्तेनमस्तेनमस्ते", 2**62)
    assert len(build_card(longest, CARD)) <= 512


def test_expiry_is_judged_only_by_a_trusted_clock_and_revocation_always() -> None:
    card = sample_card()
    assert check_card(card, None, lambda _: False) is card
    assert check_card(card, card.expires_s - 1, lambda _: False) is card
    with pytest.raises(CardError) as expired:
        check_card(card, card.expires_s, lambda _: False)
    with pytest.raises(CardError) as revoked:
        check_card(card, card.expires_s, {card.serial}.__contains__)
    assert (expired.value.code, revoked.value.code) == ("card.expired", "card.revoked")


def test_codes_are_random_grouped_and_typed_as_people_type() -> None:
    chance = random.Random(5)
    for make, check, groups in (
        (new_claim_code, claim_hash, [4, 4, 4, 1]),
        (new_gateway_code, gateway_code_secret, [4, 4, 4, 4, 4, 4, 2]),
    ):
        for _ in range(200):
            code = make(chance.randbytes)
            assert [len(group) for group in code.split("-")] == groups
            typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l").replace("v", "u")
            assert check(typed) == check(code)


def test_a_claim_hash_is_16_bytes_and_a_secret_32() -> None:
    assert len(claim_hash("7K3M-9QXT-2VAB-H")) == CLAIM_HASH_LENGTH == 16
    assert len(gateway_code_secret("ABCD-EFGH-JKMN-PQRS-TVWX-YZ01-23")) == 32


@pytest.mark.parametrize(
    "code", ["", "7K3M", "7K3M-9QXT-2VAB-HH", "7K3M-9QXT-2VAB-!", "७K3M-9QXT-2VAB-H", "\ud800" * 13]
)
def test_a_mistyped_code_is_told(code: str) -> None:
    with pytest.raises(CodeError, match="typing errors"):
        claim_hash(code)


def test_a_bin_code_is_upper_cased_and_loses_its_prefix() -> None:
    assert check_bin_code("RLB1:bin-7") == check_bin_code("BIN-7") == "BIN-7"
    for wrong in ("", "A", "-AB", "AB-", "A B", "BIN/7", "STRA\u00dfE", "A" * 33, "BIN-7\n"):
        with pytest.raises(CodeError):
            check_bin_code(wrong)


def test_points_are_floored_once_and_never_negative() -> None:
    assert [points_for(net_g, 15) for net_g in (0, 66, 67, 1234)] == [0, 0, 1, 18]
    assert points_for(2**31 - 1, 2**31 - 1) < 2**53
    for net_g, rate in ((-1, 15), (1, -15)):
        with pytest.raises(ValueError, match="never negative"):
            points_for(net_g, rate)


def test_topics_are_built_and_taken_apart() -> None:
    for lane in Lane:
        assert parse_topic(topic(GATEWAY_ID, lane)) == (GATEWAY_ID, lane.value)
    assert parse_topic(document_topic(GATEWAY_ID, "catalog")) == (GATEWAY_ID, "doc/catalog")
    assert document_filter(GATEWAY_ID) == f"reloop/v1/{GATEWAY_ID}/doc/+"
    assert lane_filter(Lane.UP) == "reloop/v1/+/up"


@pytest.mark.parametrize(
    "name", ["", "reloop/v1/", "reloop/v1/ktm-drop-01", "x/reloop/v1/ktm-drop-01/up", "reloop/v1/+/up"]
)
def test_a_topic_that_is_not_ours_is_refused(name: str) -> None:
    with pytest.raises(TopicError):
        parse_topic(name)


@pytest.mark.parametrize(
    "gateway", ["", "short", "KTM-DROP-01", "-ktm-drop", "ktm-drop-", "a" * 65, "ktm/drop1", "ktm-drop\n"]
)
def test_a_gateway_id_that_is_no_topic_level_is_refused(gateway: str) -> None:
    with pytest.raises(TopicError):
        check_gateway_id(gateway)
