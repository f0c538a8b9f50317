"""`reloop-edge` as people run it: real processes, their exit codes, and what they say."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.local.processes import free_port
from edge.clock import SystemClock
from edge.identity import load_identity
from protocol.bundle import Access, Broker, write_bundle
from protocol.codes import new_gateway_code
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.enrolment import open_enrolment
from tests.edge.directory.signing_cloud import Cloud
from tests.edge.sync.plain_cloud import PlainCloud
from tests.edge.sync.tls_broker import Papers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 30.0
GATEWAY = "ktm-drop-01"
PROGRAM = str(Path(sys.executable).with_name("reloop-edge"))


def until(reached: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + DEADLINE_S
    while not (result := reached()):
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.05)
    return result


@dataclass
class Box:
    """One gateway's folder and configuration, and the agents a test starts."""

    folder: Path
    more: str = ""
    agents: list[subprocess.Popen[str]] = field(default_factory=list)
    signing: Cloud = field(default_factory=Cloud)

    @property
    def config(self) -> Path:
        return self.folder / "edge.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def configure(self, more: str = "") -> None:
        cloud = '[cloud]\nroads = ["https"]\nspread_s = 0\n'
        ports = f"[kiosk]\nport = {free_port()}\n[health]\nport = {free_port()}\n"
        self.config.write_text(f'data_dir = "{self.data}"\n{cloud}{ports}{more}')

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [PROGRAM, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def fails(self, *arguments: str, code: int = 1) -> str:
        """Run a command that must fail; what it says."""
        return self.run(*arguments, code=code).stderr

    def start(self, **environment: str) -> subprocess.Popen[str]:
        agent = subprocess.Popen(
            [PROGRAM, "run", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )
        self.agents.append(agent)
        return agent

    def status(self) -> dict[str, Any] | None:
        done = subprocess.run(
            [PROGRAM, "status", "--json", "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return None if done.returncode else json.loads(done.stdout)

    def bundle(self, gateway: str = GATEWAY, broker: Broker | None = None) -> Path:
        path = self.folder / f"{gateway}.bundle"
        documents = [self.signing.keys(), self.signing.catalog()]
        access = Access(gateway, self.signing.root.public, "", broker, documents)
        path.write_bytes(write_bundle(new_gateway_code(secrets.token_bytes), access))
        return path

    def claim(self) -> None:
        self.run("claim", "--bundle", str(self.bundle()))

    def stop(self, agent: subprocess.Popen[str]) -> str:
        """SIGTERM; what the agent had said, after a clean exit."""
        agent.send_signal(signal.SIGTERM)
        said, _ = agent.communicate(timeout=DEADLINE_S)
        assert agent.returncode == 0, said
        return said


@pytest.fixture
def box() -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:  # short: a socket's name must fit
        box = Box(Path(name))
        box.configure()
        yield box
        for agent in box.agents:
            if agent.poll() is None:
                agent.kill()
            if agent.stdout:
                agent.communicate()


def test_without_an_agent_status_says_how_to_start_one(box: Box) -> None:
    assert "agent.absent" in box.fails("status", code=3)


@pytest.mark.parametrize(
    "command",
    [
        ("journal", "verify"),
        ("journal", "export"),
        ("courier", "export", "/tmp/x"),
        ("courier", "import", "x"),
    ],
)
def test_a_gateway_that_never_lived_has_nothing_to_look_after(box: Box, command: tuple[str, ...]) -> None:
    said = box.fails(*command)
    assert said.startswith(("journal.absent", "gateway.unclaimed"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data_dir = \n", ":1"),
        ('data_dir = "d"\n[kiosk]\nport = "many"\n', ":3"),
        ('data_dir = "d"\n[kiosk]\nprot = 1\n', ":3"),
        ('data_dir = "d"\n\n[scale]\ndialect = "mt-sixs"\nport = "/dev/ttyUSB0"\n', ":4"),
    ],
)
def test_an_unreadable_configuration_stops_with_the_line_at_fault(box: Box, text: str, line: str) -> None:
    box.config.write_text(text)
    for command in (("run",), ("status",), ("journal", "verify")):
        said = box.fails(*command)
        assert f"edge.toml{line}" in said
        assert said.startswith("config.")


def test_a_claim_needs_a_code_or_a_bundle_and_not_both(box: Box) -> None:
    assert "--bundle" in box.fails("claim", code=2)
    assert "one of the two" in box.fails("claim", "7K3M", "--bundle", "x", code=2)
    assert "code.malformed" in box.fails("claim", "7K3M-9QXT")
    code = new_gateway_code(secrets.token_bytes)
    assert "[cloud]" in box.fails("claim", code), "the name of the section is not taken for markup"
    assert "identity.offline" in box.fails("claim", code, "--cloud", f"http://127.0.0.1:{free_port()}")
    assert load_identity(box.data) is None


def test_a_bundle_claimed_twice_changes_nothing_and_another_one_is_refused(box: Box) -> None:
    bundle = str(box.bundle())
    for _ in range(2):
        assert GATEWAY in box.run("claim", "--bundle", bundle).stdout
    assert "identity.claimed" in box.fails("claim", "--bundle", str(box.bundle("ktm-drop-02")))
    report = json.loads(box.run("journal", "verify").stdout)
    assert report["ok"]
    kinds = [json.loads(line)["kind"] for line in box.run("journal", "export").stdout.splitlines()]
    assert kinds == ["document.applied", "document.applied"]


def test_a_waiting_agent_goes_on_by_itself_once_claimed(box: Box) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(box.folder / "notify"))
        manager.settimeout(DEADLINE_S)
        agent = box.start(NOTIFY_SOCKET=str(box.folder / "notify"))
        assert manager.recv(1000).startswith(b"READY=1\nSTATUS=waits to be claimed")
        assert manager.recv(1000).startswith(b"WATCHDOG=1")
        box.claim()
        status = until(box.status)
    assert status["gateway"] == GATEWAY
    assert set(status["documents"]) == {"keys", "catalog"}
    box.stop(agent)


def test_a_waiting_agent_stops_when_asked(box: Box) -> None:
    agent = box.start()
    assert agent.stdout is not None
    until(lambda: "waits to be claimed" in agent.stdout.readline())  # type: ignore[union-attr]
    box.stop(agent)


def test_a_gateway_without_scale_and_scanner_comes_up_and_shows_it(box: Box) -> None:
    box.claim()
    scale = '[scale]\ndialect = "mt-sics"\nport = "/dev/reloop-none"\n'
    box.configure(scale + '[[scanners]]\nport = "/dev/reloop-none-too"\n')
    agent = box.start()
    status = until(box.status)
    assert status["scale"] == "absent"
    assert status["scanners"] == {"/dev/reloop-none-too": "absent"}
    screen = httpx.get(f"{status['kiosk_url']}/api/screen").json()
    assert screen["name"] == status["screen"]
    box.stop(agent)


def test_a_gateway_without_room_comes_up_and_says_so(box: Box) -> None:
    box.claim()
    box.configure("[journal]\nfree_bytes_min = 1_000_000_000_000_000\n")
    agent = box.start()
    status = until(box.status)
    assert status["intake"] == "disk_low"
    assert httpx.get(f"{status['kiosk_url']}/api/screen").json()["name"] == status["screen"] != "idle"
    box.stop(agent)


def test_beside_a_running_agent_claims_are_refused_and_the_rest_works(box: Box) -> None:
    box.claim()
    agent = box.start()
    until(box.status)
    assert "agent.running" in box.fails("claim", "--bundle", str(box.bundle()))
    assert "agent.running" in box.fails("run")
    assert json.loads(box.run("journal", "verify").stdout)["ok"]
    outbox = box.folder / "outbox.rlc"
    written = json.loads(box.run("courier", "export", str(outbox)).stdout)
    assert written["records"] == written["through"] > 0
    assert "courier.failed" in box.fails("courier", "export", str(box.folder / "none" / "outbox.rlc"))
    assert "courier.failed" in box.fails("courier", "import", str(box.folder / "none"))
    assert "no plain file" in box.fails("courier", "import", "/dev/zero")
    assert not list(box.data.glob("courier.*port*")), "nothing stays behind in the agent's folder"
    assert "courier.direction" in box.fails("courier", "import", str(outbox))
    assert "backlog" in box.run("status").stdout
    said = box.stop(agent)
    assert "Traceback" not in said
    kinds = [json.loads(line)["kind"] for line in box.run("journal", "export").stdout.splitlines()]
    assert (kinds[2], kinds[-1]) == ("gateway.started", "gateway.stopped")


def test_a_killed_agent_leaves_nothing_that_keeps_the_next_from_starting(box: Box) -> None:
    box.claim()
    for _ in range(2):
        agent = box.start()
        until(box.status)
        agent.kill()
        agent.communicate(timeout=DEADLINE_S)
        assert "agent.absent" in box.fails("status", code=3)
    assert json.loads(box.run("journal", "verify").stdout)["ok"]


def test_a_taken_port_stops_the_start_with_the_section_to_change(box: Box) -> None:
    box.claim()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for section in ("kiosk", "health"):
            other = {"kiosk": "health", "health": "kiosk"}[section]
            box.config.write_text(
                f'data_dir = "{box.data}"\n[{section}]\nport = {port}\n[{other}]\nport = 0\n'
            )
            assert f"[{section}]" in box.fails("run")


def test_an_authority_s_file_that_is_missing_is_named(box: Box) -> None:
    box.claim()
    box.config.write_text(
        f'data_dir = "{box.data}"\n[kiosk]\nport = 0\n[health]\nport = 0\n[cloud]\n'
        'https_url = "https://127.0.0.1"\nca_file = "/none/ca.pem"\n'
    )
    assert "`ca_file` /none/ca.pem" in box.fails("run")


def test_metrics_and_the_watchdog_are_served_by_a_running_agent(box: Box) -> None:
    box.claim()
    port = free_port()
    box.config.write_text(f'data_dir = "{box.data}"\n[kiosk]\nport = 0\n[health]\nport = {port}\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(box.folder / "notify"))
        manager.settimeout(DEADLINE_S)
        agent = box.start(NOTIFY_SOCKET=str(box.folder / "notify"), WATCHDOG_USEC="1000000")
        assert manager.recv(1000).startswith(b"READY=1\nSTATUS=offline (")
        began_s = time.monotonic()
        for _ in range(3):
            assert manager.recv(1000).startswith(b"WATCHDOG=1")
        assert time.monotonic() - began_s < 5
        assert "reloop_backlog_records" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        box.stop(agent)
        while manager.recv(1000) != b"STOPPING=1":
            pass


@pytest.mark.parametrize("beside", [True, False], ids=["agent running", "no agent"])
def test_a_courier_frees_the_outbox_and_brings_documents(box: Box, beside: bool) -> None:
    box.claim()
    agent = box.start()
    until(box.status)
    if not beside:
        box.stop(agent)
    outbox, answer = box.folder / "outbox.rlc", box.folder / "answer.rlc"
    written = json.loads(box.run("courier", "export", str(outbox)).stdout)
    answered(box, outbox, answer)
    taken = json.loads(box.run("courier", "import", str(answer)).stdout)
    assert taken == {
        "acknowledged": written["records"],
        "documents": 1,
        "refused": 0,
        "new_epoch": False,
        "everything": False,
        "cut": False,
    }
    known = load_identity(box.data)
    assert known is not None
    assert known[0].enrolment_secret is None, "the first ack proves that the cloud knows the key"
    if beside:
        status = until(box.status)
        assert status["acked"] >= written["through"]
        box.stop(agent)


def test_a_courier_takes_the_request_for_a_certificate_along_and_brings_one(box: Box) -> None:
    """Also for another key, when the first was lost."""
    papers = Papers(box.folder / "papers", GATEWAY)
    box.config.write_text(box.config.read_text().replace('["https"]', '["mqtt"]'))
    box.run("claim", "--bundle", str(box.bundle(broker=papers.broker)))
    agent = box.start()
    status = until(box.status)
    assert status["certificate"] == "asked for"
    outbox, answer, requests = box.folder / "outbox.rlc", box.folder / "answer.rlc", list[bytes]()
    for version in (1, 2):
        box.run("courier", "export", str(outbox))
        enrolment = open_enrolment(enrolments_of(outbox)[0])
        requests.append(enrolment.csr)
        chain = papers.authority.gateway_certificate(enrolment.csr, GATEWAY, datetime.now(UTC))
        certificates = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(chain)]
        answered(box, outbox, answer, box.signing.config(version, certificates))
        box.run("courier", "import", str(answer))
        assert until(box.status)["certificate"].startswith("valid until")
        assert until(box.status)["breakers"] == {"mqtt": "closed"}
        box.run("courier", "export", str(outbox))
        assert enrolments_of(outbox) == [], "nothing is left to be asked for"
        box.stop(agent)
        (box.data / "gateway-tls.key").unlink()
        agent = box.start()
        assert until(box.status)["certificate"] == "asked for"
    box.stop(agent)
    assert requests[0] != requests[1]


def enrolments_of(outbox: Path) -> list[bytes]:
    with outbox.open("rb") as up:
        read_header(up, Direction.UP)
        return [data for item, data in read_items(up) if item is Item.ENROLMENT]


def answered(box: Box, outbox: Path, answer: Path, *documents: bytes) -> None:
    """What `reloop-cloud courier import` does, with the protocol alone."""
    known = load_identity(box.data)
    assert known is not None
    cloud = PlainCloud(box.signing.ack, known[1].public)
    with outbox.open("rb") as up, answer.open("wb") as down:
        read_header(up, Direction.UP)
        write_header(down, Header(Direction.DOWN, GATEWAY, SystemClock().wall_ms()))
        for document in documents or [box.signing.catalog(version=2)]:
            write_item(down, Item.DOCUMENT, document)
        items = list(read_items(up))
        assert items[0][0] is Item.ENROLMENT
        for item, data in items:
            if item is Item.FRAME:
                for ack in cloud.take(data):
                    write_item(down, Item.ACK, ack)
