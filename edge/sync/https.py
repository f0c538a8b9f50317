"""The HTTPS road: one request a frame, the ack is its answer.

Any answer but ours counts as silence: a captive portal's 200 is not an ack (it has no signature).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from edge.sync.roads import (
    AckArrived,
    DocumentArrived,
    Downlink,
    ManifestArrived,
    RoadError,
    RoadName,
    RoadRefused,
)
from protocol.documents import DOCUMENT_BYTES_MAX, Name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from protocol.status import Status

_ENVELOPE_TYPE = "application/cose"
_ANSWERS_MAX = 64
_SEND_BUFFER_BYTES = 16 * 1024  # small, so that a write that returns means the network took it
_REFUSED = {401, 403, 404, 409, 410, 413, 415, 422}


class HttpsLink:
    """A client that keeps its connection alive."""

    def __init__(self, client: httpx.AsyncClient, gateway: str) -> None:
        self._client = client
        self._gateway = gateway
        self._answers: asyncio.Queue[Downlink] = asyncio.Queue(_ANSWERS_MAX)

    async def send(self, envelope: bytes) -> None:
        """Post a frame or enrolment; its ack comes through `receive`. Raises RoadError, RoadRefused."""
        response = await self._request("POST", "frames", envelope)
        if response.content:
            await self._answers.put(AckArrived(response.content))

    async def announce(self, status: Status) -> None:  # noqa: ARG002 - requests are their own birth
        """Fetch the manifest: on this road we ask, nobody tells."""
        await self._get(Name.MANIFEST)

    async def fetch(self, names: list[str], status: Status) -> None:  # noqa: ARG002 - names are enough
        """Get documents. Raises RoadError, RoadRefused."""
        for name in names:
            await self._get(name)

    async def _get(self, name: str) -> None:
        response = await self._request("GET", f"documents/{name}")
        if len(response.content) > DOCUMENT_BYTES_MAX:
            raise RoadError(f"document {name} is over the limit")
        manifest = name == Name.MANIFEST
        await self._answers.put(
            ManifestArrived(response.content) if manifest else DocumentArrived(name, response.content)
        )

    async def receive(self) -> Downlink:
        """The next answer."""
        return await self._answers.get()

    def unsent_bytes(self) -> int:
        """Nothing: `send` returns only with the answer, and watches its own progress."""
        return 0

    async def _request(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        url = f"/v1/gateways/{self._gateway}/{path}"
        headers = {"content-type": _ENVELOPE_TYPE} if content is not None else {}
        try:
            response = await self._client.request(method, url, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RoadError(f"{method} {path} failed: {type(error).__name__} {error}") from error
        if response.status_code in _REFUSED:
            raise RoadRefused(
                f"{method} {path} was refused with {response.status_code}: {response.text[:200]}"
            )
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code != httpx.codes.OK or kind != _ENVELOPE_TYPE:
            raise RoadError(
                f"{method} {path} was answered with {response.status_code} {kind}, not by the cloud"
            )
        return response


class HttpsRoad:
    """The way past the broker."""

    name = RoadName.HTTPS

    def __init__(
        self, base_url: str, gateway: str, *, timeout_s: float = 3.0, answer_s: float = 10.0
    ) -> None:
        self._base_url = base_url
        self._gateway = gateway
        # Connect, write and pool are bounds without progress; an answer may take a commit longer.
        self._timeout = httpx.Timeout(timeout_s, read=answer_s)

    @asynccontextmanager
    async def link(self, will: Status) -> AsyncIterator[HttpsLink]:  # noqa: ARG002 - nobody speaks for us here
        """Hand out a client; connecting happens with the first request."""
        transport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=2),
            socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)],
        )
        async with httpx.AsyncClient(
            base_url=self._base_url, transport=transport, timeout=self._timeout, follow_redirects=False
        ) as client:
            yield HttpsLink(client, self._gateway)
