"""Links whose every answer takes longer than the breaker's 3 s: satellites, 2G. They deliver all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.sync.https import HttpsRoad
from edge.sync.patience import SILENCE_S_MAX, Patience
from protocol.breaker import BreakerSettings
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import Proxy, cloud_answer, mqtt, syncing, until, web
from tests.proof.lossy.chaos import Chaos, Weather

if TYPE_CHECKING:
    from tests.edge.sync.conftest import Gateway
    from tests.edge.sync.tls_broker import TlsBroker

QUICK = BreakerSettings(timeout_s=0.3, outcomes_min=2, open_s=0.5)
"""A tenth of the figures, so that an answer that takes a second stands for one of ten."""
FAR = Weather(latency_s=(0.5, 0.5))


async def test_weighings_are_not_kept_for_ever_when_every_answer_of_the_broker_takes_longer_than_the_limit(
    gateway: Gateway, broker: TlsBroker
) -> None:
    await gateway.fill_noise(100)
    with Chaos(FAR, "1") as chaos:
        async with (
            gateway.cloud.on_broker(broker),
            syncing(gateway, mqtt(broker, chaos.forward(broker.port)), settings=QUICK) as sync,
        ):
            await until(lambda: gateway.journal.acked == 100)
            snapshot = sync.lanes[0].breaker.snapshot()
        assert chaos.seen["connections"] == 1
    assert (snapshot["failures"], snapshot["opened_total"]) == (0, 0)
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_weighings_are_not_kept_for_ever_when_every_answer_of_the_web_takes_longer_than_the_limit(
    gateway: Gateway,
) -> None:
    """Opening this road says nothing of it: the breaker opens, and its trials wait longer each time."""
    await gateway.fill_noise(100)
    with Chaos(FAR, "1") as chaos:
        async with web(cloud_answer(gateway.cloud)) as url:
            near = f"http://127.0.0.1:{chaos.forward(int(url.rpartition(':')[2]))}"
            async with syncing(gateway, HttpsRoad(near, GATEWAY), settings=QUICK) as sync:
                await until(lambda: gateway.journal.acked == 100)
                assert sync.lanes[0].breaker.state == "closed"
                assert sync.lanes[0].breaker.snapshot()["opened_total"] >= 2
    assert gateway.delivered == await gateway.journal.read(1, 1 << 20)


async def test_a_dead_road_is_given_no_more_patience_while_another_delivers(
    gateway: Gateway, broker: TlsBroker
) -> None:
    """Each of its trials keeps the road that works waiting."""
    async with web(cloud_answer(gateway.cloud)) as url, Proxy(broker.port) as link:
        link.silent = True
        dead = mqtt(broker, link.port, timeout_s=0.2)
        async with syncing(gateway, dead, HttpsRoad(url, GATEWAY), settings=QUICK) as sync:
            breaker = sync.lanes[0].breaker
            for opened in range(1, 4):
                await gateway.fill(1)
                await until(
                    lambda opened=opened: (  # type: ignore[misc]
                        breaker.snapshot()["opened_total"] > opened and gateway.journal.acked >= opened
                    )
                )
            assert sync.lanes[0].patience.silence_s_max == QUICK.timeout_s


def test_ordinary_answers_leave_the_limit_at_three_seconds() -> None:
    patience = Patience(3.0)
    assert patience.silence_s_max == 3.0
    for silent_s in (0.02, 0.9, 1.0, 0.0):
        patience.opened(silent_s)
        patience.answered(silent_s)
        assert patience.silence_s_max == 3.0


def test_the_limit_is_three_times_the_usual_silence_and_never_more_than_thirty() -> None:
    patience = Patience(3.0)
    patience.answered(4.0)
    assert patience.silence_s_max == 12.0
    patience.answered(6.0)
    assert patience.silence_s_max == 15.0
    for _ in range(3):
        patience.answered(25.0)
    assert patience.silence_s_max == SILENCE_S_MAX == 30.0


def test_opening_a_road_takes_at_least_three_answers() -> None:
    patience = Patience(3.0)
    patience.opened(12.0)
    assert patience.silence_s_max == 12.0


def test_answers_that_are_late_now_and_then_prolong_nothing() -> None:
    """Where packets are lost TCP falls silent for longer and longer; a new connection is the cure."""
    patience = Patience(3.0)
    for silent_s in [0.1, 2.9, 0.3] * 20:
        patience.answered(silent_s)
        assert patience.silence_s_max <= 4.5
    assert patience.silence_s_max == 3.0


def test_quick_answers_bring_the_three_seconds_back() -> None:
    patience = Patience(3.0)
    for _ in range(100):
        patience.answered(9.0)
    for _ in range(9):
        assert patience.silence_s_max > 3.0
        patience.answered(0.0)
    assert patience.silence_s_max == 3.0


def test_trials_that_find_nothing_double_it_until_something_is_heard() -> None:
    patience = Patience(3.0)
    limits_s = []
    for _ in range(100):
        patience.longer()
        limits_s.append(patience.silence_s_max)
    assert limits_s[:4] == [6.0, 12.0, 24.0, 30.0]
    assert set(limits_s[3:]) == {30.0}
    patience.answered(0.5)
    assert patience.silence_s_max == 3.0


def test_a_link_that_is_led_over_a_satellite_from_now_on_is_believed_at_its_first_answer() -> None:
    patience = Patience(3.0)
    for _ in range(100):
        patience.answered(0.1)
    patience.longer()
    patience.answered(5.0)
    assert patience.silence_s_max == 15.0


def test_a_road_that_opens_at_once_says_nothing_of_its_answers() -> None:
    """Over HTTPS nothing is waited for: each new session would forget how long answers take."""
    patience = Patience(3.0)
    patience.answered(5.0)
    for _ in range(100):
        patience.opened(0.0)
    assert patience.silence_s_max == 15.0


def test_a_breaker_with_a_longer_limit_than_ours_keeps_it() -> None:
    assert Patience(60.0).silence_s_max == 60.0
