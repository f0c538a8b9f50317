"""The row sees each hole that is planted, and what mosquitto 2.0.11 does of itself is known."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cloud.worker.broker_files import access_rules
from tests.proof.link_security import arena as arena_module
from tests.proof.link_security import crowd, strangers
from tests.proof.link_security.arena import CLOUD, WAIT_S, Arena, now, request, serial_of
from tests.proof.link_security.crowd import check_crowd
from tests.proof.link_security.matrix import bout
from tests.proof.link_security.strangers import CASES, check_strangers
from tests.proof.row import Violation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None,
    reason="mosquitto is not installed",
)
ONE, OTHER = "drop-point-01", "drop-point-02"


def test_a_gateway_that_may_read_its_neighbour_is_noticed(tmp_path: Path) -> None:
    with Arena(tmp_path, access_rules(CLOUD) + "pattern read reloop/v1/+/ack\n") as arena:
        assert any("heard reloop/v1/drop-point-02/ack" in each.what for each in found(arena))


def test_a_gateway_that_may_write_for_its_neighbour_is_noticed(tmp_path: Path) -> None:
    with Arena(tmp_path, access_rules(CLOUD) + "pattern write reloop/v1/+/up\n") as arena:
        assert any("drop-point-02/up" in each.what for each in found(arena))


def test_a_gateway_that_is_not_heard_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.proof.link_security.arena.WAIT_S", 0.5)
    rules = access_rules(CLOUD).replace("pattern write reloop/v1/%u/telemetry\n", "")
    with Arena(tmp_path, rules) as arena:
        assert any("not delivered" in each.what for each in found(arena))


def found(arena: Arena) -> list[Violation]:
    return bout(arena, "5", ONE, OTHER).violations


@pytest.mark.parametrize(
    ("setting", "case"),
    [
        ("use_username_as_clientid", "another's-name"),
        ("crlfile", "revoked"),
        ("max_packet_size", "too-large"),
    ],
)
def test_a_setting_that_is_missing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, case: str
) -> None:
    monkeypatch.setattr(strangers, "WAIT_S", 1.0)
    monkeypatch.setattr(arena_module, "WAIT_S", 1.0)
    without = setting if setting != "max_packet_size" else ("max_packet_size", "message_size_limit")
    with Arena(tmp_path, without=without) as arena:
        assert check_strangers(arena, {case: CASES[case]}).violations


def test_an_open_session_outlives_the_revocation_list_until_it_is_evicted(tmp_path: Path) -> None:
    with Arena(tmp_path) as arena:
        key, csr = request()
        chain = arena.authority.gateway_certificate(csr, ONE, now())
        with arena.caller(ONE, key, chain) as session:
            arena.revoke(serial_of(chain))
            assert session.publish(f"reloop/v1/{ONE}/up", b"still here") in {
                0,
                0x10,
            }  # taken, or taken with nobody to hear it
            arena.evict(ONE)
            assert session.gone.wait(WAIT_S)
            assert not arena.caller(ONE, key, chain).connect()


def test_a_revoked_member_of_the_crowd_that_is_let_stay_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "CROWD", 3)
    monkeypatch.setattr(crowd, "WAIT_S", 0.5)
    monkeypatch.setattr(Arena, "evict", lambda *_: None)
    with Arena(tmp_path) as arena:
        assert [each.what for each in check_crowd(arena).violations] == [
            "drop-point-00 is revoked and was not dropped"
        ]


def test_a_crowd_that_hears_each_other_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "CROWD", 3)
    rules = access_rules(CLOUD) + "pattern read reloop/v1/+/ack\n"
    with Arena(tmp_path, rules) as arena:
        assert any("what was another's" in each.what for each in check_crowd(arena).violations)
