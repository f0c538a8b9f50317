"""What station tests stand on: a clock moved by hand, a plate to put loads on, cards, the real journal."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections import deque
from pathlib import Path
from typing import Literal

from edge.config import JournalSettings, ScaleSettings, StationSettings
from edge.devices.events import Scan
from edge.devices.readings import Reading, ScaleView, Status
from edge.directory import Directory
from edge.errors import JournalError
from edge.journal import AsyncJournal, Entry, Journal
from edge.station.ports import Surroundings
from edge.station.screen import Screen
from edge.station.station import Station
from protocol.bodies import Body
from protocol.cards import Card, Role, build_card
from protocol.cose import SigningKey
from protocol.documents import (
    CatalogBody,
    CloudKey,
    ConfigBody,
    DocumentBody,
    KeysBody,
    KeyUse,
    Material,
    Name,
    RevocationsBody,
    build_document,
)
from protocol.records import ClockQuality

GATEWAY = "ktm-drop-01"
CARD_KEY = SigningKey.from_seed(b"c" * 32)
DOCUMENT_KEY = SigningKey.from_seed(b"d" * 32)
ROOT_KEY = SigningKey.from_seed(b"r" * 32)
FORGER_KEY = SigningKey.from_seed(b"f" * 32)
BOOT_ID = "5f0c6a3e-0000-4000-8000-000000000001"
NOW_MS = 1_780_000_000_000
DIVISION_G = 5


class HandClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall_offset_ms = NOW_MS
        self.trust = ClockQuality.SYNCED

    def monotonic(self) -> float:
        return self.now_s

    def mono_ms(self) -> int:
        return round(self.now_s * 1000)

    def wall_ms(self) -> int:
        return self.wall_offset_ms + self.mono_ms()

    def quality(self) -> ClockQuality:
        return self.trust

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def reading(status: Status, gross_g: int | None) -> Reading:
    stable = {Status.STABLE: True, Status.MOTION: False}.get(status)
    return Reading(status, gross_g, None, None, stable, "kg", DIVISION_G, f"{status} {gross_g}".encode())


def stable(gross_g: int) -> ScaleView:
    zero = abs(gross_g) * 2 <= DIVISION_G
    return ScaleView("ok", reading(Status.STABLE, gross_g), gross_g, zero, 0.05, "flag")


def moving(gross_g: int) -> ScaleView:
    return ScaleView("ok", reading(Status.MOTION, gross_g), None, False, 0.05, "flag")


def refused(status: Status) -> ScaleView:
    return ScaleView("ok", reading(status, None), None, False, 0.05, "flag")


def unwell(health: Literal["stale", "absent", "fault"], gross_g: int) -> ScaleView:
    """A scale that is not well, with the last reading it gave still there to be misused."""
    return ScaleView(health, reading(Status.STABLE, gross_g), None, False, 2.5, "flag", "say why")


ZERO = stable(0)


def card_text(
    name: str, role: Role = Role.CITIZEN, *, issue: int = 1, key: SigningKey = CARD_KEY, days: int = 365
) -> str:
    serial = name.encode().ljust(8, b".")[:8] + bytes([issue])
    expires_s = NOW_MS // 1000 + 1000 + days * 86_400
    return build_card(Card(serial, role, name, expires_s), key)


def card(text: str) -> Scan:
    return Scan("card", text, text.encode())


def tag(text: str) -> Scan:
    return Scan("tag", text, text.encode())


def bin_code(code: str) -> Scan:
    return Scan("bin", f"RLB1:{code}", code.encode())


MATERIALS = (
    Material("pet", "PET bottles", "पेट बोतल", "pet", 50, 1),
    Material("paper", "Paper", "कागज", "paper", 12, 1),
)


FRESH_S = 30 * 86_400


def published(directory: Directory, version: int, *, revoked: bytes = b"") -> None:
    """Let the cloud publish its documents, signed as they are in the field."""
    documents: dict[Name, DocumentBody] = {
        Name.KEYS: KeysBody([_announced(KeyUse.DOCUMENT, DOCUMENT_KEY), _announced(KeyUse.CARD, CARD_KEY)]),
        Name.CATALOG: CatalogBody(list(MATERIALS), FRESH_S),
        Name.REVOCATIONS: RevocationsBody(revoked),
        Name.CONFIG: ConfigBody("ktm-01", "Patan Durbar"),
    }
    for name, body in documents.items():
        key = ROOT_KEY if name is Name.KEYS else DOCUMENT_KEY
        directory.apply(name, build_document(name, 1, version, NOW_MS, body, key))


def _announced(use: KeyUse, key: SigningKey) -> CloudKey:
    return CloudKey(use, key.public, NOW_MS // 1000, NOW_MS // 1000 + 400 * 86_400)


class UnreliableDisk(AsyncJournal):
    """The real journal on a disk with planned faults, one per append.

    `refused`: nothing was saved and the journal knows. `lost`: nothing was saved, but nobody can tell.
    `saved`: it was saved, but nobody can tell.
    """

    plan: deque[Literal["refused", "lost", "saved"]]

    async def append(self, *bodies: Body, epoch: int | None = None) -> list[Entry]:
        match self.plan.popleft() if self.plan else None:
            case "refused":
                raise JournalError("the disk refused", code="journal.failed")
            case "lost":
                raise JournalError("nobody can tell", code="journal.unsure")
            case "saved":
                await super().append(*bodies, epoch=epoch)
                raise JournalError("nobody can tell", code="journal.unsure")
            case None:
                return await super().append(*bodies, epoch=epoch)


class Site:
    """A drop point: one journal on disk, one station that can crash and start again, one plate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.clock = HandClock()
        self.directory = Directory.open(folder / "directory.db", ROOT_KEY.public, self.clock, GATEWAY)
        published(self.directory, 1)
        self.around = Surroundings()
        self.intake: str | None = None
        self.view = ZERO
        self.settings = StationSettings(preset_tares_g=(500,))
        self.boot_id = BOOT_ID
        self._random = itertools.count(1)
        self.journal: UnreliableDisk
        self.station: Station

    def secret(self, length: int) -> bytes:
        number = next(self._random) * 0x9E3779B97F4A7C15F39CC0605CEDC834
        return (number % (1 << 8 * length)).to_bytes(length, "big")

    async def start(self) -> Station:
        core = Journal.open(
            self.folder / "journal", GATEWAY, self.clock, self.secret, JournalSettings(), boot_id=self.boot_id
        )
        self.journal = UnreliableDisk(core)
        self.journal.plan = deque()
        self.station = Station(
            journal=self.journal,
            directory=self.directory,
            scale=lambda: self.view,
            clock=self.clock,
            random=self.secret,
            settings=self.settings,
            scale_settings=ScaleSettings(dialect="mt-sics", port="/dev/null", serial="B123"),
            intake=lambda: self.intake,
            surroundings=lambda: self.around,
        )
        await self.tick()  # reads the journal back
        await self.tick()  # looks at the plate
        return self.station

    def shown(self) -> Screen:
        """What the kiosk shows now."""
        return self.station.screen

    async def tick(self, seconds: float = 0.1) -> None:
        """Let time pass in one step and let the station look around."""
        self.clock.now_s += seconds
        self.station.tick()
        await self.station.settle()

    async def see(self, view: ScaleView) -> None:
        self.view = view
        await self.tick()

    async def stop(self) -> None:
        await self.station.settle()
        await self.journal.close()

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        self.directory.close()

    async def crash(self) -> Station:
        """Lose everything that is not in the journal, and start again."""
        await self.stop()
        return await self.start()

    async def cut_power(self, image: Path) -> Station:
        """Start again from what the files held at this instant; whatever ran is lost."""
        await asyncio.to_thread(shutil.copytree, self.folder / "journal", image / "journal")
        running, lost = self.station, self.journal
        await running.settle()
        await lost.close()
        self.folder = image
        return await self.start()

    async def bodies(self, *kinds: type[Body]) -> list[Body]:
        entries = await self.journal.entries(1, self.journal.head)
        found = [entry.record.body for entry in entries]
        return [body for body in found if not kinds or isinstance(body, kinds)]
