"""Asking a scale: one request at a time, a deadline for each answer, never a flood."""

import pytest

from edge.devices.readings import Reading
from edge.devices.scales.conversation import Conversation
from edge.devices.scales.dialects import Setup, dialect

SETUP = Setup(period_s=0.2)


def asked_within(conversation: Conversation, seconds: float, *, answer: bytes = b"") -> list[bytes]:
    requests = []
    for tick in range(int(seconds * 100)):
        now = tick / 100
        if request := conversation.due(now):
            requests.append(request)
            conversation.feed(answer, now)
    return requests


@pytest.mark.parametrize("name", ["mt-sics", "a9-command"])
def test_a_silent_scale_is_asked_again_only_after_the_deadline(name: str) -> None:
    assert 15 <= len(asked_within(dialect(name).converse(SETUP), 10.0)) <= 17


def test_an_answering_scale_is_asked_once_a_period() -> None:
    requests = asked_within(dialect("mt-sics").converse(SETUP), 10.0, answer=b"S S      1.000 kg\r\n")
    assert 48 <= len(requests) <= 51
    assert requests[:3] == [b"I4\r\n", b"I2\r\n", b"SI\r\n"]
    assert set(requests[2:]) == {b"SI\r\n"}


def test_an_a9_is_asked_for_gross_at_its_address() -> None:
    conversation = dialect("a9-command").converse(Setup(address="C"))
    assert conversation.due(0.0) == bytes.fromhex("02 43 42 30 31 03")
    assert conversation.due(0.1) == b""
    (reading,) = conversation.feed(b"\x02CB+003290012\x03", 0.15)
    assert isinstance(reading, Reading)
    assert conversation.wait_s(0.15) == pytest.approx(0.05)


def test_a_clone_that_knows_no_serial_number_is_weighed_all_the_same() -> None:
    conversation = dialect("mt-sics").converse(SETUP)
    for now in (0.0, 0.3):
        conversation.due(now)
        assert conversation.feed(b"ES\r\n", now + 0.01) == []
    assert conversation.due(0.6) == b"SI\r\n"
    assert conversation.identity.serial == ""


@pytest.mark.parametrize("name", ["toledo", "and", "a9", "a12e"])
def test_a_scale_that_talks_by_itself_is_never_asked(name: str) -> None:
    conversation = dialect(name).converse(SETUP)
    assert asked_within(conversation, 5.0) == []
    assert conversation.wait_s(0.0) is None
