"""`reloop-cloud` as people run it: a child process, its output, its exit code."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from cloud.__main__ import app
from deploy.local.processes import free_port
from protocol.acks import open_ack
from protocol.bodies import HolderKind
from protocol.bundle import open_documents, read_access, read_bundle
from protocol.codes import gateway_code_secret
from protocol.courier import Direction, Header, Item, read_header, read_items, write_header, write_item
from protocol.enrolment import build_enrolment
from tests.cloud.ingest.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = str(Path(sys.executable).parent / "reloop-cloud")
NAME = "ktm-patan-01"


@dataclass(slots=True)
class Commands:
    """Runs commands on one database and data folder."""

    environment: dict[str, str]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            env={**os.environ, "COLUMNS": "200", **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command that prints one line of JSON."""
        return json.loads(self.run(*arguments, code=code).stdout)


@pytest.fixture
def commands(database_url: str, tmp_path: Path) -> Commands:
    return Commands({"RELOOP_DATABASE_URL": database_url, "RELOOP_DATA_DIR": str(tmp_path / "data")})


def test_the_first_command_makes_a_token_and_prints_it_once(commands: Commands) -> None:
    first = commands.run("migrate")
    token = (Path(commands.environment["RELOOP_DATA_DIR"]) / "operator-token").read_text().strip()
    assert token in first.stderr
    assert "first run" in first.stderr
    assert token not in commands.run("migrate").stderr
    kept = Path(commands.environment["RELOOP_DATA_DIR"]) / "operator-token"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_gateway_is_created_listed_and_revoked(commands: Commands) -> None:
    created = commands.json("gateway", "create", NAME, "--drop-point", "ktm-patan", "--json")
    assert created["gateway"] == NAME
    assert len(gateway_code_secret(created["code"])) == 32
    assert NAME in commands.run("gateway", "list").stdout
    (listed,) = commands.json("gateway", "list", "--json")
    assert (listed["drop_point"], listed["state"]) == ("ktm-patan", "created")
    renewed = commands.json("gateway", "create", NAME, "--new-code", "--json")
    assert renewed["code"] != created["code"]
    assert commands.json("gateway", "revoke", NAME, "--json")["state"] == "revoked"
    (report,) = commands.json("status", "--json")["gateways"]
    assert report["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("gateway", "create", "X"), "topic.malformed"),
        (("gateway", "revoke", "ktm-nowhere"), "gateway.not_found"),
        (("gateway", "create", "ktm-nowhere", "--new-code"), "gateway.not_found"),
        (("quarantine", "retry", "00000000-0000-7000-8000-000000000000"), "quarantine.not_found"),
        (
            ("quarantine", "reject", "00000000-0000-7000-8000-000000000000", "--reason", "because"),
            "quarantine.not_found",
        ),
        (("quarantine", "retry"), "quarantine.which"),
        (("quarantine", "list", "--state", "odd"), "quarantine.state"),
        (("courier", "import", "/no/such/file", "--answer", "/dev/null"), "courier.absent"),
        (("api", "--modules", "gateways,nonsense"), "modules.unknown"),
        (("ingest",), "config.invalid"),
    ],
)
def test_errors_have_codes_and_exit_codes(commands: Commands, arguments: tuple[str, ...], code: str) -> None:
    done = commands.run(*arguments, code=1)
    assert f"error {code}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_cannot_be_used_are_named(commands: Commands) -> None:
    commands.environment["RELOOP_HTTP_PORT"] = "eighty"
    assert "RELOOP_HTTP_PORT" in commands.run("status", code=1).stderr
    commands.environment["RELOOP_HTTP_PORT"] = "8400"
    commands.environment["RELOOP_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    done = commands.run("status", code=1)
    assert "error database" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_use_ends_with_two(commands: Commands) -> None:
    commands.run("gateway", "create", code=2)
    commands.run("fly", code=2)


def test_every_command_has_help_that_teaches() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    for words, found in _commands([], command):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, words
        assert found.help, words
        assert len(done.stdout) > 200, words


def _commands(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands([*words, name], below)


def test_a_site_that_was_never_online_is_served_by_courier_alone(commands: Commands, tmp_path: Path) -> None:
    bundle_file = tmp_path / "site.bundle"
    commands.run("gateway", "bundle", NAME, "--output", str(bundle_file))
    assert bundle_file.stat().st_mode & 0o777 == 0o600
    commands.run("gateway", "bundle", NAME, "--output", str(bundle_file), code=1)  # does not overwrite
    bundle = read_bundle(bundle_file.read_bytes())
    gateway = _visited_gateway(bundle.access.documents, bundle.access.root_public_key, visits=300)
    up, down = tmp_path / "up.courier", tmp_path / "down.courier"
    _write_up(up, gateway, build_enrolment(NAME, bundle.secret, gateway.key))

    outcome = commands.json("courier", "import", str(up), "--answer", str(down), "--json")
    assert outcome["refused"] == {}
    assert outcome["accepted"] == outcome["items"] > 3
    assert _acked(down, bundle.access.root_public_key) == gateway.head

    lines = commands.run("export", "weighings", "--jsonl").stdout.splitlines()
    assert len(lines) == 300
    assert sum(json.loads(line)["points"] for line in lines) == 300 * 30
    assert commands.json("ledger", "verify")["ok"] is True
    again = commands.json("courier", "import", str(up), "--answer", str(down), "--json")
    assert again["refused"] == {}
    assert _acked(down, bundle.access.root_public_key) == gateway.head
    assert len(commands.run("export", "weighings", "--jsonl").stdout.splitlines()) == 300


def test_a_courier_file_that_was_cut_is_good_up_to_the_cut(commands: Commands, tmp_path: Path) -> None:
    bundle_file, up, down = tmp_path / "b", tmp_path / "up", tmp_path / "down"
    commands.run("gateway", "bundle", NAME, "--output", str(bundle_file))
    bundle = read_bundle(bundle_file.read_bytes())
    gateway = _visited_gateway(bundle.access.documents, bundle.access.root_public_key, visits=300)
    _write_up(up, gateway, build_enrolment(NAME, bundle.secret, gateway.key))
    up.write_bytes(up.read_bytes()[:-100])
    outcome = commands.json("courier", "import", str(up), "--answer", str(down), "--json", code=1)
    assert outcome["cut"] is not None
    acked = _acked(down, bundle.access.root_public_key)
    assert 0 < acked < gateway.head
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"not a courier file")
    assert "error courier." in commands.run("courier", "import", str(rubbish), "-a", str(down), code=1).stderr


def test_held_records_are_listed_retried_and_rejected(commands: Commands, tmp_path: Path) -> None:
    bundle_file, up, down = tmp_path / "b", tmp_path / "up", tmp_path / "down"
    commands.run("gateway", "bundle", NAME, "--output", str(bundle_file))
    bundle = read_bundle(bundle_file.read_bytes())
    gateway = _visited_gateway(bundle.access.documents, bundle.access.root_public_key, visits=1)
    deposit = gateway.open()
    gateway.weigh(deposit, 1_000, "pet", rate=30, points=31)
    _write_up(up, gateway, build_enrolment(NAME, bundle.secret, gateway.key))
    commands.run("courier", "import", str(up), "--answer", str(down))
    held = commands.json("quarantine", "list", "--json")
    assert held["code"] == "weighing.points_mismatch"
    assert held["id"] in commands.run("quarantine", "list").stdout
    retried = commands.json("quarantine", "retry", "--all", "--json", code=1)
    assert retried == {"id": held["id"], "applied": False, "code": "weighing.points_mismatch"}
    assert commands.json("status", "--json")["quarantined"] == 1
    commands.run("quarantine", "reject", held["id"], code=2)  # a reason is required
    commands.run("quarantine", "reject", held["id"], "--reason", "kiosk test")
    assert commands.run("quarantine", "list", "--json").stdout == ""
    assert commands.json("quarantine", "list", "--state", "all", "--json")["reason"] == "kiosk test"


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Commands, str]]:
    """`reloop-cloud all` with nothing but an empty folder; its commands and address."""
    port = free_port()
    environment = {"RELOOP_DATA_DIR": str(tmp_path / "data"), "RELOOP_HTTP_PORT": str(port)}
    log = (tmp_path / "all.log").open("w+")
    process = subprocess.Popen(
        [PROGRAM, "all"], env={**os.environ, **environment}, stdout=log, stderr=log, text=True
    )
    try:
        yield process, Commands(environment), f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        log.close()


def test_all_starts_from_nothing_serves_and_ends_cleanly(
    newcomer: tuple[subprocess.Popen[str], Commands, str], tmp_path: Path
) -> None:
    process, commands, url = newcomer
    _await_ready(url, process)
    token = (tmp_path / "data" / "operator-token").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        materials = client.get("/v1/materials").json()
        assert {one["code"] for one in materials} == {
            "pet", "can", "glass", "paper", "cardboard", "plastic", "metal", "ewaste",
        }  # fmt: skip
        created = commands.json("gateway", "create", NAME, "--json")  # beside it, on the same Postgres
        gateway = Gateway(NAME)
        body = {"code": created["code"], "public_key": base64.b64encode(gateway.key.public).decode()}
        access = read_access(client.post("/v1/gateways/claim", json=body).content)
        gateway.catalog = _catalog(access.documents, access.root_public_key)
        _visit(gateway, 3)
        delivered = client.post(f"/v1/gateways/{NAME}/frames", content=gateway.frame())
        assert delivered.status_code == 200
    assert commands.json("status", "--json")["weighings"] == 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    log = (tmp_path / "all.log").read_text()
    assert token in log
    assert "Traceback" not in log
    assert not (tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").exists()
    assert commands.json("status", "--json")["weighings"] == 3


def test_a_port_that_is_taken_is_said(commands: Commands) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        commands.environment["RELOOP_HTTP_PORT"] = str(taken.getsockname()[1])
        done = commands.run("api", code=1)
    assert "error config.port_taken" in done.stderr
    assert "Traceback" not in done.stderr


def _await_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the cloud ended while starting"
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("not ready within 60 s")


def _catalog(documents: list[bytes], root: bytes) -> bytes:
    return next(one.digest for one in open_documents(documents, root) if one.name == "catalog")


def _visited_gateway(documents: list[bytes], root: bytes, visits: int) -> Gateway:
    gateway = Gateway(NAME, _catalog(documents, root))
    gateway.key = type(gateway.key).from_seed(secrets.token_bytes(32))
    _visit(gateway, visits)
    return gateway


def _visit(gateway: Gateway, visits: int) -> None:
    for number in range(visits):
        holder = hashlib.sha256(str(number).encode()).digest()[:8] + b"\1"
        deposit = gateway.open(HolderKind.CARD, holder)
        gateway.weigh(deposit, 1_000, "pet", HolderKind.CARD, holder, rate=30, points=30)
        gateway.close(deposit, 1_000, 30)


def _write_up(path: Path, gateway: Gateway, enrolment: bytes) -> None:
    with path.open("wb") as stream:
        write_header(stream, Header(Direction.UP, NAME, 1_780_000_000_000))
        write_item(stream, Item.ENROLMENT, enrolment)
        for first in range(1, gateway.head + 1, 200):
            last = min(first + 199, gateway.head)
            write_item(stream, Item.FRAME, gateway.frame(first, last))


def _acked(path: Path, root: bytes) -> int:
    """Read an answer file as a gateway does; how far it acknowledges."""
    with path.open("rb") as stream:
        assert read_header(stream, Direction.DOWN).gateway == NAME
        items = list(read_items(stream))
    documents = open_documents([data for item, data in items if item is Item.DOCUMENT], root)
    assert {one.name for one in documents} == {"keys", "catalog", "revocations", "config", "manifest"}
    from protocol.cose import key_id_of
    from protocol.documents import KeysBody, KeyUse

    keys = {
        key_id_of(key.public_key): key.public_key
        for key in documents[0].body(KeysBody).keys
        if key.use is KeyUse.ACK
    }
    return max(open_ack(data, keys.get).through for item, data in items if item is Item.ACK)
