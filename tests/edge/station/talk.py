"""Conversations with a pure session: say an event, read what it wants appended and how it stands."""

from __future__ import annotations

import itertools
from typing import Generic, Protocol, TypeVar

from edge.station.events import Append, Committed, Effects, NotCommitted, Written
from protocol.bodies import Body

State = TypeVar("State")
Event_contra = TypeVar("Event_contra", contravariant=True)


class Step(Protocol[State, Event_contra]):
    """`deposit.step` or `pickup.step`."""

    def __call__(self, state: State, event: Event_contra, /) -> tuple[State, Effects]: ...


class Talk(Generic[State]):
    """A session under test. `wants` is what it asked for and has not got yet."""

    def __init__(self, begun: tuple[State, Effects], step: Step[State, object]) -> None:
        self.state, effects = begun
        self._step = step
        self._seq = itertools.count(1)
        self.wants: tuple[Body, ...] = _bodies(effects)

    def says(self, event: object) -> tuple[Body, ...]:
        """The event happens; returns what the session asks to append because of it."""
        self.state, effects = self._step(self.state, event)
        self.wants = self.wants or _bodies(effects)
        return _bodies(effects)

    def commits(self) -> State:
        """What it asked for is durable."""
        assert self.wants
        entries = tuple(Written(next(self._seq), f"id-{body.kind}", 1_000) for body in self.wants)
        self.wants = ()
        assert self.says(Committed(entries)) == ()
        return self.state

    def fails(self) -> State:
        """What it asked for is not in the journal."""
        assert self.wants
        self.wants = ()
        assert self.says(NotCommitted()) == ()
        return self.state


def _bodies(effects: tuple[Append, ...]) -> tuple[Body, ...]:
    assert len(effects) <= 1
    return effects[0].bodies if effects else ()
