"""The stories: what happens, in which order, at moments drawn by a seed. Each ends settled and judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

import httpx

from tests.proof.restore.backups import KINDS
from tests.proof.restore.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.proof.restore.device import Device
    from tests.proof.restore.world import World


_EVENTS = ("day", "day", "backup", "restore", "image", "put back", "twin", "epoch")
_UNFOUNDED = {"epoch.forked", "epoch.gap", "gateway.went_back"}
"""What nobody may be alarmed of when only the cloud went back."""
_TOLD = {"epoch.forked", "gateway.went_back"}


async def cloud_restored(key: str) -> list[str]:
    """(a) The cloud's database goes back; gateways send again what it lost, whatever epochs it is in."""
    async with open_world(key, devices=2) as world:
        await _days(world, world.chance.randint(0, 1))
        stranger = world.stranger()
        backup = await asyncio.to_thread(world.back_up, world.chance.choice(KINDS))
        known = list(world.devices)
        await _days(world, world.chance.randint(1, 2), eventful=True)
        world.revoke(world.chance.choice((stranger, world.stranger())))
        if world.chance.random() < 0.3:
            await asyncio.to_thread(world.add_device)
            await _days(world, 1)
        claimed = _claims(world)
        found = await world.judge()
        await world.visits_everywhere()
        await asyncio.to_thread(world.restore, backup)
        for device in world.devices[len(known) :]:
            await world.readmit(device)
        await world.settle()
        # What guests claimed was the cloud's alone: their points wait for them, and can be claimed again.
        claims, world.reference.claims = world.reference.claims, {}
        found += await world.judge()
        again = [world.claim(world.people[0], code) for code in claimed]
        found += [f"a claim was answered with {status}" for status in again if status != httpx.codes.OK]
        found += await world.judge()
        if claims != world.reference.claims:
            found.append("other claims than before")
        books = world.books()
        found += [f"open alarm {one}" for one in books.alarms if one[1] in _UNFOUNDED]
        if not any(code == "cloud.restored" for _, code in books.alarms):
            found.append("nobody was told that the cloud had been restored")
        return found


def _claims(world: World) -> list[str]:
    """Half of the guests claim, as a citizen whom the backup knows; the codes."""
    codes = [code for device in world.devices for code in device.claim_codes if world.chance.random() < 0.5]
    for code in codes:
        world.claim(world.people[0], code)
    return codes


async def _days(world: World, count: int, *, eventful: bool = False) -> None:
    for _ in range(count):
        await world.visits_everywhere(least=1)
        if eventful and world.chance.random() < 0.5:
            await world.chance.choice(world.devices).new_epoch()
        if eventful and world.chance.random() < 0.5:
            world.add_person()
        if eventful:
            world.new_rate()
        await world.settle()


async def card_put_back(key: str) -> list[str]:
    """(b) A gateway's card goes back to an older image, and the gateway goes on with it."""
    async with open_world(key, devices=1) as world:
        (device,) = world.devices
        await world.visits(device, world.chance.randint(1, 3))
        if world.chance.random() < 0.7:
            await world.settle()
        if world.chance.random() < 0.5:
            await world.visits(device, world.chance.randint(1, 3))
        head, image = head_of(device), device.image(world.path("image"))
        await world.visits(device, world.chance.randint(1, 3))
        await world.settle()
        if world.chance.random() < 0.5:
            await world.visits(device, world.chance.randint(1, 3))
        await asyncio.to_thread(world.put_back, device, image, head)
        if world.chance.random() < 0.7:
            await world.visits(device, world.chance.randint(1, 3))
        await world.settle()
        return await _released(world)


async def card_cloned(key: str) -> list[str]:
    """(c) One card in two gateways that run at once."""
    async with open_world(key, devices=1, mqtt=0.15) as world:
        (device,) = world.devices
        await world.visits(device, world.chance.randint(1, 3))
        if world.chance.random() < 0.7:
            await world.settle()
        other = await asyncio.to_thread(world.twin, device, head_of(device))
        for one in (device, other):
            await world.visits(one, world.chance.randint(1, 3))
        if world.chance.random() < 0.5:
            await world.settle([world.chance.choice((device, other))])
        await world.settle()
        await world.visits_everywhere(least=1)
        await world.settle()
        return await _released(world)


async def all_at_once(key: str) -> list[str]:
    """(d) Clouds and cards go back, cards are copied, epochs end, in any order."""
    async with open_world(key, devices=2, mqtt=0.15) as world:
        backups, images = [], []
        for _ in range(world.chance.randint(5, 8)):
            device = world.chance.choice(world.devices)
            match world.chance.choice(
                ("day", "day", "backup", "restore", "image", "put back", "twin", "epoch")
            ):
                case "day":
                    await _days(world, 1)
                case "backup":
                    backups.append(await asyncio.to_thread(world.back_up, world.chance.choice(KINDS)))
                case "restore" if backups:
                    await world.visits_everywhere()
                    await asyncio.to_thread(world.restore, world.chance.choice(backups))
                case "image":
                    images.append((device, head_of(device), device.image(world.path("image"))))
                case "put back" if images:
                    device, head, image = world.chance.choice(images)
                    await world.visits(device, world.chance.randint(0, 2))
                    await asyncio.to_thread(world.put_back, device, image, head)
                    images = [one for one in images if one[0] is not device]
                case "twin" if len(world.devices) < 4:
                    await asyncio.to_thread(world.twin, device, head_of(device))
                case "epoch":
                    await device.new_epoch()
        await world.visits_everywhere(least=1)
        await world.settle()
        return await _released(world)


async def _released(world: World) -> list[str]:
    """Judge; let the operator release what waits of forks; judge again: then all that was shown counts."""
    found = await world.judge() + _unalarmed(world)
    for line in world.stack.cloud.run("fork", "list", "--json").splitlines():
        waiting = json.loads(line)
        world.stack.cloud.run("fork", "release", waiting["gateway"], str(waiting["epoch"]))
    world.reference.partings.clear()
    found += await world.judge()
    left = [one for one in world.books().weighings.values() if one.pending]
    return found + [f"still pending after the release: {one}" for one in left]


def _unalarmed(world: World) -> list[str]:
    """Forks of which both sides are in the ledger and no operator was told."""
    told = {gateway for gateway, code in world.books().alarms if code in _TOLD}
    reference = world.reference
    return [
        f"no alarm: {parting}"
        for parting in reference.partings
        if len({reference.shown[one].device for one in reference.beyond(parting)}) > 1
        and parting.gateway not in told
    ]


def head_of(device: Device) -> tuple[int, int]:
    """Epoch and last seq of a machine's journal, which nobody has open."""
    found = []
    for path in (device.data / "journal").glob("*.journal"):
        with contextlib.closing(sqlite3.connect(path)) as journal:
            ((generation, epoch, anchor),) = journal.execute(
                "SELECT generation, epoch, anchor_seq FROM journal"
            )
            ((head,),) = journal.execute("SELECT max(seq) FROM records")
        found.append((generation, epoch, head or anchor))
    return max(found)[1:]


STORIES: dict[str, Callable[[str], Coroutine[None, None, list[str]]]] = {
    "cloud": cloud_restored,
    "card": card_put_back,
    "clone": card_cloned,
    "all": all_at_once,
}
"""By the name that begins a case's key: `cloud:1.4`."""
