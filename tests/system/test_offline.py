"""A drop point that was never online: a bundle, thousands of weighings, then each road alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.people import make_people
from deploy.local.processes import free_port, wait_until
from deploy.local.stack import Devices, Site, Stack
from protocol.courier import Direction, Item, read_header, read_items, write_header, write_item
from tests.system.exports import assert_agree, assert_sound, credited_by

if TYPE_CHECKING:
    from pathlib import Path

VISITS = int(os.environ.get("RELOOP_OFFLINE_VISITS", "10000"))
"""Taken offline before any road opens."""
ROADS = ("mqtt", "https", "courier")


@pytest.fixture(scope="module")
def offline(short_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with a stopped cloud and a drop point full of weighings, and what people saw there."""
    folder = short_path / "offline"
    with Stack(folder) as stack:
        with stack.cloud.api() as api:
            people = make_people(api, folder / "people", 12)
        site = stack.add_site("far-away-drop", Devices())
        stack.claim_offline(site)
        cards = people.cards
    command = [sys.executable, "-m", "tests.system.intake", str(site.config), str(VISITS), "1", str(cards)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("road", ROADS)
def test_what_was_taken_offline_is_credited_over_any_road(
    offline: tuple[Path, dict[str, Any]], short_path: Path, road: str
) -> None:
    original, taken = offline
    assert taken["saved"] == VISITS
    shutil.copytree(original, short_path / road, ignore=shutil.ignore_patterns("*.sock", "*.pid"))
    with Stack(short_path / road) as stack:
        site = stack.add_site(
            "far-away-drop", Devices(), roads=("mqtt",) if road == "mqtt" else ("mqtt", "https")
        )
        if road == "https":
            site.mqtt_port = free_port()  # blocked: nobody listens there
            site.write_config()
        if road == "mqtt":
            introduced(stack, site)
        if road == "courier":
            by_courier(stack, site)
        else:
            site.start()
            wait_until(lambda: site.status()["backlog"] == 0, 180, "the backlog did not drain")
            site.agent.stop()
        assert assert_agree([site], stack.cloud) == VISITS
        assert_sound([site], stack.cloud)
        credited = credited_by(stack.cloud)
        assert sum(line["points"] for line in credited) == taken["points"]
        assert sum(line["net_g"] for line in credited) == taken["net_g"]
        a_guest_can_claim(stack, taken["claim_codes"][0], credited)


def introduced(stack: Stack, site: Site) -> None:
    """A courier brings the enrolment alone, and the certificate back: the broker lets nobody in without."""
    outbox, letter, answer = (site.folder / name for name in ("outbox.rlc", "letter.rlc", "answer.rlc"))
    site.edge("courier", "export", str(outbox))
    with outbox.open("rb") as whole, letter.open("wb") as part:
        write_header(part, read_header(whole, Direction.UP))
        for item, data in read_items(whole):
            if item is Item.ENROLMENT:
                write_item(part, item, data)
    stack.cloud.run("courier", "import", str(letter), "--answer", str(answer))
    assert json.loads(site.edge("courier", "import", str(answer)))["acknowledged"] == 0


def by_courier(stack: Stack, site: Site) -> None:
    outbox, answer = site.folder / "outbox.rlc", site.folder / "answer.rlc"
    written = json.loads(site.edge("courier", "export", str(outbox)))
    assert written["records"] >= 3 * VISITS
    stack.cloud.run("courier", "import", str(outbox), "--answer", str(answer))
    taken = json.loads(site.edge("courier", "import", str(answer)))
    assert taken["acknowledged"] == written["records"]
    again = json.loads(site.edge("courier", "export", str(outbox)))
    assert again["frames"] == (1 if again["records"] else 0), "the answer file freed the outbox"


def a_guest_can_claim(stack: Stack, code: str, credited: list[dict[str, Any]]) -> None:
    """A guest of the offline days claims with the code the kiosk showed, once."""
    with stack.cloud.api() as api:
        citizen = api.post("/v1/citizens", json={"alias": "Late"}).raise_for_status().json()
        card = api.post(f"/v1/citizens/{citizen['id']}/cards", json={}).raise_for_status().json()
        mine = {"authorization": f"Bearer {card['token']}"}
        assert api.get("/v1/me/balance", headers=mine).json()["points"] == 0
        api.post("/v1/claims", json={"code": code}, headers=mine).raise_for_status()
        balance = api.get("/v1/me/balance", headers=mine).json()["points"]
        guests = {line["points"] for line in credited if line["holder_kind"] == "guest"}
        assert balance in guests
        assert api.post("/v1/claims", json={"code": code}, headers=mine).status_code in (200, 409)
        assert api.get("/v1/me/balance", headers=mine).json()["points"] == balance
