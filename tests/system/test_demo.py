from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from deploy.local.processes import program
from deploy.local.stack import Cloud, Devices, Site
from tests.system.exports import assert_agree

if TYPE_CHECKING:
    from pathlib import Path


def test_a_demo_with_an_outage_loses_nothing_and_both_sides_agree_record_by_record(short_path: Path) -> None:
    options = ["--headless", "--seconds", "20", "--outage", "--data", str(short_path), "--seed", "7"]
    done = subprocess.run(
        [program("reloop-demo"), *options], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["lost"], result["duplicated"], result["quarantined"]) == (0, 0, 0)
    assert result["chain_ok"] is True
    assert result["ledger_ok"] is True

    sites = [Site(path.name, path, Devices(), 1, 1) for path in sorted(short_path.glob("drop-point-*"))]
    assert len(sites) == 3
    count = assert_agree(sites, Cloud(short_path))
    assert count == result["recorded"] == result["credited"]
    assert count > 0

    seen = {
        (site.name, line["seq"]): line["net_g"]
        for site in sites
        for visit in (site.folder / "devices" / "visits.jsonl").read_text().splitlines()
        for line in json.loads(visit)["saved"]
    }
    recorded = {
        (site.name, line["seq"]): line["net_g"]
        for site in sites
        for line in site.records()
        if line["kind"] == "weighing.recorded"
    }
    assert seen.items() <= recorded.items(), "people saw something as saved that is not in a journal"
