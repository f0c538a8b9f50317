"""Gateways over HTTP: the operator's side, and the claim that a new gateway makes."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.gateways.models import Gateway
from cloud.gateways.schemas import (
    AccessShown,
    BrokerShown,
    BundleShown,
    ClaimGiven,
    CodeShown,
    GatewayGiven,
    GatewayShown,
)
from cloud.gateways.service import Gateways
from cloud.kit.web.access import Principal, allow
from cloud.kit.web.limits import RateLimit
from cloud.kit.web.pages import Cursor, Limit, Page, decode_cursor, page_of
from cloud.kit.web.problems import responses
from cloud.kit.web.services import service
from cloud.kit.web.work import Reading, Writing
from protocol.bundle import Access, Broker, read_bundle

router = APIRouter(prefix="/v1/gateways", tags=["gateways"])
Service = Annotated[Gateways, Depends(service(Gateways))]
Writer = Annotated[Principal, allow("gateways:write")]


@router.post("/claim", response_model=AccessShown, responses=responses(403, 409, 429))
async def claim_gateway(given: ClaimGiven, request: Request, gateways: Service, work: Writing) -> Response:
    """Claim a gateway with its one-time code. Open to all, limited per address.

    The gateway sends the public key that was born on it; the answer holds all it needs to begin.
    """
    limit: RateLimit = request.app.state.claim_limit
    headers = limit.take(request.client.host if request.client else "unknown")

    async def act(connection: AsyncConnection) -> AccessShown:
        offer = (given.public_key, given.csr, given.enrolment)
        return _access(await gateways.claim(connection, given.code, *offer))

    answer = await work.do("claim", given, act)
    answer.headers.update(headers)
    return answer


@router.post("", status_code=201, response_model=CodeShown, responses=responses(401, 403, 404, 409))
async def create_gateway(
    given: GatewayGiven, gateways: Service, work: Writing, principal: Writer
) -> Response:
    """Create a gateway at a drop point and get its one-time code, shown this once."""

    async def act(connection: AsyncConnection) -> CodeShown:
        code, expires_at = await gateways.create(connection, given.id, given.drop_point)
        return CodeShown(gateway=given.id, code=code, expires_at=expires_at)

    return await work.do(str(principal), given, act, 201)


@router.get("", responses=responses(401, 403), dependencies=[allow("gateways:read")])
async def list_gateways(
    gateways: Service, connection: Reading, limit: Limit = 50, cursor: Cursor = None
) -> Page[GatewayShown]:
    """Gateways with their silence and backlog, in the order of their ids."""
    (after,) = decode_cursor(cursor, tuple[str]) or ("",)
    rows = [_shown(gateways, row) for row in await gateways.page(connection, after, limit)]
    return page_of(rows, limit, lambda row: (row.id,))


@router.get("/{gateway}", responses=responses(401, 403, 404), dependencies=[allow("gateways:read")])
async def get_gateway(gateway: str, gateways: Service, connection: Reading) -> GatewayShown:
    """One gateway."""
    return _shown(gateways, await gateways.find(connection, gateway))


@router.post(
    "/{gateway}/codes", status_code=201, response_model=CodeShown, responses=responses(401, 403, 404)
)
async def new_gateway_code(gateway: str, gateways: Service, work: Writing, principal: Writer) -> Response:
    """A new one-time code to claim this gateway with; an older one is void."""

    async def act(connection: AsyncConnection) -> CodeShown:
        code, expires_at = await gateways.new_code(connection, gateway)
        return CodeShown(gateway=gateway, code=code, expires_at=expires_at)

    return await work.do(str(principal), None, act, 201)


@router.post(
    "/{gateway}/bundle", status_code=201, response_model=BundleShown, responses=responses(401, 403, 404)
)
async def bundle_gateway(gateway: str, gateways: Service, work: Writing, principal: Writer) -> Response:
    """A bundle file for `reloop-edge claim --bundle`; earlier codes become void."""

    async def act(connection: AsyncConnection) -> BundleShown:
        bundle = read_bundle(await gateways.bundle(connection, gateway))
        return BundleShown(
            reloop_bundle=bundle.reloop_bundle, code=bundle.code, access=_access(bundle.access)
        )

    return await work.do(str(principal), None, act, 201)


@router.post("/{gateway}/revocation", response_model=GatewayShown, responses=responses(401, 403, 404))
async def revoke_gateway(
    gateway: str, request: Request, gateways: Service, work: Writing, principal: Writer
) -> Response:
    """Void the gateway's keys and certificates. What it delivered before stays credited."""

    async def act(connection: AsyncConnection) -> GatewayShown:
        return _shown(gateways, await gateways.revoke(connection, gateway))

    answer = await work.do(str(principal), None, act)
    await request.app.state.gateways_changed()
    return answer


@router.delete("/{gateway}/revocation", response_model=GatewayShown, responses=responses(401, 403, 404))
async def reinstate_gateway(
    gateway: str, request: Request, gateways: Service, work: Writing, principal: Writer
) -> Response:
    """Trust the gateway's keys again, and what they have signed since; it gets a new certificate."""

    async def act(connection: AsyncConnection) -> GatewayShown:
        return _shown(gateways, await gateways.reinstate(connection, gateway))

    answer = await work.do(str(principal), None, act)
    await request.app.state.gateways_changed()
    return answer


def _shown(gateways: Gateways, gateway: Gateway) -> GatewayShown:
    heard = max((at for at in (gateway.last_seen_at, gateway.acked_at) if at is not None), default=None)
    silence_s = None if heard is None else max(0.0, (gateways.now() - heard).total_seconds())
    fields = {name: getattr(gateway, name) for name in gateway.__slots__}
    return GatewayShown(**fields, silence_s=silence_s, backlog=_backlog(gateway.birth))


def _backlog(birth: dict[str, Any] | None) -> int | None:
    match birth:
        case {"head": int(head), **rest}:
            acked = rest.get("acked", 0)
            return max(0, head - acked) if isinstance(acked, int) else None
        case _:
            return None


def _access(access: Access) -> AccessShown:
    return AccessShown(
        gateway=access.gateway,
        root_public_key=base64.b64encode(access.root_public_key).decode(),
        https_url=access.https_url,
        mqtt=None if access.mqtt is None else _broker(access.mqtt),
        documents=[base64.b64encode(data).decode() for data in access.documents],
    )


def _broker(mqtt: Broker) -> BrokerShown:
    certificate = base64.b64encode(mqtt.root_certificate).decode()
    return BrokerShown(
        host=mqtt.host, port=mqtt.port, server_name=mqtt.server_name, root_certificate=certificate
    )
