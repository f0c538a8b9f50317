"""From an operator's click to a real agent at a drop point, through a real broker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from deploy.local.stack import Devices, Site, Stack
from tests.cloud.api.test_broker import needs_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "ktm-patan-01"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def site(stack: Stack) -> Site:
    site = stack.add_site(NAME, Devices())
    stack.claim(site)
    site.start()
    return site


def eventually(happened: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Look until it happened."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"{what} within {timeout_s:.0f} s"
        time.sleep(0.3)  # each look is a process of its own


def offered(stack: Stack, name: str) -> str:
    """Digest of what the cloud offers under a name."""
    with stack.cloud.api() as api:
        tag: str = api.get(f"/v1/gateways/{NAME}/documents/{name}").headers["etag"]
        return tag.strip('"')


def held(site: Site) -> dict[str, str]:
    """Digests of what is in force on the agent, by its own journal."""
    applied = [record for record in site.records() if record["kind"] == "document.applied"]
    return {record["name"]: record["digest"] for record in applied}


@needs_mosquitto
def test_a_new_rate_reaches_the_agent(stack: Stack, site: Site) -> None:
    eventually(lambda: held(site).get("catalog") == offered(stack, "catalog"), "the first catalogue")
    before = offered(stack, "catalog")
    with stack.cloud.api() as api:
        assert api.post("/v1/materials/pet/rates", json={"points_per_kg": 77}).status_code == 201
    assert offered(stack, "catalog") != before
    eventually(lambda: held(site).get("catalog") == offered(stack, "catalog"), "the new catalogue")
    assert site.agent.running


@needs_mosquitto
def test_a_revoked_card_reaches_the_agent(stack: Stack, site: Site) -> None:
    with stack.cloud.api() as api:
        citizen = api.post("/v1/citizens", json={"alias": "Maya"}).json()["id"]
        card = api.post(f"/v1/citizens/{citizen}/cards", json={}).json()
        before = offered(stack, "revocations")
        api.post(f"/v1/cards/{card['serial']}/revocation")
    assert offered(stack, "revocations") != before
    eventually(lambda: held(site).get("revocations") == offered(stack, "revocations"), "the revocations")
    assert site.agent.running


@needs_mosquitto
def test_documents_reach_an_agent_after_its_link_was_cut(stack: Stack, site: Site) -> None:
    stack.cut(site)
    with stack.cloud.api() as api:
        api.post("/v1/materials/can/rates", json={"points_per_kg": 123})
    assert held(site).get("catalog") != offered(stack, "catalog")
    stack.restore(site)
    eventually(lambda: held(site).get("catalog") == offered(stack, "catalog"), "the catalogue", 60)
