"""Everything that a known gateway can get wrong has a name: enrolments, frames, people, masses, pickups."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

import cbor2
import pytest

from cloud.ingest import project, rows
from cloud.ingest.project import MASS_G_MAX, Refused
from protocol.bodies import (
    BinEstimated,
    BinWeighed,
    Body,
    DepositOpened,
    HolderKind,
    ManualEntered,
    PickupOpened,
    Stability,
    TareKind,
    WeighingVoided,
)
from protocol.cose import Purpose, SigningKey
from protocol.enrolment import build_enrolment
from tests.cloud.ingest.gateway import RATES, serial_of
from tests.cloud.ingest.test_exactly_once import PSEUDONYM, carry

if TYPE_CHECKING:
    from tests.cloud.ingest.conftest import Site

SECRET, STRANGER = b"s" * 32, SigningKey.from_seed(b"e" * 32)
CARD = serial_of(1)


@pytest.mark.parametrize(
    ("offer", "hint", "code"),
    [
        (STRANGER.sign(Purpose.ENROLMENT, cbor2.dumps([1, 2])), None, "enrolment.malformed"),
        (build_enrolment("ktm-drop-01", SECRET, STRANGER), "ktm-drop-02", "frame.wrong_gateway"),
        (build_enrolment("ktm-drop-77", SECRET, STRANGER), None, "enrolment.refused"),
    ],
)
async def test_an_enrolment_that_cannot_be_is_refused(
    site: Site, offer: bytes, hint: str | None, code: str
) -> None:
    assert await site.refused(offer, "mqtt", hint) == code
    assert site.one("SELECT count(*) FROM gateway_keys") == 1


async def test_signed_bytes_that_are_no_frame_are_refused_under_the_signers_name(site: Site) -> None:
    rubbish = site.gateway.key.sign(Purpose.FRAME, zlib.compress(cbor2.dumps([1, 2])))
    assert await site.refused(rubbish) == "frame.malformed"
    assert site.rows("SELECT gateway_id FROM refusals") == [("ktm-drop-01",)]


def manual(net_g: int) -> ManualEntered:
    points = net_g * RATES["pet"] // 1000 if net_g > 0 else 0
    return ManualEntered(
        HolderKind.CARD, CARD, "pet", None, None, 1, CARD, "no scale", net_g, None if net_g > 0 else points
    )  # fmt: skip


def weighed(net_g: int, gross_g: int) -> BinWeighed:
    return BinWeighed(
        1, "BIN", "SN-1", "kg", 5, Stability.FLAG, TareKind.WEIGHED, 500, b"S S", gross_g, net_g, True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (manual(-1), "weighing.sum"),
        (manual(MASS_G_MAX + 1), "weighing.sum"),
        (DepositOpened(HolderKind.TAG, b""), "record.holder"),
        (DepositOpened(HolderKind.TAG, b"t" * 65), "record.holder"),
        (PickupOpened(b"short"), "record.holder"),
        (BinEstimated(1, "BIN", -1), "custody.sum"),
        (weighed(1_000, 2_000), "custody.sum"),
        (weighed(1_000, 1_500), "custody.no_pickup"),
    ],
)
async def test_what_cannot_be_so_waits_and_what_is_behind_it_goes_on(
    site: Site, body: Body, code: str
) -> None:
    site.gateway.append(body)
    site.gateway.visit()
    assert (await site.send(site.gateway.frame())).through == 4
    assert site.held() == [(1, code)]
    assert site.balance(PSEUDONYM) == 12_000


async def test_a_mass_entered_by_hand_is_credited_as_such(site: Site) -> None:
    site.gateway.append(manual(500))
    await site.send(site.gateway.frame())
    found = site.rows("SELECT net_g, points, points_shown, manual, tare_kind FROM weighings")
    assert found == [(500, 6_000, None, True, 0)]


async def test_a_stray_that_comes_again_is_held_once(site: Site) -> None:
    for _ in range(4):
        site.gateway.visit()
    await site.send(site.gateway.frame(1, 3))
    await site.send(site.gateway.frame(10, 12, first_kept=10))
    for _ in range(2):
        await site.send(site.gateway.frame(6, 7))
    assert site.held() == [(6, "record.stray"), (7, "record.stray")]
    assert (await site.send(site.gateway.frame(5, 8))).through == 12
    assert [seq for seq, _ in site.held()] == [5, 6, 7, 8]


async def test_holders_met_before_are_remembered_up_to_a_bound(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows._holder_tail.cache_info().maxsize == 200_000
    kept = lru_cache(maxsize=1)(rows._holder_tail.__wrapped__)
    monkeypatch.setattr(rows, "_holder_tail", kept)
    for number in (0, 1, 2, 0):
        site.gateway.visit(holder=serial_of(number))
        await site.send(site.gateway.frame())
    assert kept.cache_info().currsize == 1
    assert [site.balance(serial_of(number)[:8]) for number in range(3)] == [24_000, 12_000, 12_000]


@pytest.mark.parametrize("seq", [0, -1, 2**63, "1", None])
def test_a_seq_that_no_journal_has_names_no_record(seq: object) -> None:
    with pytest.raises(Refused, match="names no record") as caught:
        project._check_seq(seq)
    assert caught.value.code == "record.malformed"


async def test_a_pending_weighing_that_is_voided_is_withdrawn_not_reversed(site: Site) -> None:
    mine = site.gateway
    mine.visit()
    twin = mine.branch(3)
    mine.visit(2_000)
    weighing = twin.visit(500)
    twin.append(WeighingVoided(weighing - 1, weighing, "taken back"))
    await site.send(mine.frame())
    await site.send(twin.frame(4, 7))
    after = type(mine)(mine.id, mine.catalog, epoch=9)
    carry(twin, after, 4)
    await site.send(after.frame())
    codes = site.rows("SELECT code, state FROM transfers ORDER BY number")
    assert codes == [(1, "posted"), (1, "posted"), (1, "pending"), (7, "void")]
    assert site.balance(PSEUDONYM) == 36_000
