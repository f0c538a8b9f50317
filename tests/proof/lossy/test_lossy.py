from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cloud.kit.embedded import EmbeddedPostgres
from deploy.local.stack import Devices, Stack
from tests.bench.site import add_citizens
from tests.bench.visits import fill
from tests.proof.lossy.chaos import Chaos, Weather
from tests.proof.lossy.links import Watch, _spared
from tests.proof.lossy.tunnel import Tunnel, possible
from tests.system.exports import assert_agree

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = bytes(range(256)) * 200
_SEND = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(b"x" * 99_000)
"""


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back."""

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass  # it was reset, as it should be

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def answer_through(chaos: Chaos, echo: int, timeout_s: float = 30.0) -> bytes:
    """What comes back of SAID before the connection ends or nothing comes for so long."""
    got = bytearray()
    with socket.create_connection(("127.0.0.1", chaos.forward(echo)), timeout_s) as connection:
        threading.Thread(target=_say, args=(connection,), daemon=True).start()
        try:
            while len(got) < len(SAID) and (data := connection.recv(65536)):
                got += data
        except OSError:
            pass  # reset, or silent
    return bytes(got)


def _say(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # reset
        connection.sendall(SAID)


@pytest.mark.parametrize(
    "weather",
    [Weather(), Weather(latency_s=(0.0, 0.05)), Weather(slice_bytes=7), Weather(bytes_per_s=400_000)],
    ids=["fair", "latency", "slices", "narrow"],
)
def test_what_passes_passes_as_it_is(echo: int, weather: Weather) -> None:
    with Chaos(weather, "1") as chaos:
        assert answer_through(chaos, echo) == SAID


def test_a_connection_is_reset_in_the_middle(echo: int) -> None:
    with Chaos(Weather(trouble_bytes=(20_000, 20_000)), "1") as chaos:
        got = answer_through(chaos, echo)
        assert len(got) < 20_000
        assert SAID.startswith(got)
        assert chaos.seen["resets"] == 1


def test_a_connection_goes_silent_without_an_end(echo: int) -> None:
    with Chaos(Weather(trouble_bytes=(20_000, 20_000), silent=True), "1") as chaos:
        assert len(answer_through(chaos, echo, timeout_s=1.0)) < 20_000
        assert chaos.seen["silences"] >= 1
        assert chaos.seen["resets"] == 0


@pytest.mark.skipif(bool(possible()), reason=possible())
def test_packets_are_lost_between_the_namespaces_and_tcp_mends_it() -> None:
    with Tunnel(20, [7801]) as tunnel:
        child = subprocess.Popen(tunnel.behind([sys.executable, "-c", _SEND, "7801"]))
        tunnel.sockets[0].settimeout(60)
        connection, _ = tunnel.sockets[0].accept()
        with connection, connection.makefile("rb") as stream:
            assert len(stream.read()) == 99_000
        arrived, lost = tunnel.counted()
        assert child.wait(60) == 0
    assert arrived - lost > 99_000 / 576, "packets of the link's own size, not joined ones"
    assert 0.05 * arrived < lost < 0.4 * arrived, f"{lost} of {arrived}: seven deviations from a fifth"


@pytest.mark.proof
def test_a_weighing_that_did_not_arrive_over_the_link_is_found() -> None:
    os.environ.pop("PYTHONWARNINGS", None)  # a warning in a child is not this test's
    with tempfile.TemporaryDirectory(prefix="rl-") as name, Stack(Path(name)) as stack:
        add_citizens(stack)
        site = stack.add_site("far-off-drop", Devices())
        stack.claim(site)
        fill(site.config, 10, 1)
        site.start()
        Watch(site, 30, lambda _: None).until_empty()
        with pytest.raises(TimeoutError, match=r"\d+ of 1000 records arrived"):
            Watch(site, 1_000, lambda _: None, patience_s=0.5).until_empty()
        site.agent.stop()
        with pytest.raises(TimeoutError, match="0 of 1000 records arrived"):
            Watch(site, 1_000, lambda _: None).until_empty()
        assert assert_agree([site], stack.cloud) == 10
        with psycopg.connect(EmbeddedPostgres(Path(name) / "cloud" / "postgres").url) as connection:
            connection.execute("DELETE FROM weighings WHERE id = (SELECT min(id::text)::uuid FROM weighings)")
        with pytest.raises(AssertionError, match="lost"):
            assert_agree([site], stack.cloud)


def test_a_link_that_did_nothing_bad_has_shown_nothing() -> None:
    [spared] = _spared("silence.9999.1", {"silences": 0})
    assert spared.key == "silence.9999.1"
    assert not _spared("silence.9999.1", {"silences": 1})
    assert _spared("loss-5.9999.1", {"packets": 300, "lost": 0})
    assert _spared("loss-5.9999.1", {"instead": "resets", "lost": 9})
    assert not _spared("narrow.9999.1", {"connections": 1})
    assert not _spared("resets.30.1", {"connections": 1}), "too few to be struck"
