"""What pybreaker does and does not do, as far as `protocol.breaker` leans on it or works around it.

A test that fails here after an upgrade says which sentence of `protocol/breaker.py` to read again.
"""

from __future__ import annotations

import ast
import asyncio
import datetime
import threading
from pathlib import Path

import pybreaker
import pytest
import time_machine

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("edge", "cloud", "firmware_sim", "protocol", "deploy")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class BrokenError(Exception):
    """What the guarded work raises."""


def broken() -> None:
    raise BrokenError


def fail(circuit: pybreaker.CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises((BrokenError, pybreaker.CircuitBreakerError)):
            circuit.call(broken)


# Worked around: why pybreaker is never given the guarded work, and why it has another storage.


def test_it_counts_only_failures_in_a_row_so_80_percent_failing_stays_closed() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=5)
    for _ in range(1000):
        fail(circuit, 4)
        circuit.call(int)
    assert circuit.current_state == "closed"


async def test_it_takes_the_creation_of_a_coroutine_for_a_success() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=5)

    async def broken_later() -> None:
        raise BrokenError

    for _ in range(100):
        with pytest.raises(BrokenError):
            await circuit.call(broken_later)
    assert (circuit.current_state, circuit.fail_counter) == ("closed", 0)


@pytest.mark.skipif(pybreaker.HAS_TORNADO_SUPPORT, reason="tornado is installed, which we never do")
def test_its_own_async_call_needs_tornado() -> None:
    with pytest.raises(NameError, match="gen"):
        pybreaker.CircuitBreaker().call_async(broken)  # type: ignore[no-untyped-call]


async def test_half_open_it_admits_every_caller_of_a_coroutine() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0)
    fail(circuit)
    gate = asyncio.Event()
    running = 0

    async def trial() -> None:
        nonlocal running
        running += 1
        await gate.wait()

    trials = [asyncio.ensure_future(circuit.call(trial)) for _ in range(100)]
    await asyncio.sleep(0)
    assert running == 100
    gate.set()
    await asyncio.gather(*trials)


def test_it_takes_cancellation_for_a_failure_and_swallows_it_when_it_trips() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=1)

    def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(pybreaker.CircuitBreakerError):
        circuit.call(cancelled)
    assert circuit.current_state == "open"


def test_an_excluded_cancellation_counts_as_success_and_closes_a_half_open_one() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=1, exclude=[asyncio.CancelledError])

    def cancelled() -> None:
        raise asyncio.CancelledError

    circuit.half_open()
    with pytest.raises(asyncio.CancelledError):
        circuit.call(cancelled)
    assert circuit.current_state == "closed"


def test_it_rests_by_the_wall_clock_so_a_step_back_keeps_it_open() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=30)
    with time_machine.travel(START, tick=False) as wall:
        fail(circuit)
        wall.shift(datetime.timedelta(days=-365))
        wall.shift(datetime.timedelta(days=364))
        with pytest.raises(pybreaker.CircuitBreakerError):
            circuit.call(int)


def test_it_rests_by_the_wall_clock_so_a_step_forward_ends_the_rest_at_once() -> None:
    circuit = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=30)
    with time_machine.travel(START, tick=False) as wall:
        fail(circuit)
        wall.shift(datetime.timedelta(days=365))
        circuit.call(int)
    assert circuit.current_state == "closed"


def test_it_holds_its_lock_for_the_whole_call_so_only_finished_outcomes_are_replayed() -> None:
    circuit = pybreaker.CircuitBreaker()
    free: list[bool] = []

    def look_from_another_thread() -> None:
        free.append(circuit._lock.acquire(blocking=False))

    def work() -> None:
        other = threading.Thread(target=look_from_another_thread)
        other.start()
        other.join()

    circuit.call(work)
    assert free == [False]


# Leant on: what the storage and the listener of `protocol.breaker` take for granted.


def test_its_states_have_the_names_that_ours_have() -> None:
    states = (pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN)
    assert states == ("closed", "open", "half-open")


class Notes(pybreaker.CircuitMemoryStorage):
    """A storage that notes the order in which pybreaker uses it."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self.notes = notes

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self.notes.append(f"storage {state}")
        self._state = state

    def increment_counter(self) -> None:
        self.notes.append("increment")
        super().increment_counter()

    def reset_counter(self) -> None:
        self.notes.append("reset")
        super().reset_counter()

    @property
    def counter(self) -> int:
        self.notes.append("counter")
        return self._fail_counter


class Ears(pybreaker.CircuitBreakerListener):
    """A listener that notes what it hears, and what the storage says at that moment."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        assert old_state is not None
        self.notes.append(f"heard {old_state.name} to {new_state.name}, stored {cb.current_state}")


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def circuit(notes: list[str]) -> pybreaker.CircuitBreaker:
    made = pybreaker.CircuitBreaker(
        fail_max=1, throw_new_error_on_trip=False, state_storage=Notes(notes), listeners=[Ears(notes)]
    )
    assert notes == []  # construction neither resets a storage nor tells a listener
    return made


def test_a_failure_is_stored_before_the_counter_is_compared_and_listeners_hear_before_the_storage(
    circuit: pybreaker.CircuitBreaker, notes: list[str]
) -> None:
    fail(circuit)
    assert notes == ["increment", "counter", "heard closed to open, stored closed", "storage open"]


def test_a_success_resets_the_counter_and_never_compares_it(
    circuit: pybreaker.CircuitBreaker, notes: list[str]
) -> None:
    circuit.call(int)
    assert notes == ["reset"]


def test_half_open_can_be_entered_by_hand_without_asking_the_wall_clock(
    circuit: pybreaker.CircuitBreaker, notes: list[str]
) -> None:
    fail(circuit)
    notes.clear()
    with time_machine.travel(START - datetime.timedelta(days=3650), tick=False):
        circuit.half_open()
    assert notes == ["heard open to half-open, stored open", "storage half-open"]


def test_a_successful_trial_closes_after_the_replayed_call_and_the_storage_comes_last(
    circuit: pybreaker.CircuitBreaker, notes: list[str]
) -> None:
    circuit.half_open()
    notes.clear()
    circuit.call(notes.append, "replayed")
    assert notes == [
        "replayed",
        "reset",
        "reset",
        "heard half-open to closed, stored half-open",
        "storage closed",
    ]


def test_a_failed_trial_opens_without_comparing_the_counter(
    circuit: pybreaker.CircuitBreaker, notes: list[str]
) -> None:
    circuit.half_open()
    notes.clear()
    fail(circuit)
    assert notes == ["increment", "heard half-open to open, stored half-open", "storage open"]


def test_the_error_of_the_call_comes_out_as_it_is_when_told_so(circuit: pybreaker.CircuitBreaker) -> None:
    with pytest.raises(BrokenError):
        circuit.call(broken)
    assert circuit.current_state == "open"


def test_by_default_tripping_replaces_the_error_of_the_call() -> None:
    with pytest.raises(pybreaker.CircuitBreakerError):
        pybreaker.CircuitBreaker(fail_max=1).call(broken)


def test_a_falsy_storage_is_replaced_so_ours_must_stay_truthy() -> None:
    class Empty(pybreaker.CircuitMemoryStorage):
        def __len__(self) -> int:
            return 0

    storage = Empty(pybreaker.STATE_CLOSED)
    assert pybreaker.CircuitBreaker(state_storage=storage)._state_storage is not storage


def imports(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_one_file_alone_imports_it() -> None:
    files = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    users = [path for path in files if "pybreaker" in imports(path.read_text(encoding="utf-8"))]
    assert users == [REPOSITORY / "protocol" / "breaker.py"]


def test_the_breaker_itself_reads_no_clock_and_logs_nothing() -> None:
    source = (REPOSITORY / "protocol" / "breaker.py").read_text(encoding="utf-8")
    assert imports(source).isdisjoint({"time", "datetime", "logging", "threading", "random"})
