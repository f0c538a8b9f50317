"""Row R19: whatever bytes arrive, a decoder answers with a value or its own error, in bounds."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
from typing import TYPE_CHECKING

from tests.proof.fuzz import http
from tests.proof.fuzz.inputs import hostile
from tests.proof.fuzz.targets import ENCODERS, TARGETS
from tests.proof.row import Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proof.row import Tick

HANG_CPU_S = 5.0
"""Of this process's own time: how busy the machine is does not matter."""
MEMORY_BYTES_MAX = 256 * 1024 * 1024
_SHARE = 20_000
_TICK = 500
_HTTP_PERCENT = 1


class Hang(BaseException):
    """The decoder did not come back."""


def _split(count: int, seed: int) -> Sequence[Task]:
    requests = max(200, count * _HTTP_PERCENT // 100)
    each = -(-(count - requests) // len(TARGETS))
    tasks = http.split(requests, seed)
    for name in TARGETS:
        for first in range(0, each, _SHARE):
            last = min(first + _SHARE, each)
            tasks.append(Task(last - first, {"target": name, "seed": seed, "first": first, "last": last}))
    return tasks


def _run(task: Task, tick: Tick) -> Part:
    work = task.work
    if work["target"] in http.SIDES:
        return http.run(task, tick)
    name, seed = work["target"], work["seed"]
    violations: list[Violation] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _watched():
        for number in range(work["first"], work["last"]):
            violations += _case(f"{name}.{seed}.{number}")
            if number % _TICK == _TICK - 1:
                tick(_TICK)
    tick((work["last"] - work["first"]) % _TICK)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MEMORY_BYTES_MAX:
        key = f"{name}.{seed}.{work['first']}"
        violations.append(Violation(key, f"{name} needed {grown:,} bytes more, from this case on"))
    return Part(task.count, violations, {"decoders": len(TARGETS) + len(http.SIDES)})


def input_of(key: str) -> bytes:
    """The bytes of a case."""
    name, _, _ = key.rsplit(".", 2)
    chance, target = random.Random(key), TARGETS[name]
    valid = target.valid
    if name.startswith("scale "):
        encoder = ENCODERS[name.removeprefix("scale ")]
        valid = b"".join(encoder.sample(chance)[0] for _ in range(chance.randrange(1, 5)))
    return hostile(chance, valid, cbor=target.cbor)


def _case(key: str) -> list[Violation]:
    target = TARGETS[key.rsplit(".", 2)[0]]
    data = input_of(key)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_CPU_S)
    try:
        target.decode(data)
    except target.errors as error:
        code = getattr(error, "code", "")
        if not (code and code.islower() and str(error)):
            return [Violation(key, f"{type(error).__name__} without a code or a word")]
    except Hang:
        return [Violation(key, f"not back after {HANG_CPU_S} s for {data[:64].hex()}")]
    except Exception as error:  # noqa: BLE001 - which one it was is the finding
        return [Violation(key, f"{type(error).__name__}: {error} for {data[:64].hex()}")]
    return []


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """SIGVTALRM ends a decoder that hangs."""

    def hang(_number: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, hang)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _replay(key: str) -> Part:
    if key.split(".", maxsplit=1)[0] in http.SIDES:
        return http.replay(key)
    with _watched():
        return Part(1, _case(key))


def _merge(parts: Sequence[object]) -> dict[str, int | float | str]:
    return {"decoders": len(TARGETS) + len(http.SIDES)}


FUZZ = Row(
    id="R19",
    name="hostile inputs to every decoder",
    unit="inputs",
    covers=(
        "protocol",
        "edge",
        "cloud",
        "deploy/gateway/edge.toml",
        "tests/proof/fuzz",
        "tests/edge/devices/encoders.py",
        "tests/edge/kiosk/gallery.py",
        "tests/edge/kiosk/scripted.py",
        "tests/protocol/samples.py",
    ),
    shallow=100_000,
    deep=10_000_000,
    split=_split,
    run=_run,
    replay=_replay,
    merge=_merge,
)
