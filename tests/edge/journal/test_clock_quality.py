"""What a record says its clock is worth is true of the very time that it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from protocol.bodies import ScaleZeroed
from protocol.records import ClockQuality
from tests.edge.hand_clock import HandClock
from tests.edge.journal.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SYNCED, UNKNOWN = ClockQuality.SYNCED, ClockQuality.UNKNOWN


@dataclass
class Asked(HandClock):
    """Counts how often its quality was asked for, which costs system calls; `meanwhile` happens then."""

    times: int = 0
    meanwhile: Callable[[], None] = field(default=lambda: None)

    def quality(self) -> ClockQuality:
        self.times += 1
        self.meanwhile()
        return self.worth


@pytest.mark.parametrize("step_ms", [-10 * 365 * 86_400_000, -1_000, 1_000, 10 * 365 * 86_400_000])
def test_a_time_is_not_lost_to_a_record_that_calls_a_clock_set_just_now_synchronised(
    tmp_path: Path, step_ms: int
) -> None:
    clock = Asked()
    journal = Site(tmp_path, clock=clock).open()
    assert journal.append(ScaleZeroed("S"))[0].record.clock is SYNCED
    clock.wall += step_ms
    clock.worth = UNKNOWN
    assert journal.append(ScaleZeroed("S"))[0].record.clock is UNKNOWN
    journal.close()


def test_a_clock_set_between_the_look_and_the_question_is_not_called_synchronised(tmp_path: Path) -> None:
    clock = Asked()
    journal = Site(tmp_path, clock=clock).open()

    def set_right() -> None:
        clock.wall += 86_400_000

    clock.meanwhile = set_right
    assert journal.append(ScaleZeroed("S"))[0].record.clock is UNKNOWN
    clock.meanwhile = lambda: None
    assert journal.append(ScaleZeroed("S"))[0].record.clock is SYNCED
    journal.close()


def test_a_steady_clock_is_asked_once_a_second(tmp_path: Path) -> None:
    clock = Asked()
    journal = Site(tmp_path, clock=clock).open()
    clock.times = 0
    for _ in range(30):
        clock.mono += 100
        clock.wall += 100
        journal.append(ScaleZeroed("S"))
    assert clock.times == 3
    journal.close()
