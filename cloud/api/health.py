"""Is it alive, is it ready, how is it: three questions with three answers.

`/livez` asks nobody, so that a slow database never gets a healthy process killed. `/readyz` asks the
database. `/health` describes everything for people.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from cloud.errors import UnavailableError
from cloud.kit.web.problems import responses

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

_PROBE_DEADLINE_S = 2.0

State = Literal["up", "down", "absent"]


class Dependency(BaseModel):
    """How a thing we depend on is doing."""

    status: State
    detail: str = Field(examples=["PostgreSQL 18.0"])


class Memory(BaseModel):
    """Memory of this process."""

    resident_bytes: int
    resident_bytes_max: int


class Health(BaseModel):
    """Everything at one glance. `degraded`: weighings are taken in later, nothing is lost."""

    status: Literal["ok", "degraded"]
    timestamp: datetime
    uptime_s: float
    memory: Memory
    database: Dependency
    broker: Dependency
    redis: Dependency
    external_services: dict[str, Dependency] = Field(serialization_alias="externalServices")


class Alive(BaseModel):
    """This process answers."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True, slots=True)
class Probes:
    """What health asks: the database, and whether the ingest worker holds a broker connection."""

    database: AsyncEngine
    broker_connected: Callable[[], bool | None]
    monotonic: Callable[[], float]
    begun_s: float

    async def database_state(self) -> Dependency:
        """Ask the database for its version, within two seconds."""
        try:
            async with asyncio.timeout(_PROBE_DEADLINE_S), self.database.begin() as connection:
                version = (await connection.execute(text("show server_version"))).scalar_one()
        except Exception as error:  # noqa: BLE001 - a probe reports whatever failed, it does not fail itself
            return Dependency(status="down", detail=f"{type(error).__name__}: {error}"[:200])
        return Dependency(status="up", detail=f"PostgreSQL {version}")

    def broker_state(self) -> Dependency:
        """Whether this process holds a connection to the MQTT broker."""
        match self.broker_connected():
            case None:
                return Dependency(status="absent", detail="this process does not speak MQTT")
            case True:
                return Dependency(status="up", detail="connected")
            case False:
                return Dependency(status="down", detail="not connected; gateways may use HTTPS meanwhile")


router = APIRouter(tags=["health"])


def _probes(request: Request) -> Probes:
    probes: Probes = request.app.state.probes
    return probes


@router.get("/livez")
async def livez() -> Alive:
    """Whether this process answers at all."""
    return Alive()


@router.get("/readyz", responses=responses(503))
async def readyz(request: Request) -> Alive:
    """Whether requests can be served now: the database answers."""
    state = await _probes(request).database_state()
    if state.status != "up":
        raise UnavailableError(f"the database does not answer ({state.detail})", code="database.unavailable")
    return Alive()


@router.get("/health")
async def health(request: Request) -> Health:
    """Status, uptime, memory and dependencies."""
    probes = _probes(request)
    database, broker = await probes.database_state(), probes.broker_state()
    return Health(
        status="degraded" if "down" in (database.status, broker.status) else "ok",
        timestamp=datetime.now(UTC),
        uptime_s=round(probes.monotonic() - probes.begun_s, 3),
        memory=_memory(),
        database=database,
        broker=broker,
        redis=Dependency(status="absent", detail="no cache is configured"),
        external_services={},
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Prometheus figures: requests, silence, backlog and ack age per gateway, ingest, quarantine, alarms."""
    from cloud.api.metrics import CONTENT_TYPE, Metrics

    figures: Metrics = request.app.state.metrics
    async with asyncio.timeout(_PROBE_DEADLINE_S), _probes(request).database.begin() as connection:
        await figures.refresh(connection)
    figures.count_ingest(counters_of(request.app.state.intake))
    return Response(figures.render(), media_type=CONTENT_TYPE)


def counters_of(intake: object) -> dict[str, float]:
    """The figures that an intake counts, if there is one and it counts."""
    counters = getattr(intake, "counters", None)
    if not is_dataclass(counters):
        return {}
    return {field.name: float(getattr(counters, field.name)) for field in fields(counters)}


def _memory() -> Memory:
    with open("/proc/self/statm", encoding="ascii") as file:
        resident_pages = int(file.read().split()[1])
    highest_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Memory(
        resident_bytes=resident_pages * resource.getpagesize(), resident_bytes_max=highest_kib * 1024
    )
