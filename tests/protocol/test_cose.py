"""Envelopes: one encoding, one purpose, one key."""

from __future__ import annotations

import cbor2
import pytest

from protocol.cose import Purpose, SigningKey, key_id_of, open_envelope, parse, verify
from protocol.errors import EnvelopeError, SignatureError
from tests.protocol.samples import ACK, KEYS, OTHER

PAYLOAD = b"payload"


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_a_payload_of_any_length_comes_back(length: int) -> None:
    payload = bytes(length)
    assert open_envelope(ACK.sign(Purpose.ACK, payload), Purpose.ACK, KEYS.get) == payload


def test_an_envelope_is_a_cose_sign1_message() -> None:
    message = cbor2.loads(ACK.sign(Purpose.ACK, PAYLOAD))
    assert message.tag == 18
    protected, unprotected, payload, signature = message.value
    assert cbor2.loads(protected) == {1: -8, 4: ACK.key_id}
    assert (unprotected, payload, len(signature)) == ({}, PAYLOAD, 64)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_signature_is_good_for_its_own_purpose_only(purpose: Purpose) -> None:
    envelope = parse(ACK.sign(purpose, PAYLOAD))
    for other in Purpose:
        if other is purpose:
            assert verify(envelope, other, ACK.public) == PAYLOAD
        else:
            with pytest.raises(SignatureError, match="does not verify"):
                verify(envelope, other, ACK.public)


def test_an_unknown_key_has_its_own_code() -> None:
    with pytest.raises(SignatureError) as caught:
        open_envelope(OTHER.sign(Purpose.ACK, PAYLOAD), Purpose.ACK, KEYS.get)
    assert caught.value.code == "envelope.unknown_key"


def test_another_key_under_a_known_id_does_not_verify() -> None:
    with pytest.raises(SignatureError) as caught:
        open_envelope(OTHER.sign(Purpose.ACK, PAYLOAD), Purpose.ACK, lambda _: ACK.public)
    assert caught.value.code == "envelope.signature"


def test_a_key_of_the_wrong_length_does_not_verify() -> None:
    with pytest.raises(SignatureError):
        verify(parse(ACK.sign(Purpose.ACK, PAYLOAD)), Purpose.ACK, b"short")


def test_no_second_encoding_of_an_envelope_is_taken() -> None:
    good = ACK.sign(Purpose.ACK, PAYLOAD)
    protected, _, payload, signature = cbor2.loads(good).value
    longer_payload = b"\x58" + bytes((len(payload),)) + payload
    tail = b"\x58\x40" + signature
    others = {
        "unprotected header": cbor2.dumps(cbor2.CBORTag(18, [protected, {4: b"x"}, payload, signature])),
        "trailing byte": good + b"\0",
        "longer length": good[: 3 + 13 + 1] + longer_payload + tail,
        "longer tag": b"\xd8\x12" + good[1:],
        "tagged twice": b"\xd9\xd9\xf7" + good,
        "indefinite": b"\xd2\x9f" + good[2:] + b"\xff",
        "text payload": cbor2.dumps(cbor2.CBORTag(18, [protected, {}, "payload", signature])),
        "another algorithm": good.replace(bytes.fromhex("a20127"), bytes.fromhex("a20126")),
        "short signature": cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature[:63]])),
        "more in the protected header": cbor2.dumps(
            cbor2.CBORTag(18, [cbor2.dumps({1: -8, 4: ACK.key_id, 2: [99]}), {}, payload, signature])
        ),
    }
    for what, data in others.items():
        with pytest.raises(EnvelopeError) as caught:
            parse(data)
        assert caught.value.code == "envelope.malformed", what


@pytest.mark.parametrize("end", range(0, 90, 3))
def test_a_cut_envelope_is_malformed(end: int) -> None:
    with pytest.raises(EnvelopeError):
        parse(ACK.sign(Purpose.ACK, PAYLOAD)[:end])


def test_a_key_is_its_seed() -> None:
    again = SigningKey.from_seed(ACK.seed)
    assert (again.public, again.key_id) == (ACK.public, key_id_of(ACK.public))
    with pytest.raises(ValueError, match="32"):
        SigningKey.from_seed(b"short")
    with pytest.raises(EnvelopeError, match="32 bytes"):
        key_id_of(b"short")
