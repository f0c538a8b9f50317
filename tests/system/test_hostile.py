"""What hostile or broken gateways send to a real cloud over a real broker: named, seen, worth nothing.

Whatever it is, the good records behind it arrive, are acknowledged and are credited.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

import aiomqtt
import cbor2
import pytest

from deploy.local.processes import wait_until
from deploy.local.stack import Devices, Stack
from protocol.acks import Verdict
from protocol.bodies import DepositOpened, HolderKind
from protocol.cose import SigningKey
from tests.cloud.ingest.test_exactly_once import carry
from tests.system.hostile import alarms, claimed, quarantined, refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.hostile import Hostile

FORGER = SigningKey.from_seed(b"f" * 32)


@pytest.fixture(scope="module")
def cloud(short_path: Path) -> Iterator[Stack]:
    """One cloud for all of these; when they are done its ledger must add up."""
    with Stack(short_path / f"hostile-{time.monotonic_ns()}") as running:
        yield running
        assert json.loads(running.cloud.run("ledger", "verify"))["ok"]


@pytest.fixture(scope="module")
def gateway(cloud: Stack) -> Hostile:
    """A gateway in hostile hands."""
    return claimed(cloud, cloud.add_site("hostile-drop-01", Devices()))


@pytest.fixture(scope="module")
def neighbour(cloud: Stack) -> Hostile:
    """Another one, claimed as well."""
    return claimed(cloud, cloud.add_site("hostile-drop-02", Devices()))


def flipped(place: int) -> Callable[[Hostile, Hostile, int], bytes]:
    def bend(gateway: Hostile, _neighbour: Hostile, first: int) -> bytes:
        data = bytearray(gateway.frame(first))
        data[place] ^= 0x04
        return bytes(data)

    return bend


def forged(gateway: Hostile, _neighbour: Hostile, first: int) -> bytes:
    return gateway.frame(first, FORGER)


def signed_by_another(gateway: Hostile, neighbour: Hostile, first: int) -> bytes:
    return gateway.frame(first, neighbour.journal.key)


@pytest.mark.parametrize(
    ("bend", "code", "culprit"),
    [
        (forged, "envelope.unknown_key", ""),
        (flipped(150), "envelope.signature", ""),
        (flipped(-1), "envelope.signature", ""),
        (flipped(0), "envelope.malformed", ""),
        (signed_by_another, "frame.wrong_gateway", "hostile-drop-02"),
    ],
    ids=["forged", "bit in the content", "bit in the signature", "bit in the head", "another gateway's"],
)
async def test_a_frame_the_gateway_did_not_sign_is_refused_by_name_and_credits_nothing(  # noqa: PLR0917
    cloud: Stack,
    gateway: Hostile,
    neighbour: Hostile,
    bend: Callable[[Hostile, Hostile, int], bytes],
    code: str,
    culprit: str,
) -> None:
    before = refusals(cloud)
    first = gateway.journal.head + 1
    gateway.visit(900)
    bad = bend(gateway, neighbour, first)
    async with gateway.uplink() as uplink:
        await uplink.publish(bad)
        assert gateway.refused(bad) == code
        assert gateway.balance() == gateway.earned() - 900 * gateway.rate // 1000
        good = gateway.frame(first)
        ack = await uplink.send(good)
    assert (ack.verdict, ack.through, ack.quarantined) == (Verdict.OK, gateway.journal.head, [])
    assert ack.echo.mono_ms == gateway.journal.mono_ms, "the only answer is the good frame's"
    assert gateway.balance() == gateway.earned()
    after = refusals(cloud)
    for road in ("mqtt", "https"):
        seen = culprit, road, code
        assert after[seen] == before.get(seen, 0) + 1


async def test_a_neighbour_cannot_deliver_for_us_with_our_own_frame(
    cloud: Stack, gateway: Hostile, neighbour: Hostile
) -> None:
    first = gateway.journal.head + 1
    gateway.visit(800)
    frame = gateway.frame(first)
    async with neighbour.uplink() as uplink:
        await uplink.publish(frame)  # on the neighbour's own topic, the only one the broker lets it use
        wait_until(
            lambda: ("hostile-drop-01", "mqtt", "frame.wrong_gateway") in refusals(cloud), 20, "not refused"
        )
    async with gateway.uplink() as uplink:
        assert (await uplink.send(frame)).through == gateway.journal.head
    assert gateway.balance() == gateway.earned()


async def test_a_replayed_frame_is_acknowledged_again_and_credited_once(gateway: Hostile) -> None:
    first = gateway.journal.head + 1
    gateway.visit(1_100)
    frame = gateway.frame(first)
    async with gateway.uplink() as uplink:
        answers = [await uplink.send(frame) for _ in range(3)]
        answers.append(gateway.open_ack(gateway.post(frame).content))
        gateway.visit(400)
        answers.append(await uplink.send(gateway.frame(first)))
        answers.append(await uplink.send(frame))
    head = gateway.journal.head
    assert [answer.through for answer in answers] == [head - 3] * 4 + [head] * 2
    assert gateway.balance() == gateway.earned()


async def test_poison_is_quarantined_record_by_record_and_stops_nothing_behind_it(
    cloud: Stack, gateway: Hostile
) -> None:
    journal, first = gateway.journal, gateway.journal.head + 1
    poison: list[tuple[int, str]] = []
    gateway.visit(300)
    poison.extend(
        (journal.append_bytes(data), code)
        for data, code in (
            (b"\xff no CBOR at all", "record.malformed"),
            (cbor2.dumps([99, 3, 3, 1, 7, 7, []]), "record.unknown_kind"),
            (cbor2.dumps(bytes(9_000)), "record.too_large"),
        )
    )
    elsewhere = journal.append(DepositOpened(HolderKind.CARD, gateway.citizen.serial), seq=first + 500)
    poison.append((elsewhere, "record.seq_mismatch"))
    gateway.visit(700)
    poison.append((gateway.visit(1_000, gross_g=1_400), "weighing.sum"))
    poison.append((gateway.visit(1_000, points=gateway.rate + 1), "weighing.points_mismatch"))
    poison.append((gateway.visit(1_000, rate=9_000, points=9_000), "weighing.points_mismatch"))
    known, journal.catalog = journal.catalog, hashlib.sha256(b"nobody's catalogue").digest()
    poison.append((gateway.visit(1_000, tare_g=0), "weighing.unknown_catalog"))
    journal.catalog = known
    gateway.visit(500)
    async with gateway.uplink() as uplink:
        ack = await uplink.send(gateway.frame(first))
        assert ack.through == journal.head
        assert [(each.seq, each.code) for each in ack.quarantined] == poison
        gateway.visit(600)
        assert (await uplink.send(gateway.frame(first))).through == journal.head
    assert quarantined(cloud, gateway.id) == poison
    assert gateway.balance() == gateway.earned()


async def test_a_forked_chain_is_closed_and_alarmed_and_its_sides_wait_for_a_person(
    cloud: Stack, neighbour: Hostile
) -> None:
    journal = neighbour.journal
    neighbour.visit(1_000)
    common = journal.head
    twin = neighbour.branch(common)
    neighbour.visit(2_000)
    async with neighbour.uplink() as uplink:
        assert (await uplink.send(neighbour.frame(1))).through == journal.head
        neighbour.journal = twin
        neighbour.visit(300)
        answer = await uplink.send(neighbour.frame(common + 1))
        assert (answer.verdict, answer.through) == (Verdict.FORKED, common + 3)
        assert ("hostile-drop-02", "epoch.forked") in alarms(cloud)
        neighbour.sent_g -= 300
        assert neighbour.balance() == neighbour.earned(), "the other side credits nothing"
        after = neighbour.branch(0, epoch=journal.epoch + 1)
        carry(twin, after, common + 1)
        neighbour.journal = after
        neighbour.visit(500)
        assert (await uplink.send(neighbour.frame(1))).through == after.head
    assert neighbour.balance() == neighbour.earned(), "what the fork carries waits"
    with cloud.cloud.api() as api:
        listed = api.get("/v1/weighings", params={"gateway": neighbour.id}).json()["items"]
    assert [(each["net_g"], each["pending"]) for each in listed if each["pending"]] == [(300, True)]
    (waiting,) = (json.loads(line) for line in cloud.cloud.run("fork", "list", "--json").splitlines())
    assert (waiting["gateway"], waiting["count"], waiting["net_g"]) == (neighbour.id, 1, 300)
    cloud.cloud.run("fork", "release", neighbour.id, str(waiting["epoch"]))
    assert cloud.cloud.run("fork", "list", "--json") == ""
    neighbour.sent_g += 300
    assert neighbour.balance() == neighbour.earned()


async def test_a_revoked_gateway_is_refused_on_every_road_and_keeps_what_it_earned(cloud: Stack) -> None:
    gateway = claimed(cloud, cloud.add_site("hostile-drop-03", Devices()))
    gateway.visit(1_500)
    async with gateway.uplink() as uplink:
        assert (await uplink.send(gateway.frame(1))).through == 3
        cloud.cloud.run("gateway", "revoke", gateway.id)
        earned = gateway.earned()
        gateway.visit(5_000)
        assert gateway.refused(gateway.frame(4)) == "gateway.revoked"
        with pytest.raises(aiomqtt.MqttError):  # the command ends when the broker has dropped it
            await anext(aiter(uplink.client.messages))
    with pytest.raises(aiomqtt.MqttError):
        async with gateway.uplink():
            pass
    assert gateway.balance() == earned > 0
    assert refusals(cloud)["hostile-drop-03", "https", "gateway.revoked"] == 1
