"""The comparison of the model store with Postgres sees what either of them does wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cloud.ingest import store
from tests.proof.histories.equivalence import EQUIVALENCE, database_and_keys, live
from tests.proof.histories.world import Difference, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cloud.kit.keyring import Keyring
    from tests.proof.histories.databases import Database

WORLDS = 4

Lived = tuple["Database", "Keyring"]


@pytest.fixture(scope="module")
def lived() -> Iterator[Lived]:
    with database_and_keys() as both:
        yield both


def findings(lived: Lived, worlds: int = WORLDS) -> str:
    """What the first world of some that differs says."""
    for number in range(worlds):
        for violation in live(f"3.{number}", *lived).violations:
            return violation.what
    return ""


def test_two_honest_stores_are_the_same_and_much_happens_in_both(lived: Lived) -> None:
    figures: dict[str, float] = {}
    for number in range(WORLDS):
        part = live(f"3.{number}", *lived)
        assert [each.what for each in part.violations] == []
        for name, value in part.figures.items():
            figures[name] = figures.get(name, 0) + float(value)
    assert [name for name, value in figures.items() if value == 0] == []


def test_a_seed_makes_the_same_world_again(lived: Lived) -> None:
    assert live("3.1", *lived) == live("3.1", *lived)


def changed(name: str, old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A query of ingest that says something else."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        queries: Mapping[str, Any] = store.QUERIES
        text = queries[name]
        assert old.encode() in text
        monkeypatch.setattr(store, "QUERIES", {**queries, name: text.replace(old.encode(), new.encode())})
        if name == "credit":
            monkeypatch.setattr(store, "_CREDIT", store._CREDIT.replace(old.encode(), new.encode()))

    return change


SABOTAGES = {
    "a balance credited twice": changed(
        "credit", "accounts.balance + excluded", "accounts.balance + 2 * excluded"
    ),
    "a pending award that is spendable": changed("credit", "points > 0 AND NOT pending", "points > 0"),
    "a revoked card that is still good": changed("credit", "c.revoked_at IS NOT NULL", "false"),
    "a claimed code that is forgotten": changed("credit", "ON z.id = l.claimed_by", "ON false"),
    "a void that takes nothing back": changed("void_weighings", "w.voided_by IS NULL", "false"),
    "a fork that stays open": changed("move_cursors", "WHEN m.closed", "WHEN false"),
    "a cursor that stays behind": changed("move_cursors", "through = m.through", "through = c.through"),
    "a gap that stays open": changed("close_gap", "first = %s", "first = -%s"),
    "a known digest that is not read": changed(
        "read_known", "JOIN records", "JOIN (SELECT * FROM records LIMIT 0) r"
    ),
    "a record kept under no reason": changed(
        "hold", "%s, %s, %s, %s, %s, %s", "%s, %s, %s, %s, '', %s || ''"
    ),
    "an alarm that never ends": changed("resolve_gap_alarms", "a.code = 'epoch.gap'", "false"),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_what_one_of_them_does_wrong_is_seen(
    lived: Lived, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    SABOTAGES[name](monkeypatch)
    assert findings(lived) != ""


def test_a_debt_that_nobody_settles_is_seen(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(store, "settle", nothing)
    assert findings(lived) != ""


def test_the_ledgers_own_books_are_looked_at_even_where_both_agree(lived: Lived) -> None:
    database, keyring = lived

    async def cheat() -> None:
        world = World("3.0", database, keyring)
        try:
            for _ in range(10):
                await world.round()
            account, row = next(each for each in world.model.tables.accounts.items() if each[1].balance)
            world.model.tables.accounts[account] = row._replace(balance=row.balance + 1)
            world.admin.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (account,))
            with pytest.raises(Difference, match="does not add up"):
                await world.verify()
        finally:
            await world.close()

    asyncio.run(cheat())


def test_the_row_counts_what_it_ran() -> None:
    (first, second) = EQUIVALENCE.split(1000, 3)
    heard: list[int] = []
    part = EQUIVALENCE.run(first, heard.append)
    assert (part.count, len(heard)) == (sum(heard), 1)
    assert part.count >= first.count == second.count == 500
