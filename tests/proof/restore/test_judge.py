"""The judge of restores is no judge if it lets anything pass: each broken promise is planted and found."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.proof.restore.judge import Books, Credited, Parting, Reference
from tests.proof.restore.people import Person, Shown

GATEWAY, EPOCH = "ktm-drop-01", 7
ASHA = b"asha-pse\x01"
GUEST = b"g" * 16


def shown(number: int, device: str = "one", holder: bytes = ASHA) -> Shown:
    guest = holder == GUEST
    return Shown(UUID(int=number), device, GATEWAY, EPOCH, number, holder, guest, 1_000 * number, 10 * number)


def credited(one: Shown, *, pending: bool = False) -> Credited:
    return Credited(one.gateway, one.epoch, one.seq, one.holder, one.net_g, one.points, pending)


ALL = [shown(1), shown(2), shown(3, holder=GUEST), shown(4, "other")]


def reference() -> Reference:
    return Reference({one.id: one for one in ALL})


def books(pending: frozenset[int] = frozenset()) -> Books:
    """What a cloud says that has everything."""
    balances = {("citizen", ASHA[:8]): 0, ("holding", b"guest:" + GUEST): 30}
    balances["citizen", ASHA[:8]] = sum(one.points for one in ALL if not one.guest and one.seq not in pending)
    return Books(
        {one.id: credited(one, pending=one.seq in pending) for one in ALL},
        [(one.id, "pending" if one.seq in pending else "posted", one.points) for one in ALL],
        balances, {}, [], 0, frozenset(),
    )  # fmt: skip


def test_what_is_right_is_not_blamed() -> None:
    assert reference().judge(books()) == []


def lost(good: Books) -> Books:
    weighings = {one: row for one, row in good.weighings.items() if row.seq != 2}
    awards = [award for award in good.awards if award[0] != UUID(int=2)]
    return replace(
        good, weighings=weighings, awards=awards, balances={**good.balances, ("citizen", ASHA[:8]): 50}
    )


def doubled(good: Books) -> Books:
    return replace(good, awards=[*good.awards, (UUID(int=2), "posted", 20)])


def forged(good: Books) -> Books:
    return replace(good, weighings={**good.weighings, UUID(int=9): credited(shown(9))})


def repriced(good: Books) -> Books:
    row = replace(good.weighings[UUID(int=1)], points=11)
    return replace(good, weighings={**good.weighings, UUID(int=1): row})


def overpaid(good: Books) -> Books:
    return replace(good, balances={**good.balances, ("citizen", ASHA[:8]): 71})


def left_behind(good: Books) -> Books:
    return replace(good, held={UUID(int=5): "weighing.unknown_catalog"})


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lost, "lost"),
        (doubled, "awarded other than once"),
        (forged, "no kiosk showed it"),
        (repriced, "shown as"),
        (overpaid, "must have 70"),
        (left_behind, "left in quarantine"),
    ],
)
def test_what_is_wrong_is_found(spoil: object, found: str) -> None:
    assert callable(spoil)
    assert any(found in what for what in reference().judge(spoil(books())))


def test_two_sides_of_a_fork_may_not_both_be_spendable() -> None:
    judged = reference()
    judged.partings.append(Parting(GATEWAY, EPOCH, 1, ("one", "other")))
    assert any("both sides" in what for what in judged.judge(books()))
    assert judged.judge(books(frozenset({4}))) == []
    judged.partings[0] = Parting(GATEWAY, EPOCH, 4, ("one", "other"))
    assert judged.judge(books()) == []


def test_a_claimed_deposit_is_its_citizens() -> None:
    judged = reference()
    judged.claims[GUEST] = Person("", ASHA, "")
    assert any("holding" in what for what in judged.judge(books()))


def test_what_is_lost_with_every_card_and_backup_is_not_asked_for() -> None:
    judged = reference()
    judged.gone = {UUID(int=2)}
    assert judged.judge(lost(books())) == []
