"""The rate limit: a burst, then a steady rate, and a bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cloud.errors import RateLimitedError
from cloud.kit.web import limits
from cloud.kit.web.limits import RateLimit


@dataclass(slots=True)
class Watch:
    """A clock that a test moves."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def taken(limit: RateLimit, key: str, tries: int) -> int:
    """How many of `tries` pass."""
    passed = 0
    for _ in range(tries):
        try:
            limit.take(key)
        except RateLimitedError:
            continue
        passed += 1
    return passed


def test_a_burst_passes_then_one_for_each_step() -> None:
    watch = Watch()
    limit = RateLimit("claim", 10, 60.0, watch)
    assert taken(limit, "a", 30) == 10
    watch.now_s += 6.0
    assert taken(limit, "a", 30) == 1
    watch.now_s += 600.0
    assert taken(limit, "a", 30) == 10


def test_keys_do_not_disturb_each_other() -> None:
    limit = RateLimit("claim", 3, 60.0, Watch())
    assert taken(limit, "a", 9) == 3
    assert taken(limit, "b", 9) == 3


def test_the_headers_say_what_is_left_and_when_to_come_back() -> None:
    watch = Watch()
    limit = RateLimit("claim", 2, 60.0, watch)
    assert limit.take("a") == {"RateLimit-Policy": '"claim";q=2;w=60', "RateLimit": '"claim";r=1;t=30'}
    assert limit.take("a")["RateLimit"] == '"claim";r=0;t=60'
    with pytest.raises(RateLimitedError) as raised:
        limit.take("a")
    assert raised.value.headers["Retry-After"] == "30"


def test_it_remembers_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_MAX", 100)
    limit = RateLimit("claim", 1, 60.0, Watch())
    for number in range(500):
        limit.take(str(number))
    assert len(limit._full_at) == 100
    assert taken(limit, "499", 1) == 0
    assert taken(limit, "0", 1) == 1
