"""A wrong clock never keeps a gateway from its cloud; a wrong name or a strange authority always does."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cloud.kit.authority import SERVER_NAME, Authority
from edge.errors import ConfigError
from edge.sync.trust import Trust
from protocol.records import ClockQuality
from tests.edge.hand_clock import HandClock

if TYPE_CHECKING:
    from pathlib import Path

UNSYNCED = sorted(set(ClockQuality) - {ClockQuality.SYNCED})
YEAR = timedelta(days=365)


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
    assert far.accepts(Trust(far.ca_file, clock).context())


def test_dates_count_again_once_the_clock_is_synced(far: Far) -> None:
    clock = HandClock(worth=ClockQuality.UNKNOWN)
    trust = Trust(far.ca_file, clock)
    assert far.accepts(trust.context())
    clock.worth = ClockQuality.SYNCED
    assert not far.accepts(trust.context())
    clock.worth = ClockQuality.RESTORED
    assert far.accepts(trust.context())


def test_a_synced_gateway_believes_a_certificate_of_today(tmp_path: Path) -> None:
    today = Far(tmp_path, "ours", timedelta())
    assert today.accepts(Trust(today.ca_file, HandClock()).context())


@pytest.mark.parametrize("quality", list(ClockQuality))
def test_name_and_authority_are_checked_whatever_the_clock_says(
    tmp_path: Path, quality: ClockQuality
) -> None:
    ours, theirs = Far(tmp_path, "ours", timedelta()), Far(tmp_path, "theirs", timedelta())
    context = Trust(ours.ca_file, HandClock(worth=quality)).context()
    assert not ours.accepts(context, "elsewhere.reloop.internal")
    assert not theirs.accepts(context)


def test_an_authority_s_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        Trust(tmp_path / "none.pem", HandClock())
