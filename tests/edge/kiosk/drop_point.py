"""A whole drop point for browser tests: the real agent as a process, simulated devices on PTYs, no cloud.

The gateway is claimed with a bundle, as a site that has never been online is.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from deploy.local.processes import free_port
from firmware_sim.scale import SimulatedScale
from firmware_sim.scanner import SimulatedScanner
from protocol.bundle import Access, write_bundle
from protocol.cards import Card, Role, build_card
from protocol.codes import new_gateway_code
from protocol.cose import SigningKey
from protocol.documents import (
    CatalogBody,
    CloudKey,
    ConfigBody,
    KeysBody,
    KeyUse,
    Material,
    RevocationsBody,
    build_document,
)

if TYPE_CHECKING:
    from pathlib import Path

YEAR_S = 365 * 86_400
STOP_S_MAX = 15.0
START_S_MAX = 30.0
MATERIALS = [
    Material("PET", "PET bottles", "पेट बोतल", "pet", 25, 1),
    Material("CAN", "Aluminium cans", "एल्युमिनियम क्यान", "can", 120, 1),
    Material("GLS", "Glass", "सिसा", "glass", 5, 1),
    Material("PAP", "Paper", "कागज", "paper", 12, 1),
    Material("CRD", "Cardboard", "कार्टुन", "cardboard", 10, 1),
    Material("FER", "Scrap metal", "फलाम", "metal", 35, 1),
]
CONFIG = """
data_dir = "{folder}/data"

[gateway]
language = "ne"

[scale]
dialect = "mt-sics"
port = "{scale}"

[[scanners]]
port = "{scanner}"

[kiosk]
port = {port}

[cloud]
roads = []

[journal]
ballast_bytes = 0
free_bytes_min = 0

[health]
port = 0

[station]
preset_tares_g = [150, 300]
receipt_timeout_s = 120
"""


class Cloud:
    """Signs what a cloud would: documents, bundles and cards."""

    def __init__(self) -> None:
        self._keys = {
            use: SigningKey.from_seed(secrets.token_bytes(32)) for use in ("root", "document", "card")
        }

    def bundle(self, gateway: str) -> bytes:
        documents = [
            self._document("keys", KeysBody([self._key(KeyUse.DOCUMENT), self._key(KeyUse.CARD)]), "root"),
            self._document("catalog", CatalogBody(MATERIALS, YEAR_S), "document"),
            self._document("revocations", RevocationsBody(b""), "document"),
            self._document("config", ConfigBody("ktm-014", "असन टोल, वडा २५"), "document"),
        ]
        access = Access(gateway, self._keys["root"].public, "", None, documents)
        return write_bundle(new_gateway_code(secrets.token_bytes), access)

    def card(self, alias: str, role: Role = Role.CITIZEN) -> str:
        serial = secrets.token_bytes(9)
        return build_card(Card(serial, role, alias, int(time.time()) + YEAR_S), self._keys["card"])

    def _key(self, use: KeyUse) -> CloudKey:
        return CloudKey(use, self._keys[use].public, 0, int(time.time()) + YEAR_S)

    def _document(self, name: str, body: Any, key: str) -> bytes:
        return build_document(name, 1, 1, int(time.time() * 1000), body, self._keys[key])


class DropPoint:
    """Scale and scanner plugged in, the agent as an own process. Async context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = Cloud()
        self.scale = SimulatedScale("mt-sics", link=folder / "scale", seed=7)
        self.scanner = SimulatedScanner(terminator="crlf", aim=True, link=folder / "scanner")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / "edge.toml"
        self._agent: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        text = CONFIG.format(
            folder=self.folder, scale=self.scale.link, scanner=self.scanner.link, port=self.port
        )
        self._config.write_text(text)
        await self.scale.__aenter__()
        await self.scanner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
        await self.scanner.__aexit__()
        await self.scale.__aexit__()

    async def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = await asyncio.create_subprocess_exec(
                *self._command("run"), stdout=log, stderr=log, env=_environment()
            )

    async def answers(self) -> None:
        """Wait until the kiosk listens."""
        async with asyncio.timeout(START_S_MAX):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self._agent is not None
                    assert self._agent.returncode is None, self.log()
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    async def stop(self) -> None:
        """Ask for a clean stop; it must come in time and with exit code 0."""
        agent, self._agent = self._agent, None
        if agent is not None:
            with suppress(ProcessLookupError):
                agent.terminate()
            assert await asyncio.wait_for(agent.wait(), STOP_S_MAX) == 0, self.log()

    async def kill(self) -> None:
        """Cut the power of the agent."""
        agent, self._agent = self._agent, None
        assert agent is not None
        agent.kill()
        await agent.wait()

    async def claim(self) -> None:
        bundle = self.folder / "site.bundle"
        bundle.write_bytes(self.cloud.bundle("ktm-drop-014"))
        await self._run("claim", "--bundle", str(bundle))

    async def records(self, kind: str) -> list[dict[str, Any]]:
        """The journal's records of one kind, by the command that operators use."""
        lines = (await self._run("journal", "export", "--jsonl")).splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def journal_bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.folder / "data").rglob("*") if path.is_file())

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        out, problem = await asyncio.wait_for(process.communicate(), STOP_S_MAX)
        assert process.returncode == 0, problem.decode()
        return out.decode()

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "edge", *arguments, "--config", str(self._config))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RELOOP_")}
