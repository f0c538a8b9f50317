"""The pickup as a conversation: bins, their masses, and a hand-over that needs two people."""

from __future__ import annotations

from typing import Any

import pytest

from edge.station import pickup
from edge.station.arming import Plate, Rules
from edge.station.events import (
    BinSeen,
    Cancel,
    CardShown,
    Confirm,
    Done,
    EpochChanged,
    Estimate,
    HandOver,
    Observed,
    Person,
    TarePressed,
    TimedOut,
)
from edge.station.pickup import BINS_MAX, Phase
from edge.station.screen import BinLine, Message
from protocol import bodies
from protocol.bodies import Outcome
from protocol.cards import Role
from tests.edge.station.bench import ZERO, moving, stable
from tests.edge.station.talk import Talk

RULES = Rules("mt-sics:B123", division_g=5, gross_max_g=60_000, net_min_g=20)
BINA = Person(b"bina....\x01", b"bina....", Role.COLLECTOR, "Bina")
BINA_AGAIN = Person(b"bina....\x02", b"bina....", Role.COLLECTOR, "Bina")
CHET = Person(b"chet....\x01", b"chet....", Role.STEWARD, "Chet")
EKA = Person(b"eka.....\x01", b"eka.....", Role.COLLECTOR, "Eka")
ASHA = Person(b"asha....\x01", b"asha....", Role.CITIZEN, "Asha")


def begun() -> Talk[pickup.Pickup]:
    step: Any = pickup.step
    talk = Talk(pickup.begin(RULES, Plate(armed=True), BINA), step)
    assert talk.wants == (bodies.PickupOpened(BINA.serial),)
    assert talk.commits().phase is Phase.COLLECT
    return talk


def at_bin(code: str = "BIN-7") -> Talk[pickup.Pickup]:
    talk = begun()
    assert talk.says(BinSeen(code)) == (bodies.BinScanned(1, code),)
    assert (talk.commits().phase, talk.state.bin) == (Phase.BIN, code)
    return talk


def emptied() -> Talk[pickup.Pickup]:
    talk = at_bin()
    talk.says(Estimate(9000))
    talk.commits()
    return talk


def test_a_bin_is_weighed_and_emptied() -> None:
    talk = at_bin()
    (body,) = talk.says(Confirm(stable(8400)))
    assert isinstance(body, bodies.BinWeighed)
    assert (body.pickup, body.bin, body.gross_g, body.net_g, body.emptied) == (1, "BIN-7", 8400, 8400, True)
    assert talk.commits().bins == (BinLine("BIN-7", 8400, "weighed"),)
    assert talk.state.phase is Phase.COLLECT


def test_a_bins_own_mass_is_taken_off_as_tare() -> None:
    talk = at_bin()
    assert talk.says(TarePressed(stable(400))) == (bodies.ScaleTared("mt-sics:B123", 400),)
    talk.commits()
    (body,) = talk.says(Confirm(stable(8400)))
    assert isinstance(body, bodies.BinWeighed)
    assert (body.gross_g, body.tare_g, body.net_g) == (8400, 400, 8000)


def test_the_same_load_is_not_weighed_for_two_bins() -> None:
    talk = at_bin()
    talk.says(Confirm(stable(8400)))
    talk.commits()
    talk.says(BinSeen("BIN-8"))
    talk.commits()
    assert talk.says(Confirm(stable(8400))) == ()
    assert talk.state.message is Message.NOT_ARMED
    talk.says(Observed(ZERO))
    assert talk.says(Confirm(stable(700)))


def test_a_mass_that_cannot_be_weighed_is_marked_as_an_estimate() -> None:
    talk = at_bin()
    assert talk.says(Confirm(moving(8400))) == ()
    assert talk.says(Estimate(9000)) == (bodies.BinEstimated(1, "BIN-7", 9000),)
    assert talk.commits().bins == (BinLine("BIN-7", 9000, "estimated"),)


@pytest.mark.parametrize("net_g", [0, pickup.ESTIMATE_G_MAX + 1])
def test_an_estimate_out_of_range_is_refused(net_g: int) -> None:
    talk = at_bin()
    assert talk.says(Estimate(net_g)) == ()
    assert talk.state.message is Message.TOO_LIGHT


def test_a_bin_is_emptied_once_and_an_open_one_is_taken_up_again_without_a_second_record() -> None:
    talk = emptied()
    assert talk.says(BinSeen("BIN-7")) == ()
    assert talk.state.message is Message.BIN_TWICE
    talk.says(BinSeen("BIN-8"))
    talk.commits()
    talk.says(Cancel())
    assert talk.state.phase is Phase.COLLECT
    assert talk.says(BinSeen("BIN-8")) == ()
    assert (talk.state.phase, talk.state.bin) == (Phase.BIN, "BIN-8")


def test_custody_passes_to_a_steward_or_another_collector_in_one_commit_with_the_closing() -> None:
    for taker in (CHET, EKA):
        talk = emptied()
        talk.says(HandOver())
        assert talk.says(CardShown(taker)) == (
            bodies.CustodyHandedOver(1, BINA.serial, taker.serial, 9000),
            bodies.PickupClosed(1, Outcome.COMPLETED, 1, 9000),
        )
        assert talk.commits().phase is Phase.HANDED_OVER
        talk.says(Done())
        assert talk.state.phase is Phase.ENDED


@pytest.mark.parametrize(
    ("taker", "message"),
    [(BINA, Message.CARD_SAME), (BINA_AGAIN, Message.CARD_SAME), (ASHA, Message.CARD_NOT_ALLOWED)],
)
def test_nobody_hands_over_to_themselves_or_to_a_citizen(taker: Person, message: Message) -> None:
    talk = emptied()
    talk.says(HandOver())
    assert talk.says(CardShown(taker)) == ()
    assert (talk.state.phase, talk.state.message) == (Phase.HANDOVER, message)


def test_a_hand_over_that_was_not_journalled_can_be_tried_again() -> None:
    talk = emptied()
    talk.says(HandOver())
    first = talk.says(CardShown(CHET))
    assert talk.says(CardShown(CHET)) == ()
    assert (talk.fails().phase, talk.state.message) == (Phase.HANDOVER, Message.NOT_SAVED)
    assert talk.says(CardShown(CHET)) == first


def test_there_is_nothing_to_hand_over_before_a_bin_is_emptied() -> None:
    talk = begun()
    assert talk.says(HandOver()) == ()
    assert (talk.state.phase, talk.state.message) == (Phase.COLLECT, Message.BIN_FIRST)


def test_a_card_means_nothing_before_the_hand_over() -> None:
    talk = emptied()
    assert talk.says(CardShown(CHET)) == ()
    assert talk.state.phase is Phase.COLLECT


@pytest.mark.parametrize(("event", "outcome"), [(Cancel(), Outcome.CANCELLED), (TimedOut(), Outcome.TIMEOUT)])
def test_a_pickup_that_is_left_keeps_its_emptied_bins(event: object, outcome: Outcome) -> None:
    talk = emptied()
    assert talk.says(event) == (bodies.PickupClosed(1, outcome, 1, 9000),)
    assert talk.commits().phase is Phase.ENDED


def test_a_commit_that_failed_leaves_bin_and_plate_as_they_were() -> None:
    talk = at_bin()
    first = talk.says(Confirm(stable(8400)))
    assert talk.says(Confirm(stable(8400))) == ()
    state = talk.fails()
    assert (state.phase, state.bin, state.emptied) == (Phase.BIN, "BIN-7", ())
    assert talk.says(Confirm(stable(8400))) == first


def test_a_new_epoch_ends_the_pickup() -> None:
    talk = emptied()
    assert talk.says(EpochChanged()) == ()
    assert (talk.state.phase, talk.state.message) == (Phase.ENDED, Message.INTERRUPTED)


def test_a_pickup_has_a_most_number_of_bins() -> None:
    talk = begun()
    for number in range(BINS_MAX):
        talk.says(BinSeen(f"BIN-{number}"))
        talk.commits()
    assert talk.says(BinSeen("BIN-X")) == ()
    assert talk.state.message is Message.VISIT_FULL
