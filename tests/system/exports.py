"""Both sides' exports as plain dicts, compared by the tests themselves and not by the product's verifier."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.local.stack import Cloud, Site

WEIGHINGS = {"weighing.recorded", "manual.entered"}
SHARED = ("gateway", "epoch", "seq", "kind", "net_g", "material")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def weighings_of(sites: Iterable[Site]) -> dict[str, dict[str, Any]]:
    """Every weighing in the sites' journals by id; a carried one counts once, as what it was."""
    found: dict[str, dict[str, Any]] = {}
    for site in sites:
        for line in site.records():
            if line["kind"] in WEIGHINGS:
                found[line["id"]] = line
    return found


def credited_by(cloud: Cloud) -> list[dict[str, Any]]:
    return [line for line in lines(cloud.run("export", "weighings", "--jsonl")) if line["kind"] in WEIGHINGS]


def assert_agree(sites: Iterable[Site], cloud: Cloud) -> int:
    """Both sides hold the same weighings, each once, with the same contents; returns how many."""
    recorded, credited = weighings_of(sites), credited_by(cloud)
    by_id = {line["id"]: line for line in credited}
    assert len(by_id) == len(credited), "a weighing is credited twice"
    assert set(recorded) - set(by_id) == set(), "a weighing is lost"
    assert set(by_id) - set(recorded) == set(), "a weighing is credited that nobody recorded"
    for key, line in recorded.items():
        assert [line[name] for name in SHARED] == [by_id[key][name] for name in SHARED]
        assert by_id[key]["points"] == line["points"], (line, by_id[key])
        assert by_id[key]["points"] == line["net_g"] * line["points_per_kg"] // 1000
        assert by_id[key].get("citizen") == line.get("citizen")
    return len(recorded)


def assert_sound(sites: Iterable[Site], cloud: Cloud) -> None:
    """Every chain verifies and the ledger adds up."""
    for site in sites:
        assert json.loads(site.edge("journal", "verify"))["ok"]
    assert json.loads(cloud.run("ledger", "verify"))["ok"]
