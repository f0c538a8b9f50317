"""A wrong clock never keeps a gateway from its cloud; a wrong name or a strange authority always does."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cloud.kit.authority import SERVER_NAME, Authority
from edge.clock import SystemClock
from edge.errors import ConfigError
from edge.sync.trust import Trust
from protocol.records import ClockQuality
from tests.edge.hand_clock import HandClock
from tests.edge.sync.conftest import GATEWAY
from tests.edge.sync.harness import DEADLINE_S
from tests.edge.sync.tls_broker import Papers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UNSYNCED = sorted(set(ClockQuality) - {ClockQuality.SYNCED})
YEAR, DAY = timedelta(days=365), timedelta(days=1)
MINUTE_MS = 60_000


def never() -> None:
    """The cloud has signed no time yet."""


class Far:
    """A server whose certificate was made at another time."""

    def __init__(self, folder: Path, name: str, ago: timedelta) -> None:
        self.authority = Authority.load_or_create(folder / name, datetime.now(UTC))
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(self.authority.root.pem)
        key, chain = self.authority.server_certificate(datetime.now(UTC) - ago)
        self._file = folder / f"{name}-server.pem"
        self._file.write_bytes(key + chain)

    def accepts(self, context: ssl.SSLContext, name: str = SERVER_NAME) -> bool:
        """Whether a client with this context ends the handshake with us, in memory."""
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(self._file)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(down, up, server_hostname=name)
        server = serving.wrap_bio(up, down, server_side=True)
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLCertVerificationError:
                    return False
        return client.version() is not None


@pytest.fixture(params=[YEAR, -YEAR], ids=["expired", "not-yet-valid"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Far:
    return Far(tmp_path, "ours", request.param)


@pytest.mark.parametrize("quality", UNSYNCED)
def test_a_gateway_that_does_not_know_the_time_is_not_locked_out_by_dates(
    far: Far, quality: ClockQuality
) -> None:
    clock = HandClock(worth=quality)
    assert far.accepts(Trust(far.ca_file, clock, never).context())


def test_dates_count_again_once_the_clock_is_synced(far: Far) -> None:
    clock = HandClock(worth=ClockQuality.UNKNOWN)
    trust = Trust(far.ca_file, clock, never)
    assert far.accepts(trust.context())
    clock.worth = ClockQuality.SYNCED
    assert not far.accepts(trust.context())
    clock.worth = ClockQuality.RESTORED
    assert far.accepts(trust.context())


def test_a_synced_gateway_believes_a_certificate_of_today(tmp_path: Path) -> None:
    today = Far(tmp_path, "ours", timedelta())
    assert today.accepts(Trust(today.ca_file, HandClock(), never).context())


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a TLS server that says one word to whoever comes in."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    context.verify_mode = ssl.CERT_OPTIONAL
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def word_from(port: int, context: ssl.SSLContext) -> bytes:
    """What that server says; nothing if we do not believe it."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), DEADLINE_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME) as connection,
        ):
            return connection.recv(64)
    except ssl.SSLCertVerificationError:
        return b""


@pytest.mark.parametrize("road", ["https", "mqtt"])
async def test_a_synced_clock_behind_what_the_cloud_signed_does_not_close_the_roads(
    tmp_path: Path, road: str
) -> None:
    """By our synchronised clock the cloud's certificate begins in a year; the cloud signed a day later."""
    papers, strange = Papers(tmp_path / "ours", GATEWAY), Papers(tmp_path / "strange", GATEWAY)
    now_ms = SystemClock().wall_ms()
    signed_ms = now_ms + int((YEAR + DAY).total_seconds() * 1_000)
    clock = HandClock(wall=now_ms)
    (tmp_path / "root.pem").write_bytes(papers.authority.root.pem)

    def context(earliest_ms: int | None) -> ssl.SSLContext:
        if road == "mqtt":
            return papers.credentials(clock=clock, earliest_ms=earliest_ms).context()
        return Trust(tmp_path / "root.pem", clock, lambda: earliest_ms).context()

    async with serving(papers.server(ago=-YEAR)) as port, serving(strange.server(ago=-YEAR)) as other:
        assert await asyncio.to_thread(word_from, port, context(signed_ms)) == b"welcome"
        assert await asyncio.to_thread(word_from, other, context(signed_ms)) == b"", "a strange authority"
        for believable_ms in (None, now_ms - MINUTE_MS, now_ms + MINUTE_MS // 2):
            assert await asyncio.to_thread(word_from, port, context(believable_ms)) == b"", "dates count"


@pytest.mark.parametrize("quality", list(ClockQuality))
def test_name_and_authority_are_checked_whatever_the_clock_says(
    tmp_path: Path, quality: ClockQuality
) -> None:
    ours, theirs = Far(tmp_path, "ours", timedelta()), Far(tmp_path, "theirs", timedelta())
    context = Trust(ours.ca_file, HandClock(worth=quality), never).context()
    assert not ours.accepts(context, "elsewhere.reloop.internal")
    assert not theirs.accepts(context)


def test_an_authority_s_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        Trust(tmp_path / "none.pem", HandClock(), never)
