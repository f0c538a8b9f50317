"""Ingest over the model instead of Postgres, with a gateway it knows and a catalogue that pays."""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloud.ingest.service import Ingest
from cloud.kit.clock import SystemClock
from cloud.kit.keyring import Keyring
from protocol.documents import CatalogBody, Material, Name, build_document, document_digest
from tests.cloud.ingest.gateway import RATES, WALL_MS, Gateway, serial_of
from tests.proof.simulation.store import Model, at_once

if TYPE_CHECKING:
    from pathlib import Path

PSEUDONYM = serial_of(1)[:8]
_DAY_S = 86_400


class Hurried(SystemClock):
    """Waits for nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class Bench:
    """A model, a gateway it knows, and a catalogue signed by `keyring`."""

    model: Model
    gateway: Gateway
    keyring: Keyring

    def ingest(self) -> Ingest:
        return Ingest(self.model, self.keyring, Hurried(), secrets.token_bytes, aside=at_once)


def catalog(keyring: Keyring, version: int = 1) -> tuple[bytes, bytes, datetime]:
    """Digest, document and time of issue of a catalogue: from a day ago, good for a month."""
    materials = [Material(code, code, code, code, rate, version) for code, rate in RATES.items()]
    body = CatalogBody(materials, 30 * _DAY_S)
    issued_ms = WALL_MS - 1000 * _DAY_S + version
    data = build_document(Name.CATALOG, 1, version, issued_ms, body, keyring.document)
    return document_digest(data), data, datetime.fromtimestamp(issued_ms / 1000, UTC)


def open_bench(folder: Path, seed: int) -> Bench:
    """With keys in `folder`; the model's own choices come from `seed`."""
    keyring = Keyring.load_or_create(folder / "keys")
    model = Model(lambda _: asyncio.sleep(0), random.Random(seed))
    digest, data, issued_at = catalog(keyring)
    model.add_catalog(digest, data, issued_at)
    gateway = Gateway("ktm-drop-01", digest)
    model.add_gateway(gateway.id, gateway.key.key_id, gateway.key.public)
    return Bench(model, gateway, keyring)
