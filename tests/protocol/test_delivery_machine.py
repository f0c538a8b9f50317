"""Over a network that drops, repeats, reorders and restarts, every record is applied once, in order."""

from __future__ import annotations

import os
from unittest import TestCase

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.protocol.delivery_world import (
    CLOUD_RESTORED,
    EPOCH_ENDED,
    JOURNAL_COPIED,
    NETWORK,
    NETWORK_MAX,
    World,
    happen,
)

EXAMPLES_PERCENT = int(os.environ.get("RELOOP_DELIVERY_EXAMPLES_PERCENT", "100"))
STEPS = 25
CHOICES = range(NETWORK_MAX)


def steps(weights: dict[str, int]) -> st.SearchStrategy[tuple[str, int]]:
    """What happens, and to which: one draw, because drawing is what the examples cost."""
    return st.sampled_from(
        [(event, choice) for event, weight in weights.items() for _ in range(weight) for choice in CHOICES]
    )


class Delivery(RuleBasedStateMachine):
    """One rule, so that every run mixes every event; at the end the faults stop and all must arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def teardown(self) -> None:
        self.world.calm()
        self.world.check_order()
        self.world.check_complete()


class WhileTheCloudIsRestored(Delivery):
    """The network's faults, restarts, pruning, and a cloud that goes back to a backup."""

    @rule(step=steps(NETWORK | CLOUD_RESTORED))
    def happens(self, step: tuple[str, int]) -> None:
        happen(self.world, *step)


class WhileJournalsAreCopied(Delivery):
    """The network's faults, restarts, pruning, twins, and journals put back from an image."""

    @rule(step=steps(NETWORK | JOURNAL_COPIED))
    def happens(self, step: tuple[str, int]) -> None:
        happen(self.world, *step)


class WhileBothHappen(Delivery):
    """The cloud goes back, journals are copied and epochs end: all that any gateway still holds is applied.

    Out of order, where an older epoch was forgotten; and once each, which the world checks by itself.
    """

    @rule(step=steps(NETWORK | CLOUD_RESTORED | JOURNAL_COPIED | EPOCH_ENDED))
    def happens(self, step: tuple[str, int]) -> None:
        happen(self.world, *step)

    def teardown(self) -> None:
        self.world.calm(patient=True)
        for gateway in self.world.gateways:
            self.world.check_kept(gateway)


def configured(machine: type[Delivery], examples: int) -> type[TestCase]:
    case: type[TestCase] = machine.TestCase
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=examples * EXAMPLES_PERCENT // 100,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestWhileTheCloudIsRestored = configured(WhileTheCloudIsRestored, 5_000)
TestWhileJournalsAreCopied = configured(WhileJournalsAreCopied, 5_000)
TestWhileBothHappen = configured(WhileBothHappen, 2_500)


FOUND = {
    "a twin repeats its common prefix for ever": [
        *(("append", 2), ("send", 0), ("clone", 0), ("append", 0), ("deliver_frame", 0)),
        *(("deliver_ack", 0), ("append", 1), ("restart_gateway", 1)),
    ],
    "an idle gateway never hears that the cloud went back": [
        *(("append", 2), ("send", 0), ("deliver_frame", 0), ("deliver_ack", 0), ("restore_cloud", 0)),
    ],
    "a cloud that went back beyond what is kept": [
        *(("append", 3), ("send", 0), ("deliver_frame", 0), ("deliver_ack", 0), ("prune", 0)),
        *(("restore_cloud", 0), ("append", 0)),
    ],
    "everything kept was acknowledged by a cloud that is gone": [
        *(("append", 2), ("send", 0), ("deliver_frame", 0), ("deliver_ack", 0), ("prune", 0)),
        ("restore_cloud", 0),
    ],
    "an image from before the first ack": [
        *(("append", 4), ("save_image", 0), ("append", 4), ("send", 0), ("deliver_frame", 0)),
        *(("deliver_ack", 0), ("send", 0), ("deliver_frame", 0), ("restore_image", 0), ("append", 1)),
    ],
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(name: str) -> None:
    world = World()
    for event, choice in FOUND[name]:
        happen(world, event, choice)
    world.calm()
    world.check_order()
    world.check_complete()
