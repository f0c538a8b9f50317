"""Guarded calls on a real asyncio loop whose clock jumps from timer to timer: hours in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from protocol.breaker import Breaker, BreakerOpen, NoProgressError, Outcome, Ticket, Transition
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
TIMEOUT_S = 3.0
OPEN_S = 30.0
OUTCOMES_MIN = 5


class JumpingSelector(selectors.SelectSelector):
    """Never waits: where a loop would sleep until its next timer, its clock jumps there."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        if not events and timeout is not None:
            self.now_s += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on virtual time that starts at 0; the same every run, as nothing outside is waited for."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())


class Road:
    """A road with a breaker on the loop's clock, and counts of what passed over it."""

    def __init__(self) -> None:
        self.changes: list[Transition] = []
        self.breaker = Breaker("mqtt", self.now_s, on_change=self.changes.append)
        self.started = 0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def state(self) -> str:
        return self.breaker.state

    async def answer(self, ticket: Ticket) -> str:
        self.started += 1
        return "ack"

    async def answer_slowly(self, ticket: Ticket) -> str:
        self.started += 1
        await asyncio.sleep(2.0)
        return "ack"

    async def refuse(self, ticket: Ticket) -> str:
        self.started += 1
        raise ConnectionRefusedError("nobody listens")

    async def hang(self, ticket: Ticket) -> str:
        self.started += 1
        await asyncio.sleep(1e9)
        raise AssertionError("a hanging call was never cut off")

    async def trip(self) -> None:
        for _ in range(OUTCOMES_MIN):
            with pytest.raises(ConnectionRefusedError):
                await self.breaker.call(self.refuse)
        assert self.state == "open"

    async def half_open(self) -> None:
        await self.trip()
        await asyncio.sleep(OPEN_S)
        assert self.state == "half-open"
        self.started = 0


def test_a_call_gives_back_what_the_function_gave_and_counts_a_success() -> None:
    async def scenario() -> None:
        road = Road()
        assert await road.breaker.call(road.answer_slowly) == "ack"
        assert (road.breaker.snapshot()["outcomes"], road.breaker.snapshot()["failures"]) == (1, 0)

    run(scenario)


def test_3_s_without_progress_end_a_call_with_an_error_that_is_a_timeout_and_ours() -> None:
    async def scenario() -> None:
        road = Road()
        with pytest.raises(NoProgressError) as caught:
            await road.breaker.call(road.hang)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, ProtocolError)
        assert caught.value.code == "breaker.timeout"
        assert str(caught.value) == "mqtt made no progress in time: try again later"
        assert road.now_s() == TIMEOUT_S
        assert road.breaker.snapshot()["failures"] == 1

    run(scenario)


def test_a_call_is_as_long_as_it_likes_while_it_makes_progress() -> None:
    async def scenario() -> None:
        road = Road()

        async def trickle(ticket: Ticket) -> str:
            for _ in range(1000):
                await asyncio.sleep(2.5)
                ticket.progress()
            return "ack"

        assert await road.breaker.call(trickle) == "ack"
        assert road.now_s() == 2500.0
        assert road.breaker.snapshot()["failures"] == 0

    run(scenario)


def test_the_3_s_count_from_the_last_progress() -> None:
    async def scenario() -> None:
        road = Road()

        async def stall(ticket: Ticket) -> str:
            await asyncio.sleep(2.0)
            ticket.progress()
            return await road.hang(ticket)

        with pytest.raises(NoProgressError):
            await road.breaker.call(stall)
        assert road.now_s() == 5.0

    run(scenario)


def test_a_caller_that_only_ever_times_out_opens_it_after_15_s_and_is_then_refused_at_once() -> None:
    async def scenario() -> None:
        road = Road()
        rests_s: list[float] = []
        for _ in range(100):
            try:
                await road.breaker.call(road.hang)
            except NoProgressError:
                pass
            except BreakerOpen as error:
                rests_s.append(error.retry_after_s)
        assert (road.started, road.now_s()) == (5, 15.0)
        assert rests_s == [OPEN_S] * 95
        assert road.changes == [Transition("mqtt", "closed", "open", 15.0)]

    run(scenario)


def test_a_dead_road_is_tried_once_in_33_s_by_a_caller_that_never_gives_up() -> None:
    async def scenario() -> None:
        road = Road()
        while road.now_s() < 15.0 + 10 * 33.0:
            try:
                await road.breaker.call(road.hang)
            except NoProgressError:
                pass
            except BreakerOpen as error:
                await asyncio.sleep(error.retry_after_s)
        assert road.started == OUTCOMES_MIN + 10

    run(scenario)


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_of_1000_concurrent_callers_in_half_open_exactly_one_runs(outcome: str) -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()
        function = road.answer_slowly if outcome == "success" else road.hang
        results = await asyncio.gather(
            *(road.breaker.call(function) for _ in range(1000)), return_exceptions=True
        )
        assert road.started == 1
        assert sum(isinstance(result, BreakerOpen) for result in results) == 999
        assert road.state == ("closed" if outcome == "success" else "open")

    run(scenario)


def test_of_1000_callers_spread_over_the_trial_exactly_one_runs() -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()

        async def come(after_s: float) -> str:
            await asyncio.sleep(after_s)
            return await road.breaker.call(road.answer_slowly)

        results = await asyncio.gather(*(come(i / 1024) for i in range(1000)), return_exceptions=True)
        assert (road.started, results.count("ack")) == (1, 1)

    run(scenario)


async def cancel_soon(work: Awaitable[object]) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


def test_cancelled_calls_never_open_it() -> None:
    async def scenario() -> None:
        road = Road()
        for _ in range(100):
            await cancel_soon(road.breaker.call(road.hang))
        assert road.started == 100
        assert road.breaker.snapshot()["outcomes"] == 0
        assert road.changes == []

    run(scenario)


def test_cancellation_of_the_trial_leaves_it_half_open_and_the_next_caller_is_the_trial() -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()
        for _ in range(3):
            await cancel_soon(road.breaker.call(road.hang))
            assert road.state == "half-open"
        assert await road.breaker.call(road.answer) == "ack"
        assert road.state == "closed"

    run(scenario)


def test_a_call_cancelled_before_it_began_was_never_admitted() -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()
        task = asyncio.ensure_future(road.breaker.call(road.hang))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert road.started == 0
        assert road.breaker.retry_after_s == 0.0

    run(scenario)


def test_cancellation_is_not_shown_to_the_classifier() -> None:
    async def scenario() -> None:
        road = Road()
        await cancel_soon(road.breaker.call(road.hang, classify=lambda error: Outcome.FAILURE))
        assert road.breaker.snapshot()["outcomes"] == 0

    run(scenario)


def test_an_outer_timeout_shorter_than_ours_is_a_cancellation_and_neutral() -> None:
    async def scenario() -> None:
        road = Road()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await road.breaker.call(road.hang)
        assert road.breaker.snapshot()["outcomes"] == 0

    run(scenario)


class RefusedError(Exception):
    """An answer of the other side, with the status of HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def by_status(error: BaseException) -> Outcome:
    match error:
        case RefusedError(status=429):
            return Outcome.NEUTRAL
        case RefusedError(status=status) if status < 500:
            return Outcome.SUCCESS
        case _:
            return Outcome.FAILURE


def refuse_with(status: int) -> Callable[[Ticket], Awaitable[str]]:
    async def refuse(ticket: Ticket) -> str:
        raise RefusedError(status)

    return refuse


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429])
def test_a_4xx_never_opens_it(status: int) -> None:
    async def scenario() -> None:
        road = Road()
        for _ in range(100):
            with pytest.raises(RefusedError):
                await road.breaker.call(refuse_with(status), by_status)
        assert road.changes == []
        assert road.breaker.snapshot()["failures"] == 0

    run(scenario)


def test_a_5xx_opens_it_with_the_fifth() -> None:
    async def scenario() -> None:
        road = Road()
        for _ in range(OUTCOMES_MIN):
            with pytest.raises(RefusedError):
                await road.breaker.call(refuse_with(503), by_status)
        assert road.state == "open"

    run(scenario)


def test_a_late_success_of_a_call_from_before_the_trip_does_not_close_it() -> None:
    async def scenario() -> None:
        road = Road()
        slow = asyncio.ensure_future(road.breaker.call(road.answer_slowly))
        await asyncio.sleep(0)
        await road.trip()
        assert await slow == "ack"
        assert road.state == "open"
        assert road.breaker.snapshot()["ignored_total"] == 1

    run(scenario)


def test_a_timeout_of_the_function_itself_passes_as_it_is_and_is_a_failure() -> None:
    async def scenario() -> None:
        road = Road()

        async def own_timeout(ticket: Ticket) -> str:
            async with asyncio.timeout(1.0):
                return await road.hang(ticket)

        with pytest.raises(TimeoutError) as caught:
            await road.breaker.call(own_timeout)
        assert type(caught.value) is TimeoutError
        assert road.breaker.snapshot()["failures"] == 1

    run(scenario)


async def turn_cancellation_into_an_error(ticket: Ticket) -> str:
    try:
        await asyncio.sleep(1e9)
    except asyncio.CancelledError:
        ticket.progress()  # too late, and harmless
        raise ConnectionResetError("closed on the way out") from None
    raise AssertionError("never cut off")


async def turn_cancellation_into_an_answer(ticket: Ticket) -> str:
    try:
        await asyncio.sleep(1e9)
    except asyncio.CancelledError:
        return "ack"
    raise AssertionError("never cut off")


def test_a_call_cut_off_by_the_timeout_is_a_failure_whatever_it_makes_of_it() -> None:
    async def scenario() -> None:
        road = Road()
        with pytest.raises(ConnectionResetError):
            await road.breaker.call(turn_cancellation_into_an_error, lambda error: Outcome.SUCCESS)
        assert await road.breaker.call(turn_cancellation_into_an_answer) == "ack"
        assert (road.breaker.snapshot()["outcomes"], road.breaker.snapshot()["failures"]) == (2, 2)

    run(scenario)


def test_a_loop_whose_timer_is_a_hair_faster_than_the_clock_handed_in_agrees_that_it_failed() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        breaker = Breaker("https", lambda: loop.time() * (1 - 2**-40))
        with pytest.raises(ConnectionResetError):
            await breaker.call(turn_cancellation_into_an_error, lambda error: Outcome.SUCCESS)
        assert await breaker.call(turn_cancellation_into_an_answer) == "ack"
        assert breaker.snapshot()["failures"] == 2

    run(scenario)


def test_a_task_that_was_cancelled_at_the_timeout_stays_cancelled() -> None:
    async def scenario() -> None:
        road = Road()
        task = asyncio.ensure_future(road.breaker.call(road.hang))
        asyncio.get_running_loop().call_at(TIMEOUT_S, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert road.breaker.snapshot()["failures"] == 1

    run(scenario)


def test_progress_reported_by_a_writer_that_outlives_its_call_is_ignored() -> None:
    async def scenario() -> None:
        road = Road()
        leaked: list[Ticket] = []

        async def leak(ticket: Ticket) -> str:
            leaked.append(ticket)
            return "ack"

        await road.breaker.call(leak)
        deadline_s = leaked[0].deadline_s
        await asyncio.sleep(1.0)
        leaked[0].progress()
        assert leaked[0].deadline_s == deadline_s

    run(scenario)


def test_a_classifier_that_breaks_costs_its_trial_33_s_and_not_for_ever() -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()

        def confused(error: BaseException) -> Outcome:
            raise KeyError("no such status")

        with pytest.raises(KeyError):
            await road.breaker.call(road.refuse, confused)
        await asyncio.sleep(TIMEOUT_S + OPEN_S)
        assert await road.breaker.call(road.answer) == "ack"
        assert road.state == "closed"

    run(scenario)


def test_a_call_dropped_in_the_middle_frees_its_trial() -> None:
    async def scenario() -> None:
        road = Road()
        await road.half_open()
        call = road.breaker.call(road.hang)
        call.send(None)
        call.close()
        assert road.breaker.retry_after_s == 0.0

    run(scenario)


def test_an_outage_of_an_hour_costs_few_attempts_and_recovery_is_noticed_within_the_rest() -> None:
    async def scenario() -> None:
        road = Road()
        back_s = 3600.0

        async def carry(ticket: Ticket) -> str:
            return await (road.answer(ticket) if road.now_s() >= back_s else road.hang(ticket))

        while road.now_s() < back_s or road.state != "closed":
            try:
                await road.breaker.call(carry)
            except NoProgressError:
                pass
            except BreakerOpen as error:
                await asyncio.sleep(error.retry_after_s)
        assert back_s <= road.now_s() <= back_s + TIMEOUT_S + OPEN_S
        assert road.started <= OUTCOMES_MIN + 3600 / 33 + 1

    run(scenario)
