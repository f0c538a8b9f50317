"""Figures hold rounds against their peers and say whether the aims are kept."""

from __future__ import annotations

import json

from tests.bench.figures import Figure, Spread, against_limit, at_least, at_most, ratio_at_least
from tests.bench.report import line_of

SLOW = Figure(
    "append", "appends/s", [60.0, 80.0, 70.0], "bare", [100.0, 200.0, 100.0], (ratio_at_least(0.7),)
)


def test_a_ratio_is_taken_round_by_round_and_not_of_the_medians() -> None:
    assert SLOW.measured == Spread(70.0, 60.0, 80.0)
    assert SLOW.ratio == Spread(0.6, 0.4, 0.7)


def test_an_aim_is_judged_by_the_median_on_its_own_side() -> None:
    assert not SLOW.met
    assert at_least(70).met(70, 0)
    assert not at_least(70).met(69.9, 0)
    assert at_most(50).met(50, 0)
    assert not at_most(50).met(50.1, 0)


def test_one_missed_aim_misses_the_figure() -> None:
    both = Figure("ingest", "/s", [10.0], "bare", [100.0], (at_least(5), ratio_at_least(0.5)))
    assert not both.met


def test_a_limit_is_its_own_peer() -> None:
    figure = against_limit("wire", "bytes", [55.0, 66.0], 110.0)
    assert figure.ratio == Spread(0.55, 0.5, 0.6)
    assert figure.met


def test_the_line_tells_every_figure_and_whether_all_is_met() -> None:
    line = json.loads(line_of([SLOW, against_limit("wire", "bytes", [55.0], 110.0)], {"ledger_ok": True}))
    assert (line["met"], line["ledger_ok"]) == (False, True)
    assert [(each["name"], each["met"]) for each in line["figures"]] == [("append", False), ("wire", True)]
    assert line["figures"][0]["ratio"] == {"median": 0.6, "low": 0.4, "high": 0.7}
