from __future__ import annotations

from collections import Counter

from edge.clock import SystemClock
from protocol.bodies import GatewayStarted
from protocol.records import decode_record
from tests.proof.processes.herd import HERD, busiest, figures_of, judge, spread_s
from tests.proof.processes.members import Experience, MemoryJournal


def lived(number: int, **changes: object) -> Experience:
    """A gateway that came back as it should."""
    at_s = 100.0 + number
    usual = Experience(f"herd-{number:06}", 2, 2, 100.0, float(number), [at_s], at_s + 0.1)
    for name, value in changes.items():
        setattr(usual, name, value)
    return usual


def herd(**changes: object) -> list[Experience]:
    return [lived(number, **(changes if number == 3 else {})) for number in range(40)]


def found(**changes: object) -> str:
    everybody = herd(**changes)
    delivered = Counter({each.gateway: 2 for each in everybody})
    return "; ".join(judge(everybody, delivered, 40.0, 40))


def test_a_herd_that_returns_in_good_order_is_fine() -> None:
    assert found() == ""


def test_whoever_is_not_back_or_back_late_is_found() -> None:
    assert "not back 30 s after" in found(back_s=None)
    assert "not back 30 s after" in found(back_s=100.0 + 3 + 30.1)
    assert "never noticed" in found(lost_s=None)


def test_a_lost_and_a_doubled_record_are_found() -> None:
    assert "other records than the cloud" in found(records=3)
    assert "other records than the cloud" in found(acked=1)
    assert "other records than the cloud" in found(records=1, acked=1)


def test_too_many_tries_and_a_storm_are_found() -> None:
    hail = [103.0 + step / 1000 for step in range(200)]
    assert "tries each" in found(tries_s=hail)
    assert "a storm" in found(tries_s=hail)
    assert busiest(herd(tries_s=hail)) == 200


def test_one_that_did_not_tell_is_found() -> None:
    everybody = herd()
    delivered = Counter({each.gateway: 2 for each in everybody})
    assert judge(everybody[1:], delivered, 40.0, 40) == ["39 of 40 told what they went through"]


def test_figures_say_how_it_went() -> None:
    figures = figures_of(herd(tries_s=[103.0, 104.5]), 100.0)
    assert (figures["tries max"], figures["back max s"], figures["all back s"]) == (2, 0.1, 39.1)


def test_the_spread_of_the_deep_herd_is_the_products_minute() -> None:
    assert 60.0 <= spread_s(HERD.deep) <= 61.0


async def test_the_journal_in_memory_is_a_chain_of_real_records() -> None:
    journal, heard = MemoryJournal("herd-000001", 7, SystemClock()), list[int]()
    journal.on_append.append(heard.append)
    await journal.append(GatewayStarted("herd", "", "one"))
    await journal.append(GatewayStarted("herd", "", "two"))
    assert heard == [1, 2]
    assert [decode_record(data).seq for data in await journal.read(1, 1 << 20)] == [1, 2]
    assert await journal.digest_at(3) is None
    await journal.acknowledge(2)
    assert journal.backlog == 0
