"""The HTTPS road: one request a frame, the ack is its answer.

Any answer but ours counts as silence: a captive portal's 200 is not an ack (it has no signature).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from edge.sync.progress import moved_bytes
from edge.sync.roads import (
    AckArrived,
    DocumentArrived,
    Downlink,
    ManifestArrived,
    RoadError,
    RoadName,
    RoadRefused,
    TooLarge,
)
from edge.sync.trust import Trust
from protocol.acks import ACK_BYTES_MAX
from protocol.documents import SIGNED_BYTES_MAX, Name

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

    from protocol.status import Status

_ENVELOPE_TYPE = "application/cose"
_ANSWERS_MAX = 64
_CONNECTIONS_MAX = 2
_WORDS_MAX = 200
_EXPLANATION_BYTES_MAX = 2048
"""Of an answer that is not ours only so much is looked at."""


class HttpsLink:
    """A client that keeps its connection alive."""

    def __init__(self, client: httpx.AsyncClient, gateway: str) -> None:
        self._client = client
        self._gateway = gateway
        self._answers: asyncio.Queue[Downlink] = asyncio.Queue(_ANSWERS_MAX)
        self._sockets: set[socket.socket] = set()  # at most _CONNECTIONS_MAX are open

    async def send(self, envelope: bytes) -> None:
        """Post a frame or enrolment; its ack comes through `receive`. Raises RoadError, RoadRefused."""
        answer = await self._request("POST", "frames", ACK_BYTES_MAX, envelope)
        if answer:
            await self._answers.put(AckArrived(answer))

    async def announce(self, status: Status) -> None:  # noqa: ARG002 - requests are their own birth
        """Fetch the manifest: on this road we ask, nobody tells."""
        await self._get(Name.MANIFEST)

    async def fetch(self, names: list[str], status: Status) -> None:  # noqa: ARG002 - names are enough
        """Get documents. Raises RoadError, RoadRefused."""
        for name in names:
            await self._get(name)

    async def _get(self, name: str) -> None:
        data = await self._request("GET", f"documents/{name}", SIGNED_BYTES_MAX)
        manifest = name == Name.MANIFEST
        await self._answers.put(ManifestArrived(data) if manifest else DocumentArrived(name, data))

    async def receive(self) -> Downlink:
        """The next answer."""
        return await self._answers.get()

    def moved_bytes(self) -> int:
        """What the open connections have moved."""
        self._sockets = {sock for sock in self._sockets if sock.fileno() >= 0}
        return sum(moved_bytes(sock) for sock in self._sockets)

    async def _request(self, method: str, path: str, bytes_max: int, content: bytes | None = None) -> bytes:
        """The body of the cloud's answer, of at most `bytes_max` bytes."""
        what = f"{method} {path}"
        headers = {"accept-encoding": "identity"}  # nothing is inflated that nobody signed
        if content is not None:
            headers["content-type"] = _ENVELOPE_TYPE
        try:
            async with self._client.stream(
                method,
                f"/v1/gateways/{self._gateway}/{path}",
                content=content,
                headers=headers,
                extensions={"trace": self._connected},
            ) as response:
                if response.is_client_error:
                    raise await _refusal(what, response)
                _check_ours(what, response)
                return await _body(what, response, bytes_max)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise RoadError(f"{what} failed: {type(error).__name__} {error}") from error

    async def _connected(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._sockets.add(info["return_value"].get_extra_info("socket"))


def _check_ours(what: str, response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0]
    encoded = "content-encoding" in response.headers
    if response.status_code != httpx.codes.OK or kind != _ENVELOPE_TYPE or encoded:
        raise RoadError(f"{what} was answered with {response.status_code} {_plain(kind)}, not by the cloud")


async def _refusal(what: str, response: httpx.Response) -> RoadRefused:
    text = bytearray()
    async for chunk in response.aiter_raw(_EXPLANATION_BYTES_MAX):
        text += chunk
        if len(text) >= _EXPLANATION_BYTES_MAX:
            break
    kind = TooLarge if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE else RoadRefused
    said = _plain(text.decode(errors="replace"))
    return kind(f"{what} was refused with {response.status_code}: {said}")


async def _body(what: str, response: httpx.Response, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > bytes_max:
            raise RoadError(f"{what} was answered with more than {bytes_max} bytes, not by the cloud")
    return bytes(body)


def _plain(text: str) -> str:
    """Somebody else's words, fit for one line of a log."""
    return re.sub(r"[^ -~]+", " ", text).strip()[:_WORDS_MAX]


class HttpsRoad:
    """The way past the broker."""

    name = RoadName.HTTPS

    def __init__(
        self,
        base_url: str,
        gateway: str,
        *,
        tls: ssl.SSLContext | Trust | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._base_url = base_url
        self._gateway = gateway
        self._tls = tls
        self._timeout_s = timeout_s

    def _context(self) -> ssl.SSLContext | None:
        return self._tls.context() if isinstance(self._tls, Trust) else self._tls

    @asynccontextmanager
    async def link(
        self,
        will: Status,  # noqa: ARG002 - nobody speaks for us here
        silence_s_max: float,
    ) -> AsyncIterator[HttpsLink]:
        """Hand out a client; connecting happens with the first request."""
        transport = httpx.AsyncHTTPTransport(
            verify=self._context() or True, limits=httpx.Limits(max_connections=_CONNECTIONS_MAX)
        )
        # The session watches for progress; these are only the end of what it does not see (DNS, a pool).
        timeout = httpx.Timeout(max(self._timeout_s, silence_s_max), write=None, read=None)
        try:
            client = httpx.AsyncClient(
                base_url=self._base_url, transport=transport, timeout=timeout, follow_redirects=False
            )
        except httpx.InvalidURL as error:
            raise RoadError(f"{self._base_url!r} is not the address of a cloud: {error}") from error
        async with client:
            yield HttpsLink(client, self._gateway)
