"""Whatever order things happen in: what is not acknowledged is in the journal exactly once, in its order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.bodies import RecordCarried
from protocol.records import next_digest
from tests.edge.journal.site import NOW_MS, Site, chain_holds, crash, weighing


class AnyOrder(RuleBasedStateMachine):
    """The model is a list of digests as they were told, and how many of them the cloud has."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.site = Site(self.folder / "journal")
        self.journal = self.site.open()
        self.order: list[bytes] = []  # what the current epoch holds, by original digest
        self.told: set[bytes] = set()
        self.days = 0

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        digests = [entry.digest for entry in self.journal.append(*[weighing()] * count)]
        self.order += digests
        self.told |= set(digests)

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        self.journal.acknowledge(int(len(self.order) * share), NOW_MS + self.days * 86_400_000)

    @rule(days=st.integers(0, 40))
    def time_passes(self, days: int) -> None:
        self.days += days

    @rule()
    def prune(self) -> None:
        self.journal.prune()

    @rule()
    def new_epoch(self) -> None:
        self.order = self.order[max(self.journal.acked, self.journal.first_kept - 1) :]
        self.journal.new_epoch("forked")

    @rule(cleanly=st.booleans())
    def restart(self, cleanly: bool) -> None:
        self.journal.close() if cleanly else crash(self.journal)
        self.journal = self.site.open()
        assert self.journal.birth.reason == "continued"

    @precondition(lambda self: self.order)
    @rule(share=st.floats(0, 1))
    def damage(self, share: float) -> None:
        """One record is hit: it is gone, unless the cloud has it, and no other is."""
        kept = self.journal.first_kept - 1
        hit = min(kept + int(share * (len(self.order) - kept)), len(self.order) - 1)
        writer = self.journal._store._writer
        assert writer is not None
        writer.execute("UPDATE records SET data = zeroblob(5) WHERE seq = ?", (hit + 1,))
        acked = max(self.journal.acked, kept)
        rest = set(self.order[acked:]) - {self.order[hit]}
        if self.journal.repair().reason == "damaged":
            # An older file may still have the one that was hit, and some that the cloud has: all welcome.
            found = self._held()
            assert rest <= set(found) <= self.told
            assert len(set(found)) == len(found)
            self.order = found
        else:
            assert hit < acked
            self.new_epoch()  # a row that the cloud has was hit: of no consequence, but not to be looked at

    def _held(self) -> list[bytes]:
        """Digests of the records themselves, of carried ones that of the record inside."""
        found = []
        for entry in self.journal.entries():
            body = entry.record.body
            if isinstance(body, RecordCarried):
                found.append(next_digest(body.prev_digest, body.data))
            else:
                found.append(entry.digest)
        return found

    @invariant()
    def everything_is_there(self) -> None:
        kept = self.journal.first_kept - 1
        found = self._held()
        assert found == self.order[kept:]
        assert self.journal.head == len(self.order)
        assert kept <= max(self.journal.acked, kept)
        if kept == 0:
            assert chain_holds(self.journal)

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
