"""The row: so many stories, each from a seed of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.proof.restore.stories import STORIES
from tests.proof.row import PROGRAMS, Keyed, Part, Row, Task, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.row import Tick


def _split(count: int, seed: int) -> Sequence[Task]:
    names = list(STORIES)
    keys = [f"{names[number % len(names)]}.{seed}.{number // len(names)}" for number in range(count)]
    return [Task(1, {"key": key}) for key in keys]


def _story(key: str, tick: Tick) -> Part:
    """One story, in a world of its own."""
    name = key.partition(".")[0]
    try:
        found = asyncio.run(STORIES[name](key))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
        found = [f"{type(error).__name__}: {error}"]
    tick(1)
    return Part(1, [Violation(key, what) for what in found], {name: 1})


RESTORE = Row(
    id="R21",
    name="cloud restored, card put back, card cloned, and all of it",
    unit="points",
    covers=(*PROGRAMS, "tests/proof/restore", "tests/system/intake.py"),
    shallow=4,
    deep=50,
    split=_split,
    run=Keyed(_story).run,
    replay=Keyed(_story).replay,
    at_once=2,
)
