"""The fuzzer finds what is planted: a decoder that falls over, hangs, or answers without a code."""

from __future__ import annotations

import pytest

from tests.proof.fuzz import fuzzing
from tests.proof.fuzz.targets import TARGETS, Target


class WordlessError(ValueError):
    """An error of ours without a code."""


def fall(_: bytes) -> object:
    raise KeyError("a field that is not there")


def hang(_: bytes) -> object:
    while True:
        pass


def refuse(_: bytes) -> object:
    raise WordlessError


@pytest.mark.parametrize(
    ("decode", "said"), [(fall, "KeyError"), (hang, "not back"), (refuse, "without a code")]
)
def test_a_bad_decoder_is_found(decode: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "bad", Target(decode, b"valid", (WordlessError,)))  # type: ignore[arg-type]
    monkeypatch.setattr(fuzzing, "HANG_CPU_S", 0.2)
    (violation,) = fuzzing.FUZZ.replay("bad.1.0").violations
    assert said in violation.what


def test_the_same_key_is_the_same_input() -> None:
    assert fuzzing.input_of("scale a9.1.7") == fuzzing.input_of("scale a9.1.7") != b""
