"""The decision by itself, without a database: pure, and once per record over any delivery."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ingest.decide import decide, needed_digests
from cloud.ingest.effects import Effects
from cloud.ingest.opening import Key, Refusal, open_frame, take_apart
from cloud.ingest.project import id_of
from cloud.ingest.views import CatalogView, GatewayView, Opened, RateHistory, View
from protocol.acks import Verdict
from protocol.delivery import Cursor
from protocol.records import record_id
from tests.cloud.ingest.gateway import RATES, WALL_MS, Gateway

CATALOG = b"c" * 32
VISITS = 6


def journal() -> Gateway:
    gateway = Gateway("ktm-drop-01", CATALOG)
    for number in range(VISITS):
        gateway.visit(100 + number)
    return gateway


GATEWAY = journal()


def opened(first: int, last: int) -> Opened:
    envelope = take_apart(GATEWAY.frame(first, last))
    assert not isinstance(envelope, Refusal)
    key = Key(GATEWAY.id, GATEWAY.key.public)
    frame = open_frame(envelope, {GATEWAY.key.key_id: key}.get, None)
    assert isinstance(frame, Opened)
    return frame


def view(cursors: dict[tuple[str, int], Cursor], frames: list[Opened]) -> View:
    """What a database that committed everything decided so far would answer."""
    known = {place: GATEWAY.digest_at(place[2]) for place in needed_digests(frames, cursors)}
    gateways = {GATEWAY.id: GatewayView(GATEWAY.id, UUID(int=9), False)}
    return View(WALL_MS, cursors, gateways, {CATALOG: CatalogView(RATES, None)}, {}, known)


spans = st.tuples(st.integers(1, VISITS * 3), st.integers(0, 7))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(spans, min_size=1, max_size=4), max_size=12))
def test_over_any_delivery_every_record_has_its_effects_once_and_in_order(
    batches: list[list[tuple[int, int]]],
) -> None:
    cursors: dict[tuple[str, int], Cursor] = {}
    total: list[Effects] = []
    for batch in [*batches, [(1, GATEWAY.head)]]:  # at last the whole journal arrives
        frames = [opened(first, min(first + more, GATEWAY.head)) for first, more in batch]
        effects = decide(frames, view(dict(cursors), frames))
        assert decide(frames, view(dict(cursors), frames)) == effects, "the same again: it is pure"
        assert Verdict.FORKED not in {answer.verdict for answer in effects.answers}
        cursors.update(effects.cursors)
        total.append(effects)
    records = [row[2] for effects in total for row in effects.records]
    assert records == list(range(1, GATEWAY.head + 1))
    weighed = [row for effects in total for row in effects.weighings]
    assert [row[3] for row in weighed] == list(range(2, GATEWAY.head, 3))
    closed = sum(each.closed_us is not None for effects in total for each in effects.deposits)
    assert closed + sum(len(effects.closings) for effects in total) == VISITS


@given(st.binary(min_size=32, max_size=32))
def test_ids_are_those_of_the_protocol(digest: bytes) -> None:
    assert id_of(digest) == record_id(digest).bytes


def test_a_rate_is_the_one_valid_at_the_time() -> None:
    history = RateHistory([1_000, 2_000], [5, 7])
    assert [history.at(wall_ms) for wall_ms in (0, 1_000, 1_999, 2_000, 9_000)] == [5, 5, 5, 7, 7]
    assert RateHistory([], []).at(5) is None
