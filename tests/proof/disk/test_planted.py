"""The rows can fail: each safeguard of the journal, taken away, is missed by one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from edge.journal import database, opening
from edge.journal.journal import Journal
from edge.journal.salvage import Salvage
from edge.journal.store import Row, Store
from tests.proof.disk.crashes import Explorer, scratch
from tests.proof.disk.disk import Disk
from tests.proof.disk.faults import operations, run_one, singles
from tests.proof.disk.flips import Hit, sample, strike


def crashes(path: str, share: int = 250) -> list[str]:
    """What is broken in crash states of this sequence."""
    with scratch() as folder:
        explorer = Explorer(folder, "7", random.Random(7))
        explorer.explore(path, share)
        assert explorer.count > 20
        return [violation.what for violation in explorer.violations]


def faults(sequence: str) -> list[str]:
    """What is broken if any one operation of this sequence fails."""
    with scratch() as folder:
        done = operations(folder / "work", "7", sequence)
        return [what for failures in singles(done) for what in run_one(folder, "7", sequence, failures)]


def whole(*_: object) -> None:
    """Nothing is done."""


@pytest.mark.parametrize("path", ["a", "x", "e", "d"])
def test_with_every_safeguard_in_place_nothing_is_found(path: str) -> None:
    assert crashes(path, 60) == []


def test_a_record_is_not_lost_when_the_log_that_tells_what_was_pruned_is_torn() -> None:
    assert crashes("vpd", 150) == []


def test_a_record_is_not_lost_when_a_torn_page_shows_its_digest_behind_other_data() -> None:
    assert crashes("BrG", 150) == []


@pytest.mark.parametrize("sequence", ["va", "ka"])
def test_with_every_safeguard_in_place_no_fault_is_fatal(sequence: str) -> None:
    assert faults(sequence) == []


def test_a_commit_that_is_not_synced_loses_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_FULL", 1)
    assert "lost" in crashes("a")[0]


def test_a_folder_that_is_not_synced_loses_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync_folder", whole)
    assert "lost" in crashes("e")[0]


def test_a_record_told_before_its_commit_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    insert, late = Store.insert, list[Sequence[Row]]()

    def tell_first(self: Store, rows: Sequence[Row]) -> None:
        if self.path.suffix == ".new":
            insert(self, rows)
            return
        if late:
            insert(self, late.pop())
        late.append(rows)
        self.head, _, self.head_digest = rows[-1]

    monkeypatch.setattr(Store, "insert", tell_first)
    assert crashes("a", 60)


def test_a_chain_that_is_not_checked_goes_on_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "check_tail", lambda connection, state: state.acked)
    assert any("chain" in what for what in crashes("rd"))


def test_a_salvage_that_skips_rows_loses_records(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Salvage.rows
    monkeypatch.setattr(Salvage, "rows", lambda *arguments: list(rows(*arguments))[:-1])
    assert "lost" in crashes("d")[0]
    with scratch() as folder:
        before = sample(folder / "work", "7", "agagagr")
        (name,) = (name for name in before.state if name.endswith(".journal"))
        outcome = strike(folder / "state", before, Hit(name, 100, 3))
        assert outcome.salvaged < outcome.intact


def test_what_a_killed_process_left_in_the_cache_is_lost_if_it_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Store, "settle", whole)
    assert "lost" in crashes("a")[0]


def test_a_transaction_that_was_given_up_comes_back_if_the_log_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Store, "_left_over", lambda *_: False)
    assert any("nobody saved" in what for what in faults("aa"))


def test_a_change_of_epoch_that_broke_off_loses_records_if_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Journal, "_certain", whole)
    assert any("lost" in what for what in faults("na"))


def test_damage_that_nobody_looks_for_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "wal_frames", lambda *_: [])
    monkeypatch.setattr(opening, "check_tail", lambda *_: None)
    with scratch() as folder:
        before = sample(folder / "work", "7", "agagag")
        (name,) = (name for name in before.state if name.endswith("-wal"))
        outcome = strike(folder / "state", before, Hit(name, len(before.state[name]) // 3, 3))
        assert any("lost" in what for what in outcome.broken)
