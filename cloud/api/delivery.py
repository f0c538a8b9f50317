"""The HTTPS road: gateways post frames and enrolments here, and get the ack of the commit as the answer."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from cloud.errors import CloudError, ForbiddenError, InvalidError, UnavailableError
from cloud.kit.web.problems import responses
from protocol.frames import FRAME_BYTES_MAX

router = APIRouter(prefix="/v1/gateways", tags=["gateways"])
MEDIA_TYPE = "application/cose"
_ROAD = "https"
_BINARY: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_REQUEST = {"requestBody": {"required": True, "content": _BINARY}}
_NOT_SERVED = frozenset({"ingest.busy", "ingest.failed"})
"""No fault of the sender's."""
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": _BINARY}}


class Reply(Protocol):
    """What came of a delivery: a signed ack, or None with the code of a refusal (None: an enrolment)."""

    @property
    def ack(self) -> bytes | None:
        """The signed ack, if there is one."""

    @property
    def code(self) -> str | None:
        """Why it was refused, None if it was not."""


class Intake(Protocol):
    """Takes deliveries in; returns after the commit."""

    async def submit(self, data: bytes, road: str, gateway_hint: str | None) -> Reply:
        """Take in a frame or enrolment."""


class DeliveryRefusedError(ForbiddenError):
    """Nobody we know (any more) signed this."""

    code = "delivery.refused"


class DeliveryInvalidError(InvalidError):
    """Signed bytes that cannot be used."""

    code = "delivery.invalid"


class NoIntakeError(UnavailableError):
    """This process takes no deliveries in."""

    code = "delivery.not_here"


def intake_of(request: Request) -> Intake:
    """The app's intake. Raises NoIntakeError where there is none."""
    intake: Intake | None = request.app.state.intake
    if intake is None:
        raise NoIntakeError(
            "this process takes no deliveries in; send them to one that runs `ingest` or `all`"
        )
    return intake


@router.post(
    "/{gateway}/frames",
    response_class=Response,
    responses={**responses(403, 503), **_ANSWERS},
    openapi_extra=_REQUEST,
)
async def deliver_frame(gateway: str, request: Request) -> Response:
    """Deliver a frame; the answer is the signed ack of its commit.

    The signature says who sends it, so no token is needed. An enrolment may be sent here as well: its
    answer is empty.
    """
    return await _deliver(gateway, request)


@router.post(
    "/{gateway}/enrolment",
    response_class=Response,
    responses={**responses(403, 503), **_ANSWERS},
    openapi_extra=_REQUEST,
)
async def deliver_enrolment(gateway: str, request: Request) -> Response:
    """Deliver the enrolment of a key that was born on a gateway with a bundle. The answer is empty."""
    return await _deliver(gateway, request)


async def _deliver(gateway: str, request: Request) -> Response:
    data = await request.body()
    if len(data) > FRAME_BYTES_MAX:
        raise HTTPException(413, f"an envelope has at most {FRAME_BYTES_MAX} bytes; send fewer records")
    reply = await intake_of(request).submit(data, _ROAD, gateway)
    if reply.ack is None and reply.code is not None:
        raise _refusal(reply.code)
    return Response(reply.ack or b"", media_type=MEDIA_TYPE)


def _refusal(code: str) -> CloudError:
    if code in _NOT_SERVED:
        return UnavailableError("the cloud could not take this in now; keep it and send it again", code=code)
    family = code.partition(".")[0]
    if family in {"frame", "enrolment", "topic", "record"} or code == "envelope.malformed":
        return DeliveryInvalidError("the envelope cannot be used; it was not taken in", code=code)
    return DeliveryRefusedError(
        "the cloud knows no valid key for this; keep the data, and ask the operator about this gateway",
        code=code,
    )
