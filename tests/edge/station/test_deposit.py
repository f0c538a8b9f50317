"""The deposit as a conversation: what happens, what it wants journalled, where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from edge.station import deposit
from edge.station.arming import Plate, Rules
from edge.station.deposit import WEIGHINGS_MAX, Phase
from edge.station.events import (
    Cancel,
    CardShown,
    Choose,
    Confirm,
    Done,
    EpochChanged,
    Finish,
    Holder,
    ManualEntered,
    Observed,
    Offer,
    Person,
    PresetTarePressed,
    TarePressed,
    TimedOut,
    Void,
)
from edge.station.screen import Message, Tile
from protocol import bodies
from protocol.bodies import HolderKind, Outcome, TareKind
from protocol.cards import Role
from tests.edge.station.bench import ZERO, moving, stable, unwell
from tests.edge.station.talk import Talk

RULES = Rules("mt-sics:B123", division_g=5, gross_max_g=60_000, net_min_g=20)
ASHA = Holder(HolderKind.CARD, b"asha....\x01", alias="Asha")
PET = Offer(Tile("pet", "PET", "पेट", "pet", 50), b"c" * 32)
PAPER_LATE = Offer(Tile("paper", "Paper", "कागज", "paper", None), b"c" * 32)
STEWARD = Person(b"chet....\x01", b"chet....", Role.STEWARD, "Chet")


def visit(offer: Offer | None = PET) -> Talk[deposit.Deposit]:
    """A visit that has come to the scale, whose plate is empty and armed."""
    step: Any = deposit.step
    talk = Talk(deposit.begin(RULES, Plate(armed=True), ASHA), step)
    assert talk.wants == (bodies.DepositOpened(HolderKind.CARD, ASHA.key),)
    assert talk.commits().phase is Phase.CHOOSE
    if offer:
        assert talk.says(Choose(offer)) == ()
        assert talk.state.phase is Phase.WEIGH
    return talk


def saved(*masses_g: int) -> Talk[deposit.Deposit]:
    """A visit in which these loads were weighed one after the other, each from an empty plate."""
    talk = visit(None)
    for mass_g in masses_g:
        talk.says(Observed(ZERO))
        talk.says(Choose(PET))
        talk.says(Confirm(stable(mass_g)))
        talk.commits()
    return talk


def test_nothing_is_chosen_before_the_visit_is_in_the_journal() -> None:
    step: Any = deposit.step
    talk = Talk(deposit.begin(RULES, Plate(), ASHA), step)
    assert talk.says(Choose(PET)) == ()
    assert talk.state.phase is Phase.OPENING
    assert talk.fails().phase is Phase.ENDED
    assert talk.state.message is Message.NOT_SAVED


def test_a_confirmed_load_is_recorded_with_its_evidence_and_shown_only_once_committed() -> None:
    talk = visit()
    (body,) = talk.says(Confirm(stable(1240)))
    assert body == bodies.WeighingRecorded(
        HolderKind.CARD, ASHA.key, "pet", 50, b"c" * 32, "mt-sics:B123", "kg", 5,
        bodies.Stability.FLAG, TareKind.NONE, 0, 1, b"stable 1240", 1240, 1240, 62,
    )  # fmt: skip
    assert (talk.state.phase, talk.state.saved) == (Phase.WEIGH, ())
    state = talk.commits()
    assert (state.phase, state.net_g, state.points) == (Phase.SAVED, 1240, 62)


def test_presses_while_a_commit_runs_do_nothing_and_a_second_confirm_least_of_all() -> None:
    talk = visit()
    talk.says(Confirm(stable(1240)))
    before = talk.state
    for press in (Confirm(stable(1240)), Confirm(stable(900)), Cancel(), Finish(), Void(), TimedOut()):
        assert talk.says(press) == ()
        assert talk.state == before
    assert talk.commits().net_g == 1240


def test_a_commit_that_failed_counts_nothing_and_the_person_can_confirm_again() -> None:
    talk = visit()
    first = talk.says(Confirm(stable(1240)))
    state = talk.fails()
    assert (state.phase, state.saved, state.message) == (Phase.WEIGH, (), Message.NOT_SAVED)
    assert talk.says(Confirm(stable(1240))) == first
    assert talk.commits().net_g == 1240


def test_motion_is_refused_with_a_word_that_the_next_press_clears() -> None:
    talk = visit()
    assert talk.says(Confirm(moving(1240))) == ()
    assert talk.state.message is Message.NOT_STABLE
    assert talk.says(PresetTarePressed(500)) == ()
    assert talk.state.message is None


def test_a_weighed_container_is_journalled_and_taken_off() -> None:
    talk = visit()
    assert talk.says(TarePressed(stable(300))) == (bodies.ScaleTared("mt-sics:B123", 300),)
    talk.commits()
    (body,) = talk.says(Confirm(stable(1300)))
    assert isinstance(body, bodies.WeighingRecorded)
    assert (body.gross_g, body.tare_g, body.net_g, body.tare_kind) == (1300, 300, 1000, TareKind.WEIGHED)


def test_a_tare_that_was_not_journalled_is_not_used() -> None:
    talk = visit()
    talk.says(TarePressed(stable(300)))
    assert talk.fails().plate == Plate(armed=True)
    assert talk.state.message is Message.NOT_SAVED


def test_a_second_bag_on_top_counts_alone_after_a_tare_and_not_at_all_without() -> None:
    talk = saved(1000)
    talk.says(Choose(PET))
    assert talk.says(Confirm(stable(2500))) == ()
    assert talk.state.message is Message.NOT_ARMED
    talk.says(TarePressed(stable(1000)))
    talk.commits()
    talk.says(Confirm(stable(2500)))
    assert [one.line.net_g for one in talk.commits().saved] == [1000, 1500]


def test_the_last_weighing_is_voided_and_its_load_can_be_weighed_again() -> None:
    talk = saved(1000, 700)
    assert talk.says(Void()) == (bodies.WeighingVoided(1, 3, "person"),)
    state = talk.commits()
    assert (state.phase, state.net_g, state.message) == (Phase.CHOOSE, 1000, Message.VOIDED)
    talk.says(Choose(PET))
    assert talk.says(Confirm(stable(700)))
    assert talk.commits().net_g == 1700


def test_a_void_that_was_not_journalled_takes_nothing_back() -> None:
    talk = saved(1000)
    talk.says(Void())
    assert talk.fails().net_g == 1000


def test_finish_closes_with_the_sums_and_gives_a_receipt() -> None:
    talk = saved(1000, 700)
    assert talk.says(Finish()) == (bodies.DepositClosed(1, Outcome.COMPLETED, 2, 1700, 85),)
    assert talk.commits().phase is Phase.RECEIPT
    talk.says(Done())
    assert talk.state.phase is Phase.ENDED


@pytest.mark.parametrize(
    ("event", "outcome", "phase", "message"),
    [
        (Cancel(), Outcome.CANCELLED, Phase.RECEIPT, Message.CANCELLED),
        (TimedOut(), Outcome.TIMEOUT, Phase.ENDED, Message.TIMED_OUT),
    ],
)
def test_leaving_never_takes_back_what_was_saved(
    event: object, outcome: Outcome, phase: Phase, message: Message
) -> None:
    talk = saved(1000)
    assert talk.says(event) == (bodies.DepositClosed(1, outcome, 1, 1000, 50),)
    state = talk.commits()
    assert (state.phase, state.message, state.net_g) == (phase, message, 1000)


def test_a_visit_without_weighings_can_only_be_cancelled() -> None:
    talk = visit()
    assert talk.says(Finish()) == ()
    assert talk.says(Void()) == ()
    assert talk.says(Cancel()) == (bodies.DepositClosed(1, Outcome.CANCELLED, 0, 0, 0),)
    assert talk.commits().phase is Phase.ENDED


def test_a_closing_that_failed_can_be_tried_again() -> None:
    talk = saved(1000)
    first = talk.says(Finish())
    assert talk.fails().phase is Phase.SAVED
    assert talk.says(Finish()) == first


def test_without_a_fresh_rate_the_weight_is_recorded_and_points_follow() -> None:
    talk = visit(PAPER_LATE)
    (body,) = talk.says(Confirm(stable(1240)))
    assert isinstance(body, bodies.WeighingRecorded)
    assert (body.points_per_kg, body.points, body.catalog) == (None, None, b"c" * 32)
    assert talk.commits().saved[0].line.points is None


def test_a_visit_has_a_most_number_of_weighings() -> None:
    talk = saved(*([100] * WEIGHINGS_MAX))
    talk.says(Choose(PET))
    assert (talk.state.phase, talk.state.message) == (Phase.SAVED, Message.VISIT_FULL)


def test_a_new_epoch_ends_the_visit_with_the_receipt_of_what_is_saved() -> None:
    talk = saved(1000)
    assert talk.says(EpochChanged()) == ()
    assert (talk.state.phase, talk.state.message) == (Phase.RECEIPT, Message.INTERRUPTED)


def test_a_mass_is_typed_in_only_with_a_stewards_card_and_only_if_the_scale_is_unwell() -> None:
    talk = visit()
    assert talk.says(ManualEntered(unwell("fault", 0), 700)) == ()
    assert talk.state.message is Message.MANUAL_NOT_ALLOWED
    talk.says(CardShown(STEWARD))
    assert talk.says(ManualEntered(stable(700), 700)) == ()
    (body,) = talk.says(ManualEntered(unwell("fault", 0), 700))
    assert body == bodies.ManualEntered(
        HolderKind.CARD, ASHA.key, "pet", 50, b"c" * 32, 1, STEWARD.serial, "scale.fault", 700, 35
    )
    assert talk.commits().net_g == 700
    assert talk.state.steward is None


def test_nobody_allows_themselves_a_mass_typed_in() -> None:
    talk = visit()
    talk.says(CardShown(Person(ASHA.key[:8] + b"\x02", ASHA.key[:8], Role.STEWARD, "Asha")))
    talk.says(CardShown(Person(b"dina....\x01", b"dina....", Role.CITIZEN, "Dina")))
    assert talk.state.message is Message.CARD_NOT_ALLOWED
    assert talk.state.steward is None
