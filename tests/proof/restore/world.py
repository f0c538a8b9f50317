"""A cloud, a broker and drop points in a folder of their own, and the steps a story is made of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from cloud.kit.database import create_engine_for
from cloud.ledger import service as ledger
from deploy.local.processes import wait_until
from deploy.local.stack import Stack
from edge.journal.verify import verify_directory
from protocol.codes import claim_hash
from tests.proof.restore import backups
from tests.proof.restore.device import Device, claimed_device
from tests.proof.restore.judge import Books, Parting, Reference, journalled, look
from tests.proof.restore.people import Person, Shown, register

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from edge.core import Core
    from tests.proof.restore.backups import Backup

SETTLE_S = 90.0
_LOOK_S = 0.1
_BOTH, _HTTPS = ("mqtt", "https"), ("https",)


class NotSettled(AssertionError):  # noqa: N818 - a finding, not a mistake of ours
    """The faults stopped and still not everything is in the ledger."""


@dataclass
class World:
    """One story's world."""

    stack: Stack
    chance: random.Random
    people: list[Person] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    revoked: list[Person] = field(default_factory=list)
    reference: Reference = field(default_factory=Reference)
    _paths: int = 0

    def add_device(self, mqtt: float = 0.5) -> Device:
        """A new drop point, claimed; `mqtt` is how likely it talks MQTT first."""
        name = f"proof-drop-{len(self.devices) + 1:02}"
        device = claimed_device(self.stack, name, _BOTH if self.chance.random() < mqtt else _HTTPS)
        self.devices.append(device)
        return device

    def add_person(self) -> Person:
        """A new citizen with a card."""
        with self.stack.cloud.api() as api:
            self.people.append(register(api, f"Person {len(self.people) + 1}"))
        return self.people[-1]

    def new_rate(self) -> None:
        """A material's rate changes, and with it the catalogue that kiosks show."""
        with self.stack.cloud.api() as api:
            points = self.chance.randint(1, 90)
            api.post("/v1/materials/pet/rates", json={"points_per_kg": points}).raise_for_status()

    def revoke(self, person: Person) -> None:
        """A card is lost that nobody ever used, nor will."""
        with self.stack.cloud.api() as api:
            api.post(f"/v1/cards/{person.serial.hex()}/revocation").raise_for_status()
        # From the moment that a kiosk may know of it, it is on file; that takes two seconds at most.
        files = self.stack.cloud.folder / "cloud" / "documents" / "revocations"
        wait_until(
            lambda: any(person.serial in one.read_bytes() for one in files.glob("*.cose")), 20, "not on file"
        )
        self.revoked.append(person)

    def stranger(self) -> Person:
        """A citizen who comes to no drop point."""
        with self.stack.cloud.api() as api:
            return register(api, "Stranger")

    async def readmit(self, device: Device) -> None:
        """A gateway that a restored cloud does not know is refused by name, and let in again by a bundle."""
        async with device.online():
            await asyncio.to_thread(wait_until, self._refused_a_stranger, 60, "nobody saw the refusal")
        bundle = self.path("bundle")
        await asyncio.to_thread(
            self.stack.cloud.run, "gateway", "bundle", device.site.name, "--output", str(bundle)
        )
        await asyncio.to_thread(device.site.edge, "claim", "--bundle", str(bundle))

    def _refused_a_stranger(self) -> bool:
        status = json.loads(self.stack.cloud.run("status", "--json"))
        return any(one["code"] == "envelope.unknown_key" for one in status["refusals"])

    def claim(self, person: Person, code: str) -> int:
        """A guest claims a deposit as this citizen; the status of the answer."""
        headers = {"authorization": f"Bearer {person.token}"}
        answer = httpx.post(
            f"{self.stack.cloud.url}/v1/claims", json={"code": code}, headers=headers, timeout=30.0
        )
        if answer.is_success:
            self.reference.claims[claim_hash(code)] = person
        return answer.status_code

    def path(self, what: str) -> Path:
        """A fresh path for a backup or an image."""
        self._paths += 1
        return self.stack.folder / f"{what}-{self._paths}"

    async def visits(self, device: Device, count: int) -> None:
        """Some visits at one machine; its agent is not running."""
        await device.visits(count, self.people, self.chance)
        self.reference.shown |= {one.id: one for one in device.shown}

    async def visits_everywhere(self, least: int = 0) -> None:
        """Up to four visits at each machine."""
        for device in self.devices:
            await self.visits(device, self.chance.randint(least, 4))

    async def settle(self, devices: Iterable[Device] | None = None) -> None:
        """Let these machines sync until all they ever showed is in the ledger and all is acknowledged."""
        chosen = list(self.devices if devices is None else devices)
        async with contextlib.AsyncExitStack() as stack:
            cores = [await stack.enter_async_context(device.online()) for device in chosen]
            deadline_s = time.monotonic() + SETTLE_S
            while not (all(map(_at_rest, cores)) and not await self._missing(chosen)):
                if time.monotonic() > deadline_s:
                    raise NotSettled(await self._why(chosen, cores))
                await asyncio.sleep(_LOOK_S)

    async def _missing(self, devices: list[Device]) -> list[Shown]:
        there = (await asyncio.to_thread(self.books)).weighings
        expected = self.reference.expected()
        return [
            one for device in devices for one in device.shown if one.id in expected and one.id not in there
        ]

    async def _why(self, devices: list[Device], cores: list[Core]) -> str:
        books, lost = self.books(), await self._missing(devices)
        marks = [(core.journal.epoch, core.journal.acked, core.journal.head) for core in cores]
        return f"after {SETTLE_S:.0f} s missing {lost}, held {dict(books.held)}, journals {marks}"

    def books(self) -> Books:
        """What the cloud's database says now."""
        return look(backups.server_of(self.stack.cloud).url)

    def back_up(self, kind: backups.Kind) -> Backup:
        """Take a backup of the cloud's database."""
        return backups.take(self.stack.cloud, kind, self.path("backup"))

    def restore(self, backup: Backup) -> None:
        """The cloud's database is that of the backup again."""
        backups.put_back(self.stack.cloud, backup)
        self.forget()

    def put_back(self, device: Device, image: Path, head: tuple[int, int]) -> None:
        """A machine's card is an older image again; `head` is (epoch, seq) of that moment."""
        before = device.name
        device.put_back(image)
        device.name = f"{before}'"
        self.reference.partings.append(Parting(device.site.name, *head, (before, device.name)))
        self.forget()

    def twin(self, device: Device, head: tuple[int, int]) -> Device:
        """Another machine with a copy of its card."""
        other = device.twin(f"{device.name}-twin")
        self.devices.append(other)
        self.reference.partings.append(Parting(device.site.name, *head, (device.name, other.name)))
        return other

    def forget(self) -> None:
        """What no card and no database holds any more cannot come back."""
        exists = journalled(self.devices) | set(self.books().weighings)
        self.reference.gone = set(self.reference.shown) - exists

    async def judge(self) -> list[str]:
        """Everything that is wrong, now that all is settled."""
        books = self.books()
        found = self.reference.judge(books)
        unrevoked = [one for one in self.revoked if one.serial not in books.revoked]
        found += [f"a revoked card is good again: {one.serial.hex()}" for one in unrevoked]
        engine = create_engine_for(backups.server_of(self.stack.cloud).url)
        try:
            async with engine.begin() as connection:
                report = await ledger.verify(connection)
        finally:
            await engine.dispose()
        found += [f"the ledger does not add up: {fault}" for fault in report.faults]
        broken = [device.name for device in self.devices if not verify_directory(device.data / "journal").ok]
        return found + [f"the chain of {name} is broken" for name in broken]


def _at_rest(core: Core) -> bool:
    """All is acknowledged, and the cloud has answered since we came online."""
    journal = core.journal
    return journal.acked == journal.head and (core.traffic.acks > 0 or journal.head == 0)


@contextlib.asynccontextmanager
async def open_world(key: str, devices: int, mqtt: float = 0.5) -> AsyncIterator[World]:
    """A world whose choices all follow from `key`; its processes end with it.

    Twins throw each other off the broker and wait half a minute each time: a low `mqtt` keeps them rare.
    """
    with tempfile.TemporaryDirectory(prefix="rl-res-") as folder:
        stack = Stack(Path(folder))
        with stack:
            world = World(stack, random.Random(key))
            for _ in range(devices):
                await asyncio.to_thread(world.add_device, mqtt)
            for _ in range(3):
                world.add_person()
            yield world
