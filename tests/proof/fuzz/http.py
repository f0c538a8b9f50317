"""Hostile HTTP: every route of the cloud's API and of the kiosk, with odd paths, queries, headers and bodies.

The real applications answer in this process, the API on a Postgres of its own. No answer is a 5xx, every
error is a problem with a code, and no request ends in an exception.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import structlog

from cloud.api.app import Parts, create_app
from cloud.api.tokens import TokenResolver
from cloud.composition import compose
from cloud.config import Settings
from cloud.ingest.postgres import PostgresStorage
from cloud.ingest.service import Ingest
from cloud.kit.authority import Authority
from cloud.kit.clock import SystemClock, utc
from cloud.kit.database import create_engine_for, migrate
from cloud.kit.embedded import EmbeddedPostgres
from cloud.kit.keyring import Keyring
from edge.kiosk.app import create_kiosk
from tests.edge.kiosk.gallery import idle
from tests.edge.kiosk.scripted import ScriptedStation
from tests.proof.fuzz.inputs import ODD_TEXTS, damaged, json_bytes, odd_json
from tests.proof.row import Part, Task, Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.proof.row import Tick

SIDES = ("api", "kiosk")
_SHARE = {"api": 20_000, "kiosk": 20_000}
_TICK = 50
_DEADLINE_S = 60.0
"""A request that takes longer hangs, however busy the machine."""
_KIOSK_ROUTES = (
    ("get", "/"), ("get", "/screen"), ("get", "/api/screen"), ("post", "/api/press"),
    ("post", "/api/language"), ("get", "/assets/{name}"), ("get", "/pictures/{name}"),
)  # fmt: skip
_VALID = (
    b'{"button":"confirm","value":null}', b'{"id":"ktm-patan-01","drop_point":"ktm-patan"}',
    b'{"alias":"Maya"}', b'{"code":"ktm-patan","name":"Patan"}', b'{"reason":"poison"}', b'{"language":"ne"}',
)  # fmt: skip
_USUAL = ("ktm-patan-01", "pet", "1", "0", "-1", "018f3b2c-0000-7000-8000-000000000001")
_TYPES = ("application/json", "application/cose", "text/plain", "application/json; charset=utf-16", "", "é")


def split(requests: int, seed: int) -> list[Task]:
    """Half the requests to each side."""
    tasks = []
    for side in SIDES:
        each = -(-requests // len(SIDES))
        for first in range(0, each, _SHARE[side]):
            last = min(first + _SHARE[side], each)
            work = {"target": side, "seed": seed, "first": first, "last": last}
            tasks.append(Task(last - first, work))
    return tasks


def run(task: Task, tick: Tick) -> Part:
    """Send this share of the requests, one after the other, to one running application."""
    work = task.work
    violations = asyncio.run(_send(work["target"], work["seed"], work["first"], work["last"], tick))
    return Part(task.count, violations)


def replay(key: str) -> Part:
    """All requests of the share up to the one at fault: what went before is part of the case."""
    side, seed, first, number = key.split(".")
    last = int(number) + 1
    found = asyncio.run(_send(side, int(seed), int(first), last, lambda _: None))
    return Part(last - int(first), found)


def _quiet() -> None:
    """Nobody reads a line for each of a million refusals."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


async def _send(side: str, seed: int, first: int, last: int, tick: Tick) -> list[Violation]:
    violations: list[Violation] = []
    _quiet()
    async with _served(side) as (client, routes):
        for number in range(first, last):
            key = f"{side}.{seed}.{first}.{number}"
            request = _request(random.Random(key), routes)
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    problem = _judge(await client.send(client.build_request(**request)))
            except (httpx.InvalidURL, UnicodeError):  # our own client will not send it
                problem = ""
            except Exception as error:  # noqa: BLE001 - which one it was is the finding
                problem = f"{type(error).__name__}: {error}"
            if problem:
                violations.append(Violation(key, f"{request['method']} {request['url']}: {problem}"[:400]))
            if number % _TICK == _TICK - 1:
                tick(_TICK)
    tick((last - first) % _TICK)
    return violations


def _judge(answer: httpx.Response) -> str:
    """What is wrong with an answer, nothing if all is well."""
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.text[:200]}"
    if answer.status_code < 400 or answer.request.method == "HEAD":
        return ""
    if "json" not in answer.headers.get("content-type", ""):
        return f"{answer.status_code} is no problem document: {answer.text[:100]}"
    return "" if answer.json().get("code") else f"{answer.status_code} carries no code: {answer.text[:100]}"


def _request(chance: random.Random, routes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    method, path = chance.choice(routes)
    if chance.random() < 0.05:
        method = chance.choice(("get", "post", "put", "patch", "delete", "head", "options", "BREW"))
    path = re.sub(r"\{[^}]*\}", lambda _: quote(_odd_text(chance), safe=""), path)
    if chance.random() < 0.02:
        path = "/" + quote(_odd_text(chance), safe="/")
    names = ("limit", "after", "cursor", "state", "gateway", "from", "to", "q")
    query = {chance.choice(names): _odd_text(chance) for _ in range(chance.randrange(3))}
    headers = {"content-type": chance.choice(_TYPES)}
    for name in ("idempotency-key", "if-match", "authorization", "accept-language", "traceparent", "cookie"):
        if chance.random() < 0.15:
            headers[name] = _odd_text(chance)[:2000]
    clean = {name: _header(value) for name, value in headers.items()}
    content = _body(chance) if method.lower() not in {"get", "head", "options"} else b""
    return {"method": method.upper(), "url": path, "params": query, "headers": clean, "content": content}


def _header(value: str) -> bytes:
    """As a header can carry it at all."""
    return value.encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b" ")


def _odd_text(chance: random.Random) -> str:
    if chance.random() < 0.5:
        return str(
            chance.choice(("ktm-patan-01", "pet", "1", "0", "-1", "018f3b2c-0000-7000-8000-000000000001"))
        )
    return chance.choice(ODD_TEXTS).encode("utf-8", "replace").decode()


def _body(chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return json_bytes(odd_json(chance))
        case 1:
            return chance.randbytes(
                chance.choice((0, 1, 30, 3_000, 200_000 if chance.random() < 0.02 else 9))
            )
        case 2:
            return damaged(chance, chance.choice(_VALID))
        case _:
            return chance.choice(_VALID)


@asynccontextmanager
async def _served(side: str) -> AsyncIterator[tuple[httpx.AsyncClient, Sequence[tuple[str, str]]]]:
    if side == "kiosk":
        app: Any = create_kiosk(ScriptedStation(idle()))
        async with _client(app, "http://127.0.0.1", {}) as client:
            yield client, _KIOSK_ROUTES
        return
    with (
        tempfile.TemporaryDirectory(prefix="rl-") as name,
        EmbeddedPostgres(Path(name), fsync=False) as server,
    ):
        migrate(server.url)
        async with _api(server.url, Path(name)) as served:
            yield served


@asynccontextmanager
async def _api(url: str, folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Sequence[tuple[str, str]]]]:
    settings = Settings(data_dir=folder)
    keyring = Keyring.load_or_create(folder / "keys")
    authority = Authority.load_or_create(settings.authority_dir, utc(SystemClock().wall_ms()))
    services = compose(settings, keyring, authority, SystemClock(), secrets.token_bytes)
    engine = create_engine_for(url)
    try:
        async with engine.begin() as connection:
            token = await services.tokens.make_first(connection)
            await services.materials.seed(connection)

        async def gateways_changed() -> None:
            """Nobody has to be told here."""

        resolver = TokenResolver(engine, services.tokens, services.citizens)
        clock = SystemClock()
        async with Ingest(PostgresStorage(url), keyring, clock, secrets.token_bytes) as ingest:
            app = create_app(
                Parts(
                    engine,
                    services.by_class(),
                    resolver,
                    clock.monotonic,
                    ingest,
                    gateways_changed,
                    lambda: None,
                )
            )
            routes = [(method, path) for path, item in app.openapi()["paths"].items() for method in item]
            async with _client(app, "http://cloud.test", {"authorization": f"Bearer {token}"}) as client:
                yield client, routes
    finally:
        await engine.dispose()


def _client(app: Any, base: str, headers: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)
