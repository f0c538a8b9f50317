"""Notes of changes: prompt when rare, bounded when a plug is loose, and never wrong about the state now."""

from __future__ import annotations

from edge.station.watch import GAP_S_MAX, GAP_S_MIN, SUBJECTS_MAX, Watch
from protocol.bodies import Body, IntakeResumed, IntakeSuspended


def suspended() -> Body:
    return IntakeSuspended("disk.low")


def test_a_rare_change_is_due_at_once_and_once() -> None:
    watch = Watch()
    watch.assume("intake", "resumed")
    watch.see("intake", "suspended", suspended())
    due = watch.due(100.0)
    assert due == {"intake": suspended()}
    watch.written(due, 100.0)
    watch.see("intake", "suspended", suspended())
    assert watch.due(1000.0) == {}


def test_a_state_that_went_and_came_back_before_it_was_written_is_no_news() -> None:
    watch = Watch()
    watch.assume("intake", "resumed")
    watch.see("intake", "suspended", suspended())
    watch.see("intake", "resumed", IntakeResumed("ok"))
    assert watch.due(100.0) == {}


def test_what_changed_while_it_was_being_written_is_due_after_the_gap() -> None:
    watch = Watch()
    watch.see("intake", "suspended", suspended())
    due = watch.due(100.0)
    watch.see("intake", "resumed", IntakeResumed("ok"))
    watch.written(due, 100.0)
    assert watch.due(100.0 + GAP_S_MIN - 1) == {}
    assert watch.due(100.0 + GAP_S_MIN) == {"intake": IntakeResumed("ok")}


def test_what_could_not_be_written_stays_due() -> None:
    watch = Watch()
    watch.see("intake", "suspended", suspended())
    watch.postponed(watch.due(100.0), 100.0)
    assert watch.due(101.0) == {}
    assert watch.due(100.0 + GAP_S_MIN) == {"intake": suspended()}


def test_a_subject_that_keeps_changing_is_written_less_and_less_often() -> None:
    watch, written_s = Watch(), []
    for second in range(86_400):
        state = "on" if second % 2 else "off"
        watch.see("plug", state, IntakeSuspended(state))
        if due := watch.due(float(second)):
            watch.written(due, float(second))
            written_s.append(second)
    assert len(written_s) < 86_400 / GAP_S_MAX + 10


def test_the_number_of_subjects_is_bounded() -> None:
    watch = Watch()
    for number in range(2 * SUBJECTS_MAX):
        watch.see(f"device {number}", "attached", suspended())
    assert len(watch.due(0.0)) == SUBJECTS_MAX
