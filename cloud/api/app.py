"""The app factory: modules' routes, problems, middleware. Collaborators come in, nothing is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fastapi import FastAPI

from cloud.alarms import endpoints as alarms
from cloud.api import delivery, health, ledger, me, retry
from cloud.api.metrics import Metrics
from cloud.api.middleware import BodyLimit, Tracing
from cloud.api.openapi import describe
from cloud.citizens import endpoints as citizens
from cloud.custody import endpoints as custody
from cloud.documents import endpoints as documents
from cloud.drop_points import endpoints as drop_points
from cloud.errors import ConfigError
from cloud.gateways import endpoints as gateways
from cloud.kit.web.limits import RateLimit
from cloud.kit.web.problems import install_problems
from cloud.materials import endpoints as materials
from cloud.quarantine import endpoints as quarantine
from cloud.weighings import endpoints as weighings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi import APIRouter
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cloud.api.delivery import Intake
    from cloud.kit.web.access import Principal

ROUTERS: dict[str, APIRouter] = {
    "gateways": gateways.router,
    "documents": documents.router,
    "drop_points": drop_points.router,
    "materials": materials.router,
    "citizens": citizens.router,
    "weighings": weighings.router,
    "custody": custody.router,
    "quarantine": quarantine.router,
    "alarms": alarms.router,
    "ingest": delivery.router,
    "retry": retry.router,
    "me": me.router,
    "ledger": ledger.router,
}
"""Every module that can be served, alone or with others."""
CLAIM_BURST, CLAIM_PERIOD_S = 60, 60.0  # a code has 130 bits; a school may claim its sites in one go
GUEST_CLAIM_BURST, GUEST_CLAIM_PERIOD_S = 10, 60.0


class Resolver(Protocol):
    """Turns a bearer token into whoever it stands for."""

    async def __call__(self, token: str) -> Principal | None:
        """None for a token that is nobody's."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an app is made of. `intake` takes deliveries in; None where this process serves none.

    `gateways_changed` is awaited after a commit that changed who may speak to the broker;
    `broker_connected` is None where this process does not speak MQTT.
    """

    engine: AsyncEngine
    services: Mapping[type, object]
    resolve_token: Resolver
    monotonic: Callable[[], float]
    intake: Intake | None
    gateways_changed: Callable[[], Awaitable[object]]
    broker_connected: Callable[[], bool | None]
    modules: frozenset[str] = frozenset(ROUTERS)
    metrics: Metrics = field(default_factory=Metrics)


def create_app(parts: Parts) -> FastAPI:
    """An app that serves these parts. Raises ConfigError for a module that does not exist."""
    app = bare_app(parts.modules)
    _fill_state(app, parts)
    install_problems(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Tracing, metrics=parts.metrics, monotonic=parts.monotonic)
    return app


def bare_app(modules: frozenset[str] = frozenset(ROUTERS)) -> FastAPI:
    """Routes and their description, with nothing behind them."""
    unknown = modules - ROUTERS.keys()
    if unknown:
        raise ConfigError(f"no module {', '.join(sorted(unknown))}; there are {', '.join(ROUTERS)}")
    app = FastAPI(title="ReLoop", version="1", redoc_url=None, separate_input_output_schemas=False)
    app.include_router(health.router)
    for name, router in ROUTERS.items():
        if name in modules:
            app.include_router(router)
    describe(app)
    return app


def _fill_state(app: FastAPI, parts: Parts) -> None:
    app.state.engine = parts.engine
    app.state.services = parts.services
    app.state.resolve_token = parts.resolve_token
    app.state.intake = parts.intake
    app.state.gateways_changed = parts.gateways_changed
    app.state.metrics = parts.metrics
    app.state.probes = health.Probes(parts.engine, parts.broker_connected, parts.monotonic, parts.monotonic())
    app.state.claim_limit = RateLimit("claim", CLAIM_BURST, CLAIM_PERIOD_S, parts.monotonic)
    app.state.guest_claim_limit = RateLimit(
        "guest-claim", GUEST_CLAIM_BURST, GUEST_CLAIM_PERIOD_S, parts.monotonic
    )
